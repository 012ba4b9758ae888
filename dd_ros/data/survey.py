# SPDX-License-Identifier: Apache-2.0
"""What bags hold, and what is odd about it. No torch."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.action_reader import ActionReader
from dd_ros.data.actions import DEFAULT_FIELDS, stamp_ns
from dd_ros.data.clocks import Times, choose_stamps, count_resets, lag
from dd_ros.data.images import IMAGE_TYPES, image_to_rgb
from dd_ros.data.odd_images import is_video
from dd_ros.data.rosbag import Record, no_topic, records
from dd_ros.data.video import ImageStream, format_of
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import ActionSource

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
        joints: names of the joints that make up the action by their positions; empty for other topics.
        ambiguous: why its messages cannot be told apart, and the cure; empty if they can.
        times: header stamp (or None) and receive time of each message, ns.
        starts: whether header stamps say when commands begin, which may be later.
        detail: what is in it, for people.
        problems: what is odd about it, without file and topic.
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
    joints: tuple[str, ...] = ()
    ambiguous: str = ""
    times: Times = ()
    starts: bool = False
    detail: str = ""
    problems: Report = field(default_factory=Report)


@dataclass
class BagInfo:
    """Topics of a bag, and what is wrong with its files."""

    path: Path
    topics: list[TopicInfo] = field(default_factory=list)
    problems: Report = field(default_factory=Report)

    def topic(self, name: str) -> TopicInfo:
        """The topic ``name``; InputError lists those there are."""
        for topic in self.topics:
            if topic.name == name:
                return topic
        raise no_topic(self.path, name, [topic.name for topic in self.topics], self.problems)


class TopicSurvey:
    """Collects a ``TopicInfo`` message by message; keeps two numbers of each.

    Args:
        record: the first message.
        source: fields that make up the action; None takes the type's default ones.
    """

    def __init__(self, record: Record, source: ActionSource | None):
        self.info = TopicInfo(record.topic, record.msgtype)
        self._images = ImageStream() if record.msgtype in IMAGE_TYPES or is_video(record.msgtype) else None
        known = source is not None or record.msgtype in DEFAULT_FIELDS
        self._reader = ActionReader(source or ActionSource(topic=record.topic)) if known else None
        self._headers, self._received = array("q"), array("q")

    def add(self, record: Record) -> None:
        header = 0
        try:
            if self._images is not None or self._reader is not None:
                header = stamp_ns(record.msg) or 0
            if self._images is not None:
                self._add_image(record, self._images)
            elif self._reader is not None:
                command = self._reader.read(record.msg, record.msgtype)
                self.info.starts |= command.spans
                self._add_action(command.values)
        except InputError as error:
            self.info.problems.add("", error)
        self._headers.append(header)
        self._received.append(record.received_ns)

    def _add_image(self, record: Record, images: ImageStream) -> None:
        compressed = not hasattr(record.msg, "width") or bool(format_of(record))
        if self.info.sizes and compressed:
            return  # looking at one tells enough, reading the episodes decodes them all
        if self.info.sizes:
            self.info.sizes[record.msg.width, record.msg.height] += 1
            return
        kind = getattr(record.msg, "format", "") or getattr(record.msg, "encoding", "") or "video"
        self._look(images.add(record), kind)

    def _look(self, images: Iterator[tuple[int, Record]], kind: str) -> None:
        """Look at the first of the images that decodes; the others are named."""
        for _, record in images:
            if self.info.sizes:
                return
            try:
                height, width = image_to_rgb(record.msg).shape[:2]
            except InputError as error:
                self.info.problems.add("", error)
                continue
            self.info.detail = f"image {width}x{height} {kind}"
            self.info.sizes[width, height] += 1

    def _add_action(self, values: NDArray[np.float64]) -> None:
        info, dim = self.info, values.shape[1]
        usual = next(iter(info.dims), dim)
        info.dims[dim] += 1
        if not np.isfinite(values).all():
            raise InputError("expected finite action values, got NaN or infinity")
        if dim == usual:
            low, high = values.min(0), values.max(0)
            info.low = np.minimum(info.low, low) if len(info.low) else low
            info.high = np.maximum(info.high, high) if len(info.high) else high

    def result(self) -> TopicInfo:
        info, name = self.info, self.info.name
        if self._images is not None:
            self._look(self._images.end(), "video")
        info.times = times = [(h or None, r) for h, r in zip(self._headers, self._received, strict=True)]
        stamps = [stamp for stamp in choose_stamps({name: times}, Report())[name] if stamp is not None]
        if self._reader is not None:
            info.joints, info.ambiguous = self._reader.joints, self._reader.ambiguous
        info.count = len(times)
        info.stamps = "received" if lag(times) is None else "header"
        odd_stamps(name, stamps, info.problems)
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


def odd_stamps(name: str, stamps: Sequence[int], problems: Report) -> None:
    """Say what is odd about the times of a topic's messages, in recorded order."""
    resets = count_resets([(name, stamp) for stamp in stamps])[-1] if stamps else 0
    steps = np.diff(np.asarray(stamps, np.int64))
    twice, late = int((steps == 0).sum()), int((steps < 0).sum()) - resets
    for count, text in (
        (resets, "the clock goes back by a second or more, each time beginning a new episode"),
        (late, "messages are older than the one before them"),
        (twice, "messages repeat a time stamp"),
    ):
        if count > 0:
            problems.add("", text, times=count)


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
        info.problems.add(
            "", f"the number of values changes: {lengths}", f"only those with {dim} can be used"
        )
    if len(low) and constant.all() and info.count > 1:
        info.problems.add(
            "", f"constant: all {info.count} commands are the same, a model cannot learn from them"
        )
    if info.gap > SILENCE:
        info.problems.add("", f"silent for {info.gap:.1f} s", "the last command is held meanwhile")


def typical_rate(gaps: NDArray[np.float64]) -> float:
    """Rate (Hz) of messages ``gaps`` (s) apart: the mean of usual gaps, which pauses do not change."""
    usual = gaps[np.abs(gaps - np.median(gaps)) <= np.median(gaps) / 2]
    if len(usual) < 0.8 * len(gaps):  # irregular: only long pauses are left out
        usual = gaps[gaps <= 3 * np.median(gaps)]
    return float(1.0 / usual.mean())


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
        info.problems.add(bag, "holds no messages")
    return info
