# SPDX-License-Identifier: Apache-2.0
"""What bags hold, what is odd about it, and the streams that training would make of it. No torch."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import ActionSource, StreamSpec
from dd_ros.data.actions import DEFAULT_FIELDS, fields_for, stamp_ns
from dd_ros.data.bags import values_of
from dd_ros.data.clocks import choose_stamps, lag, segments
from dd_ros.data.images import IMAGE_TYPES, image_to_rgb
from dd_ros.data.lerobot import LeRobotReader, LeRobotSet, keys_of, set_of
from dd_ros.data.rosbag import Record, records
from dd_ros.errors import InputError
from dd_ros.progress import progress

T = TypeVar("T")
FASTEST_HZ = 15.0  # model rate at most; a faster camera is thinned out by a whole factor
MOST_PIXELS = 128 * 96
CELL = 16  # image sides are multiples of it
ODD_RATE = 0.1  # a bag whose camera is off the others' rate by this share is worth a word
MOST_RANGES = 6  # action values of a topic that are described one by one
SILENCE = 2.0  # seconds without a command that are worth a word


@dataclass
class TopicInfo:
    """What a bag holds of one topic.

    Attributes:
        duration, gap: seconds from first to last message, and longest time between two.
        rate: messages per second while they come: gaps do not count.
        stamps: ``header`` or ``received``: which times these are.
        sizes: width and height of images -> how many have them.
        dims: number of action values -> how many messages have as many.
        low, high: least and greatest value of each action field, float64 [A]; empty for other topics.
        detail: what is in it, for people.
        problems: what is odd about it, one line each, without file and topic.
    """

    name: str
    msgtype: str
    count: int = 0
    duration: float = 0.0
    gap: float = 0.0
    rate: float = 0.0
    stamps: str = "received"
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    dims: Counter[int] = field(default_factory=Counter)
    low: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    high: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    detail: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass
class BagInfo:
    """Topics of a bag, and what is wrong with its files."""

    path: Path
    topics: list[TopicInfo] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def topic(self, name: str) -> TopicInfo:
        """The topic ``name``; InputError lists those there are."""
        for topic in self.topics:
            if topic.name == name:
                return topic
        there = ", ".join(topic.name for topic in self.topics) or "no messages at all"
        problem = f" ({self.problems[0]})" if self.problems else ""
        raise InputError(f"{self.path}: no messages of topic {name}; it holds {there}{problem}")


class TopicSurvey:
    """Collects a ``TopicInfo`` message by message; keeps two numbers of each.

    Args:
        record: the first message.
        source: fields that make up the action; None takes the type's default ones.
    """

    def __init__(self, record: Record, source: ActionSource | None):
        self.info = TopicInfo(record.topic, record.msgtype)
        self._is_image = record.msgtype in IMAGE_TYPES
        known = source is not None or record.msgtype in DEFAULT_FIELDS
        self._source = (source or ActionSource(topic=record.topic)) if known else None
        self._headers, self._received = array("q"), array("q")
        self._odd: list[str] = []

    def add(self, record: Record) -> None:
        header = 0
        try:
            if self._is_image or self._source is not None:
                header = stamp_ns(record.msg) or 0
            if self._is_image:
                self._add_image(record)
            elif self._source is not None:
                self._add_action(values_of(record, self._source))
        except InputError as error:
            self._odd.append(str(error))
        self._headers.append(header)
        self._received.append(record.received_ns)

    def _add_image(self, record: Record) -> None:
        msg, encoding = record.msg, getattr(record.msg, "encoding", None)
        if self.info.sizes and encoding is None:
            return  # compressed: looking at one tells enough, reading the episodes decodes them all
        height, width = (msg.height, msg.width) if self.info.sizes else image_to_rgb(msg).shape[:2]
        if not self.info.sizes:
            self.info.detail = f"image {width}x{height} {encoding or msg.format}"
        self.info.sizes[width, height] += 1

    def _add_action(self, values: NDArray[np.float64]) -> None:
        info, usual = self.info, next(iter(self.info.dims), len(values))
        info.dims[len(values)] += 1
        if not np.isfinite(values).all():
            raise InputError("expected finite action values, got NaN or infinity")
        if len(values) == usual:
            first = not len(info.low)
            info.low = values if first else np.minimum(info.low, values)
            info.high = values if first else np.maximum(info.high, values)

    def result(self) -> TopicInfo:
        info, name = self.info, self.info.name
        times = [(h or None, r) for h, r in zip(self._headers, self._received, strict=True)]
        stamps = [stamp for stamp in choose_stamps({name: times}, [])[name] if stamp is not None]
        info.count = len(times)
        info.stamps = "received" if lag(times) is None else "header"
        info.problems += tally(self._odd) + odd_stamps(name, stamps)
        forward = np.diff(np.unique(np.asarray(stamps, np.int64))) / 1e9
        if len(forward):
            info.gap, info.duration, info.rate = (
                float(forward.max()),
                float(forward.sum()),
                typical_rate(forward),
            )
        if info.dims:
            describe_actions(info)
        return info


def odd_stamps(name: str, stamps: Sequence[int]) -> list[str]:
    """What is odd about the times of a topic's messages, in recorded order."""
    resets = segments([(name, stamp) for stamp in stamps])[-1] if stamps else 0
    steps = np.diff(np.asarray(stamps, np.int64))
    twice, late = int((steps == 0).sum()), int((steps < 0).sum()) - resets
    found = [(resets, "the clock goes back by a second or more, each time beginning a new episode")]
    found += [(late, "messages are older than the one before them"), (twice, "messages repeat a time stamp")]
    return [f"{text} ({count} times)" for count, text in found if count > 0]


def describe_actions(info: TopicInfo) -> None:
    """Say what the commands of a topic are like."""
    dim = info.dims.most_common(1)[0][0]
    low, high, constant = info.low, info.high, info.low == info.high
    info.detail = f"action, {dim} values"
    if 0 < len(low) <= MOST_RANGES:
        info.detail += ": " + ", ".join(
            f"{a + 0.0:.3g}..{b + 0.0:.3g}" for a, b in zip(low, high, strict=True)
        )
    elif len(low):
        still = ", ".join(map(str, np.flatnonzero(constant)))
        info.detail += f" in {low.min():.3g}..{high.max():.3g}" + (f", constant: {still}" if still else "")
    if len(info.dims) > 1:
        lengths = ", ".join(f"{length} ({count} messages)" for length, count in info.dims.most_common())
        info.problems.append(f"the number of values changes: {lengths}; only those with {dim} can be used")
    if len(low) and constant.all() and info.count > 1:
        info.problems.append(
            f"constant: all {info.count} commands are the same, a model cannot learn from them"
        )
    if info.gap > SILENCE:
        info.problems.append(f"silent for {info.gap:.1f} s; the last command is held meanwhile")


def typical_rate(gaps: NDArray[np.float64]) -> float:
    """Rate (Hz) of messages ``gaps`` (s) apart: the mean of usual gaps, which pauses do not change."""
    usual = gaps[np.abs(gaps - np.median(gaps)) <= np.median(gaps) / 2]
    if len(usual) < 0.8 * len(gaps):  # irregular: only long pauses are left out
        usual = gaps[gaps <= 3 * np.median(gaps)]
    return float(1.0 / usual.mean())


def tally(lines: Iterable[str]) -> list[str]:
    """Each line once, with how often it was said."""
    return [line if count == 1 else f"{line} ({count} times)" for line, count in Counter(lines).items()]


def inspect_bag(bag: Path, sources: Sequence[ActionSource] = ()) -> BagInfo:
    """Everything in a bag, read once; ``sources`` say which fields of action topics to look at."""
    chosen = {source.topic: source for source in sources}
    info = BagInfo(bag)
    surveys: dict[str, TopicSurvey] = {}
    for record in records(bag, None, info.problems):
        if record.topic not in surveys:
            surveys[record.topic] = TopicSurvey(record, chosen.get(record.topic))
        surveys[record.topic].add(record)
    info.topics = [surveys[name].result() for name in sorted(surveys)]
    if not info.topics and not info.problems:
        info.problems.append(f"{bag}: holds no messages")
    return info


def choose_topics(
    infos: Sequence[BagInfo], image_topic: str | None, sources: Sequence[ActionSource]
) -> tuple[str, tuple[ActionSource, ...]]:
    """The topics given, or else the only one of its kind in the bags.

    Raises:
        InputError: none was given and there is none, or several.
    """
    topics = {topic.name: topic for info in infos for topic in info.topics}.values()
    cameras = [topic.name for topic in topics if topic.msgtype in IMAGE_TYPES]
    commands = [topic.name for topic in topics if topic.msgtype in DEFAULT_FIELDS]
    image = image_topic or only(cameras, "--image-topic", "camera topic")
    return image, tuple(sources) or (
        ActionSource(topic=only(commands, "--action-topic", "topic of commands")),
    )


def only(names: Sequence[str], option: str, kind: str) -> str:
    if len(names) != 1:
        raise InputError(f"{option}: expected one {kind}, there are {', '.join(names) or 'none'}; name one")
    return names[0]


def describe_streams(
    infos: Sequence[BagInfo], image_topic: str, sources: Sequence[ActionSource], problems: list[str]
) -> StreamSpec:
    """Rate and image size that suit the camera of all bags: its own rate thinned out, its own shape.

    Args:
        infos: of all bags, from ``inspect_bag`` with the same ``sources``.
        image_topic, sources: what to use; types and default fields are filled in.
        problems: takes one line for each bag that cannot be used or differs from the others.

    Raises:
        InputError: not a single bag has all the topics with usable messages.
    """
    whole = usable_bags(infos, image_topic, sources, problems)
    cameras = {info.path: info.topic(image_topic) for info in whole}
    rate = median(camera.rate for camera in cameras.values())
    size = usual([size for camera in cameras.values() for size in camera.sizes])
    for path, camera in cameras.items():
        if abs(camera.rate - rate) > ODD_RATE * rate:
            problems.append(
                f"{path} {image_topic}: images come at {camera.rate:.2f} Hz, usual is {rate:.2f} Hz"
            )
        if size not in camera.sizes:
            (width, height), _ = camera.sizes.most_common(1)[0]
            problems.append(
                f"{path} {image_topic}: images are {width}x{height}, usual is {size[0]}x{size[1]}"
            )
    width, height = image_size(*size)
    return StreamSpec(
        image_topic=image_topic,
        actions=tuple(describe_source(whole, source, problems) for source in sources),
        rate_hz=model_rate(rate),
        width=width,
        height=height,
    )


def usable_bags(
    infos: Sequence[BagInfo], image_topic: str, sources: Sequence[ActionSource], problems: list[str]
) -> list[BagInfo]:
    """Bags that have images and actions on these topics; the others are named in ``problems``."""
    whole, lacking = [], []
    for info in infos:
        try:
            check_topics(info, image_topic, sources)
            whole.append(info)
        except InputError as error:
            lacking.append(str(error))
    if not whole:
        raise InputError(lacking[0])
    problems += lacking
    return whole


def check_topics(info: BagInfo, image_topic: str, sources: Sequence[ActionSource]) -> None:
    """InputError unless a bag has several images and some action of each source."""
    image = info.topic(image_topic)
    if not image.sizes:
        got = "; ".join([image.msgtype, *image.problems[:1]])
        raise InputError(f"{info.path} {image_topic}: expected images, got {got}")
    if image.rate <= 0.0:
        raise InputError(
            f"{info.path} {image_topic}: expected several images at different times, got {image.count}"
        )
    for source in sources:
        action = info.topic(source.topic)
        if not len(action.low):
            got = "; ".join([action.msgtype, *action.problems[:1]])
            raise InputError(f"{info.path} {source.topic}: expected actions, got {got}")


def describe_source(infos: Sequence[BagInfo], source: ActionSource, problems: list[str]) -> ActionSource:
    """A source with the type, fields and number of values that its topic usually has."""
    topics = {info.path: info.topic(source.topic) for info in infos}
    kind = usual([topic.msgtype for topic in topics.values()])
    dims = Counter[int]()
    for topic in topics.values():
        dims += topic.dims
    dim = dims.most_common(1)[0][0]
    for path, topic in topics.items():
        if dim not in topic.dims:
            got = topic.dims.most_common(1)[0][0]
            problems.append(f"{path} {source.topic}: expected {dim} action values as usual, got {got}")
    fields = fields_for(kind, source.type, source.fields) or DEFAULT_FIELDS[kind]
    return ActionSource(topic=source.topic, type=kind, fields=fields, dim=dim)


def usual(values: Sequence[T]) -> T:
    """The value that occurs most."""
    return Counter(values).most_common(1)[0][0]


def survey(
    bags: Sequence[Path], image_topic: str, sources: Sequence[ActionSource], problems: list[str]
) -> StreamSpec:
    """Streams that suit all ``bags``, or the LeRobot data set that they are episodes of.

    Raises:
        InputError: as ``describe_streams`` and ``describe_set``; or a data set together with something else.
    """
    sets = {set_of(bag) for bag in bags}
    if sets == {None}:
        infos = [inspect_bag(bag, sources) for bag in progress(bags, "looking at bags")]
        return describe_streams(infos, image_topic, sources, problems)
    if len(sets) > 1:
        raise InputError("bags: expected bags, or one LeRobot data set, got several kinds; train on one")
    (path,) = sets
    assert path is not None
    data = LeRobotSet(path)
    problems += data.problems
    return describe_set(data, image_topic, sources)


def describe_set(data: LeRobotSet, image_key: str, sources: Sequence[ActionSource]) -> StreamSpec:
    """Rate and image size that suit a camera of a LeRobot data set, and the number of each source's values.

    Raises:
        InputError: the data set lacks the camera or an action; the message lists those it has.
    """
    dims = [LeRobotReader(data, image_key, keys_of(source)).dim for source in sources]
    width, height = image_size(*data.info.features[image_key].size)
    return StreamSpec(
        image_topic=image_key,
        actions=tuple(s.model_copy(update={"dim": dim}) for s, dim in zip(sources, dims, strict=True)),
        rate_hz=model_rate(data.info.fps),
        width=width,
        height=height,
    )


def model_rate(camera_hz: float) -> float:
    """The fastest rate for a model that a camera's rate is a whole multiple of."""
    return round(camera_hz / math.ceil(camera_hz / FASTEST_HZ - 0.05), 3)


def image_size(width: int, height: int) -> tuple[int, int]:
    """Model size nearest in shape to a camera's ``width`` x ``height``, and the largest of those."""
    sizes = [
        (w, h)
        for w in range(4 * CELL, 16 * CELL, CELL)
        for h in range(4 * CELL, 16 * CELL, CELL)
        if MOST_PIXELS / 2 <= w * h <= MOST_PIXELS
    ]
    return min(sizes, key=lambda s: (round(abs(math.log(s[0] * height / (s[1] * width))), 2), -s[0] * s[1]))
