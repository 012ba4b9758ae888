# SPDX-License-Identifier: Apache-2.0
"""Which streams training makes of bags or of a LeRobot data set: topics, rate and image size."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

from dd_ros.data.action_reader import listed
from dd_ros.data.actions import DEFAULT_FIELDS, default_fields, fields_for
from dd_ros.data.bag_clocks import BagClocks
from dd_ros.data.constant_fields import changing
from dd_ros.data.images import IMAGE_TYPES
from dd_ros.data.lerobot import LeRobotReader, LeRobotSet, keys_of, set_of
from dd_ros.data.odd_images import cure_of, is_video
from dd_ros.data.survey import BagInfo, inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import LEROBOT, MOST_LAG, ActionSource, StreamSpec

T = TypeVar("T")
FASTEST_HZ = 15.0  # model rate at most; a faster camera is thinned out by a whole factor
MOST_PIXELS = 128 * 96
CELL = 16  # image sides are multiples of it
ODD_RATE = 0.1  # a bag whose camera is off the others' rate by this share is worth a word


def choose_topics(
    infos: Sequence[BagInfo], image_topic: str | None, sources: Sequence[ActionSource]
) -> tuple[str, tuple[ActionSource, ...]]:
    """The topics given, or else the only one of its kind in the bags.

    Raises:
        InputError: none was given and there is none, or several.
    """
    topics = {topic.name: topic for info in infos for topic in info.topics}.values()
    cameras = [topic.name for topic in topics if topic.msgtype in IMAGE_TYPES]
    cameras = cameras or [topic.name for topic in topics if is_video(topic.msgtype)]
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
    infos: Sequence[BagInfo], image_topic: str, sources: Sequence[ActionSource], *, problems: Report, all_fields: bool = False
) -> StreamSpec:  # fmt: skip
    """Rate and image size that suit the camera of all bags: its own rate thinned out, its own shape.

    Args:
        infos: of all bags, from ``inspect_bag`` with the same ``sources``.
        image_topic, sources: what to use; types and default fields are filled in.
        problems: takes a line for each bag that cannot be used or differs from the others, and for fields left out.
        all_fields: whether fields that never change stay, too.

    Raises:
        InputError: not a single bag has all the topics with usable messages.
    """
    whole = usable_bags(infos, image_topic, sources, problems=problems)
    cameras = {info.path: info.topic(image_topic) for info in whole}
    topics = [image_topic, *(source.topic for source in sources)]
    rates = {info.path: BagClocks(info, topics).image_rate for info in whole}
    rate = median(rates.values())
    size = usual([size for camera in cameras.values() for size in camera.sizes])
    for path, camera in cameras.items():
        if abs(rates[path] - rate) > ODD_RATE * rate:
            problems.add(
                f"{path} {image_topic}", f"images come at {rates[path]:.2f} Hz, usual is {rate:.2f} Hz"
            )
        if size not in camera.sizes:
            (width, height), _ = camera.sizes.most_common(1)[0]
            problems.add(
                f"{path} {image_topic}", f"images are {width}x{height}, usual is {size[0]}x{size[1]}"
            )
    width, height = model_size(*size)
    actions = tuple(describe_source(whole, source, problems) for source in sources)
    if not all_fields:
        found = [[info.topic(source.topic) for info in whole] for source in sources]
        actions = changing(actions, sources, found, problems)
    return StreamSpec(
        image_topic=image_topic,
        actions=actions,
        rate_hz=model_rate(rate),
        width=width,
        height=height,
    )


def usable_bags(
    infos: Sequence[BagInfo], image_topic: str, sources: Sequence[ActionSource], *, problems: Report
) -> list[BagInfo]:
    """Bags that have images and actions on these topics; the others are named in ``problems``."""
    whole, lacking = [], Report()
    for info in infos:
        try:
            check_topics(info, image_topic, sources)
            whole.append(info)
        except InputError as error:
            lacking.add(info.path, error)
    if not whole:
        raise InputError(lacking.lines()[0])
    problems.update(lacking)
    return whole


def check_topics(info: BagInfo, image_topic: str, sources: Sequence[ActionSource]) -> None:
    """InputError unless a bag has several images and some action of each source."""
    image = info.topic(image_topic)
    if not image.sizes:
        got = "; ".join([image.msgtype, *image.problems.lines()[:1]])
        raise InputError(f"{info.path} {image_topic}: expected images, got {got}{cure_of(image.msgtype)}")
    if image.rate <= 0.0:
        raise InputError(
            f"{info.path} {image_topic}: expected several images at different times, got {image.count}"
        )
    for source in sources:
        action = info.topic(source.topic)
        if not len(action.low):
            got = "; ".join([action.msgtype, *action.problems.lines()[:1]])
            raise InputError(f"{info.path} {source.topic}: expected actions, got {got}")
        if action.ambiguous:
            raise InputError(f"{info.path} {source.topic}: {action.ambiguous}")


def describe_source(infos: Sequence[BagInfo], source: ActionSource, problems: Report) -> ActionSource:
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
            problems.add(f"{path} {source.topic}", f"expected {dim} action values as usual, got {got}")
    fields = fields_for(kind, source.type, source.fields) or default_fields(kind)
    joints = usual([topic.joints for topic in topics.values()])
    for path, topic in topics.items():
        if set(topic.joints) != set(joints):
            problems.add(
                f"{path} {source.topic}",
                f"expected joints {listed(joints)} as usual, got {listed(topic.joints)}",
            )
    return ActionSource(topic=source.topic, type=kind, fields=fields, dim=dim, joints=joints)


def usual(values: Sequence[T]) -> T:
    """The value that occurs most."""
    return Counter(values).most_common(1)[0][0]


def choose_streams(
    bags: Sequence[Path], image_topic: str, sources: Sequence[ActionSource],
    *, problems: Report, watch: Callable[[Sequence[Path]], Iterable[Path]] = iter, all_fields: bool = False,
) -> StreamSpec:  # fmt: skip
    """Streams that suit all ``bags``, or the LeRobot data set that they are episodes of.

    Args:
        bags: bags, or episodes of one data set.
        image_topic, sources: what to use of them.
        problems, all_fields: as in ``describe_streams``.
        watch: hands on the bags one by one, and may show how far that has come.

    Raises:
        InputError: as ``describe_streams`` and ``describe_set``; or a data set together with something else.
    """
    sets = {set_of(bag) for bag in bags}
    if sets == {None}:
        infos = [inspect_bag(bag, sources) for bag in watch(bags)]
        return describe_streams(infos, image_topic, sources, problems=problems, all_fields=all_fields)
    if len(sets) > 1:
        raise InputError("bags: expected bags, or one LeRobot data set, got several kinds; train on one")
    (path,) = sets
    assert path is not None
    data = LeRobotSet(path)
    problems.update(data.problems)
    return describe_set(data, image_topic, sources)


def with_lag(streams: StreamSpec, *, lag: float | None, lead: int | None) -> StreamSpec:
    """The streams with commands in force ``lag`` seconds after their stamps, or ``lead`` model steps before them.

    Raises:
        InputError: both are given, or it is more than MOST_LAG.
    """
    if lag is None and lead is None:
        return streams
    if lag is not None and lead is not None:
        raise InputError("--action-lag and --action-lead: expected one of them, got both")
    seconds = lag if lag is not None else -(lead or 0) / streams.rate_hz
    if not abs(seconds) <= MOST_LAG:
        option = "--action-lag" if lead is None else "--action-lead"
        raise InputError(f"{option}: expected {MOST_LAG:g} s at most, got {abs(seconds):g} s")
    return streams.model_copy(update={"action_lag_s": seconds})


def describe_set(data: LeRobotSet, image_key: str, sources: Sequence[ActionSource]) -> StreamSpec:
    """Rate and image size that suit a camera of a LeRobot data set, and the number of each source's values.

    Raises:
        InputError: the data set lacks the camera or an action; the message lists those it has.
    """
    dims = [LeRobotReader(data, image_key, keys_of(source)).dim for source in sources]
    width, height = model_size(*data.info.features[image_key].size)
    return StreamSpec(
        image_topic=image_key,
        actions=tuple(
            s.model_copy(update={"type": LEROBOT, "dim": dim}) for s, dim in zip(sources, dims, strict=True)
        ),
        rate_hz=model_rate(data.info.fps),
        width=width,
        height=height,
    )


def model_rate(camera_hz: float) -> float:
    """The fastest rate for a model that a camera's rate is a whole multiple of."""
    return round(camera_hz / math.ceil(camera_hz / FASTEST_HZ - 0.05), 3)


def model_size(width: int, height: int) -> tuple[int, int]:
    """Model size nearest in shape to a camera's ``width`` x ``height``, and the largest of those."""
    sizes = [
        (w, h)
        for w in range(4 * CELL, 16 * CELL, CELL)
        for h in range(4 * CELL, 16 * CELL, CELL)
        if MOST_PIXELS / 2 <= w * h <= MOST_PIXELS
    ]
    return min(sizes, key=lambda s: (round(abs(math.log(s[0] * height / (s[1] * width))), 2), -s[0] * s[1]))
