# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings -> episodes. Needs no ROS installation; reads what a cut-off bag still holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import StreamSpec
from dd_ros.errors import InputError
from dd_ros.ros.actions import DEFAULT_FIELDS, action_values, fields_for, stamp_ns
from dd_ros.ros.conversions import image_to_rgb
from dd_ros.storage import Record, folder_of, records, storage_files
from dd_ros.streams import ActionBuffer, Episode, FrameClock, StampsWentBack, resample
from dd_ros.timeline import choose_stamps, segments

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass
class TopicInfo:
    """What a bag holds of one topic.

    Attributes:
        duration, gap: seconds from first to last message, and longest time between two.
        size: width and height of images.
        detail: what is in it, for people.
    """

    name: str
    msgtype: str
    count: int = 0
    duration: float = 0.0
    gap: float = 0.0
    size: tuple[int, int] | None = None
    detail: str = ""

    @property
    def rate(self) -> float:
        """Messages per second."""
        return (self.count - 1) / self.duration if self.duration > 0 else 0.0


@dataclass
class BagInfo:
    """Topics of a bag, and what is wrong with it."""

    path: Path
    topics: list[TopicInfo] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Bags among ``paths``, sorted: each is a bag (folder or file) or a folder of bags.

    Raises:
        InputError: a path does not exist or holds no bag.
    """
    bags: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected a rosbag2 bag or a folder of bags")
        found = [path] if is_bag(path) else sorted(child for child in folder_of(path) if is_bag(child))
        if not found:
            raise InputError(f"{path}: holds no rosbag2 bag (a folder with .mcap or .db3 files)")
        bags += found
    return list(dict.fromkeys(bags))


def is_bag(path: Path) -> bool:
    return bool(storage_files(path)) and (
        path.is_file() or not any(is_bag(p) for p in folder_of(path) if p.is_dir())
    )


def is_validation(bag: Path, position: int = 0) -> bool:
    """Whether a bag is held back for validation: its number % 6 == 4, or else its position's."""
    number = re.search(r"(\d+)$", bag.stem)
    return (int(number.group(1)) if number else position) % 6 == 4


def split(bags: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(training, validation) bags; with two bags or more neither part is empty."""
    held = [bag for position, bag in enumerate(bags) if is_validation(bag, position)]
    if not held or len(held) == len(bags):
        held = list(bags[-1:]) if len(bags) > 1 else []
    return [bag for bag in bags if bag not in held], held


def select(bags: Sequence[Path], part: str) -> list[Path]:
    """Bags of one part: ``all``, ``train`` or ``validation``; InputError if it is empty."""
    training, validation = split(bags)
    chosen = {"all": list(bags), "train": training, "validation": validation}[part]
    if not chosen:
        raise InputError(f"split {part}: none of the {len(bags)} bags belongs to it; use --split all")
    return chosen


@dataclass
class Recording:
    """What the first pass over a bag finds: time line and actions, but no pictures.

    Attributes:
        image_stamps: of each image in recorded order, ns; None for one without a usable stamp.
        image_segments: number of clock resets before each image.
        actions: the actions of each segment.
    """

    image_stamps: list[int | None]
    image_segments: list[int]
    actions: list[ActionBuffer]


def read_episodes(bag: Path, spec: StreamSpec, problems: list[str] | None = None) -> list[Episode]:
    """Episodes of a bag by the rules of ``streams``; a clock reset in the bag starts a new one.

    Args:
        bag: bag folder or storage file.
        spec: topics, fields, rate and image size.
        problems: takes one line for everything that could not be used.

    Raises:
        InputError: the bag lacks a topic (the message lists those it has) or holds no usable step.
    """
    problems = [] if problems is None else problems
    recording = read_actions(bag, spec, problems)
    episodes: list[Episode] = []
    images = read_images(bag, spec, recording, problems)
    for segment, part in groupby(images, key=lambda image: image[0]):
        episodes += resample(((stamp, rgb) for _, stamp, rgb in part), recording.actions[segment], spec)
    if not episodes:
        raise InputError(
            f"{bag}: no usable images of {spec.image_topic} at or after the first action of {spec.action_topic}"
            + "".join(f"; {problem}" for problem in problems[:1])
        )
    names = [f"{bag.stem}#{index}" if index else bag.stem for index in range(len(episodes))]
    return [replace(episode, name=name) for episode, name in zip(episodes, names, strict=True)]


def read_actions(bag: Path, spec: StreamSpec, problems: list[str]) -> Recording:
    """The first pass: all actions of a bag, and the time line of its images.

    Actions that cannot be used are left out and named in ``problems``.

    Raises:
        InputError: a topic is missing, or no action at all can be used.
    """
    if spec.image_topic == spec.action_topic:
        raise InputError(
            f"{bag}: {spec.image_topic}: expected two topics, got one for both images and actions"
        )
    order: list[bool] = []  # of each message, whether it is an image
    times: dict[bool, list[tuple[int | None, int]]] = {True: [], False: []}
    values: list[NDArray[np.float64]] = []
    odd: list[str] = []
    for record in records(bag, (spec.image_topic, spec.action_topic), problems):
        is_image = record.topic == spec.image_topic
        try:
            if not is_image:
                values.append(values_of(record, spec))
            header = stamp_ns(record.msg)
        except InputError as error:
            if not is_image:
                odd.append(f"{bag} {spec.action_topic}: {error}")
                continue
            header = None  # the second pass names it
        order.append(is_image)
        times[is_image].append((header, record.received_ns))
    if not times[True] or not times[False]:
        missing_topic(bag, spec)
        raise InputError(odd[0])
    problems += odd
    mismatches: list[str] = []
    stamps = choose_stamps(times[True], times[False], mismatches)
    problems += [f"{bag}: {mismatch}" for mismatch in mismatches]
    return arrange(bag, spec, order, stamps[0], list(zip(stamps[1], values, strict=True)), problems)


def values_of(record: Record, spec: StreamSpec) -> NDArray[np.float64]:
    """The action vector of a message; InputError where it has none."""
    fields = fields_for(record.msgtype, spec.action_type, spec.action_fields)
    return action_values(record.msg, record.msgtype, fields)


def arrange(
    bag: Path, spec: StreamSpec, order: Sequence[bool], image_stamps: list[int | None],
    actions: Sequence[tuple[int | None, NDArray[np.float64]]], problems: list[str],
) -> Recording:  # fmt: skip
    """Sort images and actions, which came in ``order``, into the times between clock resets."""
    images, commands = iter(image_stamps), iter(actions)
    merged = [(is_image, next(images) if is_image else next(commands)[0]) for is_image in order]
    numbers = iter(segments([("image" if i else "action", s) for i, s in merged if s is not None]))
    found = [(is_image, 0 if stamp is None else next(numbers)) for is_image, stamp in merged]
    image_segments = [number for is_image, number in found if is_image]
    action_segments = [number for is_image, number in found if not is_image]
    count = max(image_segments + action_segments) + 1
    name = f"{bag} {spec.action_topic}"
    dim = len(actions[0][1])
    buffers = [ActionBuffer(dim, spec.action_mode, capacity=len(actions), name=name) for _ in range(count)]
    for (stamp, value), segment in zip(actions, action_segments, strict=True):
        try:
            if stamp is not None:
                buffers[segment].push(stamp, value)
        except InputError as error:
            problems.append(str(error))
    return Recording(image_stamps, image_segments, buffers)


def missing_topic(bag: Path, spec: StreamSpec) -> None:
    """Raise InputError when a topic of ``spec`` is not in the bag."""
    info = inspect_bag(bag)
    names = {topic.name: topic for topic in info.topics if topic.count}
    for topic in (spec.image_topic, spec.action_topic):
        if topic not in names:
            there = ", ".join(sorted(names)) or "no messages at all"
            problem = f" ({info.problems[0]})" if info.problems else ""
            raise InputError(f"{bag}: no messages of topic {topic}; it holds {there}{problem}")


def read_images(
    bag: Path, spec: StreamSpec, recording: Recording, problems: list[str]
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """The second pass: images that are due, as (segment, stamp, uint8 RGB) in recorded order.

    As in the live node, an image that is due but does not decode is a missed model step.
    """
    clock = FrameClock(spec.rate_hz)
    for number, record in enumerate(records(bag, (spec.image_topic,), [])):
        if record.msgtype not in IMAGE_TYPES:
            raise InputError(
                f"{bag}: {spec.image_topic} is of type {record.msgtype}, expected one of {', '.join(IMAGE_TYPES)}"
            )
        stamp = recording.image_stamps[number]
        if stamp is None or not due(clock, stamp):
            continue
        try:
            yield recording.image_segments[number], stamp, image_to_rgb(record.msg)
        except InputError as error:
            problems.append(f"{bag} {spec.image_topic}: {error}")


def due(clock: FrameClock, stamp: int) -> bool:
    """Whether the image of this time becomes a model step; a reset clock begins anew."""
    try:
        return clock.accept(stamp) > 0
    except StampsWentBack:
        clock.reset()
        return clock.accept(stamp) > 0


def inspect_bag(bag: Path) -> BagInfo:
    """Topics, rates and gaps of a bag, by receive time."""
    info = BagInfo(bag)
    topics: dict[str, TopicInfo] = {}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for record in records(bag, None, info.problems):
        if record.topic not in topics:
            topics[record.topic] = describe(record)
        topic = topics[record.topic]
        topic.count += 1
        begin = first.setdefault(record.topic, record.received_ns)
        topic.gap = max(topic.gap, (record.received_ns - last.get(record.topic, record.received_ns)) / 1e9)
        last[record.topic] = record.received_ns
        topic.duration = (record.received_ns - begin) / 1e9
    info.topics = sorted(topics.values(), key=lambda topic: topic.name)
    if not info.topics and not info.problems:
        info.problems.append(f"{bag}: holds no messages")
    return info


def describe(record: Record) -> TopicInfo:
    """A topic as its first message shows it: image size, or number of action values."""
    info = TopicInfo(record.topic, record.msgtype)
    try:
        if record.msgtype in IMAGE_TYPES:
            height, width, _ = image_to_rgb(record.msg).shape
            info.size = (width, height)
            info.detail = (
                f"image {width}x{height} {getattr(record.msg, 'encoding', None) or record.msg.format}"
            )
        elif record.msgtype in DEFAULT_FIELDS:
            info.detail = f"action, {len(action_values(record.msg, record.msgtype))} values"
    except InputError as error:
        info.detail = str(error)
    return info
