# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings -> episodes. Needs no ROS installation; reads what a cut-off bag still holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.action_reader import ActionReader, Command
from dd_ros.data.actions import stamp_ns
from dd_ros.data.clocks import choose_stamps, count_resets
from dd_ros.data.commands import ActionBuffer, JoinedActions
from dd_ros.data.images import IMAGE_TYPES, decode_rgb, image_size
from dd_ros.data.lerobot import episode_paths, is_lerobot, read_bag, set_of
from dd_ros.data.odd_images import cure_of
from dd_ros.data.rosbag import Record, no_topic, records
from dd_ros.data.steps import (
    DueImage,
    Episode,
    Step,
    StepClock,
    episode_of,
    model_steps,
    part_name,
)
from dd_ros.data.storage import ARCHIVES, METADATA, folder_of, storage_files
from dd_ros.data.video import images_of
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import StreamSpec

Item = TypeVar("Item")


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Bags among ``paths``, sorted: each is a bag (folder or file), a folder of bags, or a LeRobot data set.

    Each episode of a data set counts as a bag, and may be named alone: ``SET/episode_000004``, see
    ``lerobot.episode_paths``.

    Raises:
        InputError: a path does not exist or holds no bag.
    """
    bags: list[Path] = []
    for path in paths:
        if set_of(path) and not path.exists():  # an episode of a data set
            bags += episode_paths(path)
            continue
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected a rosbag2 bag or a folder of bags")
        found = bags_under(path)
        if not found and is_lerobot(path):
            found = episode_paths(path)
        if not found:
            raise nothing_in(path)
        bags += found
    return list(dict.fromkeys(bags))


def nothing_in(path: Path) -> InputError:
    """What lies at ``path``, which holds no bag and is no data set, and what to do."""
    there = [path] if path.is_file() else sorted(path.rglob("*"))
    older = next((file for file in there if file.suffix == ".bag"), None)
    if older is not None:
        return InputError(
            f"{older}: is a ROS 1 bag, expected a rosbag2 bag; convert it with "
            f"`rosbags-convert --src {older} --dst {older.with_suffix('')}`"
        )
    packed = next((file for file in there if file.suffix in ARCHIVES), None)
    cure = f"; unpack {packed} first" if packed else ""
    inside = next((folder for folder in path.parents if is_lerobot(folder)), None)
    below = next((folder for folder in there if is_lerobot(folder)), None)
    if inside is not None:
        cure = f"; it is a part of one, which is named by its folder: {inside}"
    elif below is not None:
        cure = f"; name the data set in it: {below}"
    return InputError(
        f"{path}: holds no rosbag2 bag (a folder with .mcap or .db3 files) and is no LeRobot data set{cure}"
    )


def bags_under(path: Path) -> list[Path]:
    """The bags at ``path`` and in its folders, however deep, sorted.

    A folder with metadata is a bag. One without is a bag where its files are named after it, as a recorder that
    was killed leaves them; else each file is a bag of its own.
    """
    files = storage_files(path)
    if path.is_file():
        return files
    inner = [folder for folder in folder_of(path) if folder.is_dir() and not folder.name.startswith(".")]
    below = [bag for folder in inner for bag in bags_under(folder)]
    if not files:
        return sorted(below)
    parts = [file.name.partition(".")[0] for file in files]
    one = len(files) == 1 or (path / METADATA).is_file()
    one = one or all(part.rpartition("_")[0] == path.resolve().name for part in parts)
    return sorted([*([path] if one and not below else files), *below])


@dataclass
class BagTimeline:
    """What the first pass over a bag finds: the times of its images, and its actions, but no pixels.

    Attributes:
        image_stamps: of each image in recorded order, ns; None for one without a usable stamp.
        image_resets: number of clock resets before each image.
        actions: the actions before the first clock reset, between it and the second, and so on.
    """

    image_stamps: list[int | None]
    image_resets: list[int]
    actions: list[JoinedActions]


def read_episodes(bag: Path, spec: StreamSpec, problems: Report | None = None) -> list[Episode]:
    """Episodes of a bag by the rules of ``streams``; a clock reset in the bag starts a new one.

    Args:
        bag: bag folder or storage file.
        spec: topics, fields, rate and image size.
        problems: takes everything that could not be used.

    Raises:
        InputError: the bag lacks a topic (the message lists those it has) or holds no usable step.
    """
    problems = Report() if problems is None else problems
    if set_of(bag):
        return read_bag(bag, spec, problems)
    sizes = SizeWatch(bag, spec, problems)

    def frame(record: Record) -> NDArray[np.uint8]:
        rgb = decode_rgb(record.msg, spec.width, spec.height)
        sizes.look(record.msg)
        return rgb

    runs = read_runs(bag, spec, problems, keep=frame)
    return [episode_of(run, part_name(bag.stem, index)) for index, run in enumerate(runs)]


def read_runs(
    bag: Path, spec: StreamSpec, problems: Report, *, keep: Callable[[Record], Item]
) -> list[list[Step[Item]]]:
    """The model steps of a bag, an inner list for each episode; what is kept of an image is the caller's choice.

    Args:
        bag: bag folder or storage file.
        spec: topics, fields and rate.
        problems: takes everything that could not be used.
        keep: what to keep of the message with an image that is due; InputError if it is of no use.

    Raises:
        InputError: the bag lacks a topic (the message lists those it has) or holds no usable step.
    """
    known = len(problems)
    timeline = read_actions(bag, spec, problems)
    runs: list[list[Step[Item]]] = []
    images = read_images(bag, spec, timeline, keep=keep, problems=problems)
    for resets, part in groupby(images, key=lambda image: image[0]):
        due = (image for _, image in part)
        runs += model_steps(due, timeline.actions[resets], spec.rate_hz)
    if not runs:
        raise InputError(
            f"{bag}: no usable images of {spec.image_topic} at or after the first action of "
            + ", ".join(spec.action_topics)
            + "".join(f"; {problem}" for problem in problems.lines(known)[:1])
        )
    return runs


class SizeWatch:
    """Says in ``problems`` where the images of a bag change their size."""

    def __init__(self, bag: Path, spec: StreamSpec, problems: Report):
        self._source, self._problems = f"{bag} {spec.image_topic}", problems
        self._last = ""

    def look(self, message: Any) -> None:
        """Compare the image in a message with the one before."""
        size = "{}x{}".format(*image_size(message))
        if self._last not in ("", size):
            self._problems.add(
                self._source,
                f"expected images of {self._last} pixels as before, got {size}",
                "all are stretched to the model's size",
            )
        self._last = size


def read_actions(bag: Path, spec: StreamSpec, problems: Report) -> BagTimeline:
    """The first pass: all actions of a bag, and the times of its images.

    Actions that cannot be used are left out and named in ``problems``.

    Raises:
        InputError: a topic is missing, or one gives no action that can be used.
    """
    if spec.image_topic in spec.action_topics:
        raise InputError(
            f"{bag}: {spec.image_topic}: expected two topics, got one for both images and actions"
        )
    readers = {source.topic: ActionReader(source) for source in spec.actions}
    order: list[str] = []  # the topic of each message
    times: dict[str, list[tuple[int | None, int]]] = {topic: [] for topic in spec.topics}
    values: dict[str, list[Command]] = {topic: [] for topic in readers}
    odd = Report()
    for record in records(bag, spec.topics, problems):
        reader = readers.get(record.topic)
        try:
            if reader is not None:
                values[record.topic].append(reader.read(record.msg, record.msgtype))
            header = stamp_ns(record.msg)
        except InputError as error:
            if reader is not None:
                odd.add(f"{bag} {record.topic}", error)
                continue
            header = None  # the second pass names it
        order.append(record.topic)
        times[record.topic].append((header, record.received_ns))
    for topic, found in times.items():
        if not found:
            missing_topic(bag, spec)
            raise InputError(next(entry.text for entry in odd.entries if entry.source == f"{bag} {topic}"))
    for topic, reader in readers.items():
        if reader.ambiguous:
            raise InputError(f"{bag} {topic}: {reader.ambiguous}")
    problems.update(odd)
    starts = [topic for topic, found in values.items() if any(command.spans for command in found)]
    stamps = choose_stamps(times, problems, str(bag), starts=starts)
    return arrange(bag, spec, order=order, stamps=stamps, values=values, problems=problems)


def arrange(
    bag: Path, spec: StreamSpec, *, order: Sequence[str], stamps: Mapping[str, Sequence[int | None]],
    values: Mapping[str, Sequence[Command]], problems: Report,
) -> BagTimeline:  # fmt: skip
    """Sort images and actions, whose topics came in ``order``, into the times between clock resets."""
    lines = {topic: iter(found) for topic, found in stamps.items()}
    merged = [(topic, next(lines[topic])) for topic in order]
    resets = iter(count_resets([(topic, stamp) for topic, stamp in merged if stamp is not None]))
    found: dict[str, list[int]] = {topic: [] for topic in spec.topics}
    for topic, stamp in merged:
        found[topic].append(0 if stamp is None else next(resets))
    count = max(map(max, found.values())) + 1
    parts = []
    for source in spec.actions:
        topic = source.topic
        commands = zip(stamps[topic], values[topic], found[topic], strict=True)
        name = f"{bag} {topic}"
        parts.append(
            action_buffers(commands, count, source.dim, mode=spec.action_mode, name=name, problems=problems)
        )
    actions = [
        JoinedActions(part, lag_ns=spec.action_lag_ns, measured=spec.measured)
        for part in zip(*parts, strict=True)
    ]
    return BagTimeline(list(stamps[spec.image_topic]), found[spec.image_topic], actions)


def action_buffers(
    commands: Iterable[tuple[int | None, Command, int]], count: int, dim: int | None,
    *, mode: str, name: str, problems: Report,
) -> list[ActionBuffer]:  # fmt: skip
    """Commands (stamp, command, clock resets before it) of one topic, a buffer for each of ``count`` resets.

    Those without a stamp, or with another number of values than ``dim`` (None: than most), are left out.
    """
    known = [command for command in commands if command[0] is not None]
    lengths = Counter(command.values.shape[1] for _, command, _ in known)
    most = sum(len(command.values) for _, command, _ in known)
    dim = dim or (lengths.most_common(1)[0][0] if lengths else None)
    buffers = [ActionBuffer(dim, mode=mode, capacity=most + 1, name=name) for _ in range(count)]
    for stamp, command, resets in known:
        try:
            buffers[resets].push_all(stamp or 0, command)
        except InputError as error:
            problems.add(name, error)
    return buffers


def missing_topic(bag: Path, spec: StreamSpec) -> None:
    """Raise InputError when a topic of ``spec`` is not in the bag."""
    problems = Report()
    names = {record.topic for record in records(bag, None, problems)}
    for topic in spec.topics:
        if topic not in names:
            raise no_topic(bag, topic, sorted(names), problems)


def read_images(
    bag: Path, spec: StreamSpec, timeline: BagTimeline, *, keep: Callable[[Record], Item], problems: Report
) -> Iterator[tuple[int, DueImage[Item]]]:
    """The second pass: what ``keep`` makes of images that are due, each after how many clock resets, as recorded.

    As in the live node, an image that is due but does not decode is a missed model step.
    """
    clock, resets, source = StepClock(spec.rate_hz), 0, f"{bag} {spec.image_topic}"
    for number, record in images_of(records(bag, (spec.image_topic,), Report()), source=source):
        if record.msgtype not in IMAGE_TYPES:
            raise InputError(
                f"{bag}: {spec.image_topic} is of type {record.msgtype}, expected one of {', '.join(IMAGE_TYPES)}"
                + cure_of(record.msgtype)
            )
        stamp = timeline.image_stamps[number]
        if timeline.image_resets[number] != resets:
            clock.restart()
            resets = timeline.image_resets[number]
        step = None if stamp is None else clock.step_of(stamp)
        if stamp is None or step is None:
            continue
        try:
            kept = keep(record)
        except InputError as error:
            problems.add(source, error)
            continue
        yield resets, DueImage(step, stamp, kept)
