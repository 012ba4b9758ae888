# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings -> episodes. Needs no ROS installation; reads what a cut-off bag still holds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from dd_ros.config import StreamSpec
from dd_ros.errors import InputError
from dd_ros.ros.actions import DEFAULT_FIELDS, action_values, stamp_ns
from dd_ros.ros.conversions import image_to_rgb
from dd_ros.streams import ActionBuffer, Episode, resample

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
FILES = (".mcap", ".db3")
SAME_CLOCK_NS = 3600 * 10**9  # header stamps of two topics farther apart are of different clocks


class Record(NamedTuple):
    """A message as it lies in a bag: topic, type, receive time in ns, and the decoded message."""

    topic: str
    msgtype: str
    received_ns: int
    msg: Any


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


def folder_of(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def storage_files(bag: Path) -> list[Path]:
    """The .mcap or .db3 files of a bag, compressed ones too, in recorded order."""
    files = [bag] if bag.is_file() else folder_of(bag)
    named = [file for file in files if file.suffix in FILES or file.with_suffix("").suffix in FILES]
    return sorted(
        named,
        key=lambda file: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", file.name)],
    )


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


def records(bag: Path, topics: Sequence[str] | None, problems: list[str]) -> Iterator[Record]:
    """Messages of ``topics`` (None: of all) as long as the bag can be read.

    What is wrong with the bag is appended to ``problems``, one line each; nothing is raised for it.
    """
    try:
        reader = AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except (AnyReaderError, OSError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{bag}: not closed properly or damaged ({reason}); read as far as it goes")
        for file in storage_files(bag):
            yield from salvage(file, topics, problems)
        return
    try:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        for connection, received, raw in reader.messages(chosen):
            yield Record(
                connection.topic,
                connection.msgtype,
                received,
                reader.deserialize(raw, connection.msgtype),
            )
    except Exception as error:  # the storage libraries raise many kinds for a damaged file
        problems.append(f"{bag}: damaged in the middle ({error}); read as far as it goes")
    finally:
        reader.close()


def salvage(file: Path, topics: Sequence[str] | None, problems: list[str]) -> Iterator[Record]:
    """Messages of a single storage file without metadata or without its end."""
    store = get_typestore(Stores.ROS2_JAZZY)
    raw = {".mcap": mcap_messages, ".db3": sqlite_messages}.get(file.suffix)
    if raw is None:
        problems.append(f"{file}: compressed file of a bag without metadata; decompress it first")
        return
    try:
        for topic, msgtype, received, data in raw(file, store):
            if topics is None or topic in topics:
                yield Record(topic, msgtype, received, store.deserialize_cdr(data, msgtype))
    except Exception as error:
        problems.append(
            f"{file}: cut off or damaged ({type(error).__name__}: {error}); the readable part is used"
        )


def mcap_messages(file: Path, store: Typestore) -> Iterator[tuple[str, str, int, bytes]]:
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with file.open("rb") as stream:
        for record in StreamReader(stream).records:
            if isinstance(record, Schema):
                schemas[record.id] = record
                if record.name not in store.types:
                    store.register(get_types_from_msg(record.data.decode(), record.name))
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                yield channel.topic, schemas[channel.schema_id].name, record.log_time, record.data


def sqlite_messages(file: Path, store: Typestore) -> Iterator[tuple[str, str, int, bytes]]:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        connection.execute("PRAGMA writable_schema=ON")  # else SQLite refuses a file shorter than it says
        topics = {
            key: (name, kind) for key, name, kind in connection.execute("SELECT id, name, type FROM topics")
        }
        # In the order of the file, without sorting: a cut-off one can be read until it breaks off.
        for key, received, data in connection.execute("SELECT topic_id, timestamp, data FROM messages"):
            yield *topics[key], received, data


def read_episodes(bag: Path, spec: StreamSpec, problems: list[str] | None = None) -> list[Episode]:
    """Episodes of a bag by the rules of ``streams``.

    Args:
        bag: bag folder or storage file.
        spec: topics, fields, rate and image size.
        problems: takes one line for everything that could not be used.

    Raises:
        InputError: the bag lacks a topic (the message lists those it has) or holds no usable step.
    """
    problems = [] if problems is None else problems
    actions, from_headers = read_actions(bag, spec, problems)
    images = read_images(bag, spec, from_headers, problems)
    episodes = resample(images, actions, spec, bag.stem)
    if not episodes:
        raise InputError(
            f"{bag}: no usable images of {spec.image_topic} at or after the first action of {spec.action_topic}"
            + "".join(f"; {problem}" for problem in problems[:1])
        )
    return episodes


def read_actions(bag: Path, spec: StreamSpec, problems: list[str]) -> tuple[ActionBuffer, bool]:
    """All actions of a bag, and whether header stamps (rather than receive times) are the clock."""
    first_image: int | None = None
    found: list[tuple[int | None, int, NDArray[np.float64]]] = []
    for record in records(bag, (spec.image_topic, spec.action_topic), problems):
        if record.topic == spec.image_topic:
            first_image = stamp_ns(record.msg) if first_image is None else first_image
            continue
        found.append(
            (
                stamp_ns(record.msg),
                record.received_ns,
                action_values(record.msg, record.msgtype, spec.action_fields),
            )
        )
    if first_image is None or not found:
        missing_topic(bag, spec)
    headers = [stamp for stamp, _, _ in found]
    from_headers = bool(first_image) and all(headers) and abs(headers[0] - first_image) < SAME_CLOCK_NS  # type: ignore[operator]
    buffer = ActionBuffer(None, spec.action_mode, capacity=len(found), name=f"{bag} {spec.action_topic}")
    for stamp, received, values in found:
        try:
            buffer.push(stamp if from_headers else received, values)  # type: ignore[arg-type]
        except InputError as error:
            problems.append(str(error))
    return buffer, from_headers


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
    bag: Path, spec: StreamSpec, from_headers: bool, problems: list[str]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Images (stamp, uint8 RGB) of a bag in recorded order; those that do not decode are left out."""
    for record in records(bag, (spec.image_topic,), []):
        if record.msgtype not in IMAGE_TYPES:
            raise InputError(
                f"{bag}: {spec.image_topic} is of type {record.msgtype}, expected one of {', '.join(IMAGE_TYPES)}"
            )
        stamp = stamp_ns(record.msg) if from_headers else record.received_ns
        try:
            yield stamp or record.received_ns, image_to_rgb(record.msg)
        except InputError as error:
            problems.append(f"{bag} {spec.image_topic}: {error}")


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
