# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings -> episodes. Needs no ROS installation; reads what a cut-off bag still holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import ActionSource, StreamSpec
from dd_ros.data.actions import action_values, fields_for, stamp_ns
from dd_ros.data.clocks import choose_stamps, segments
from dd_ros.data.commands import ActionBuffer, JoinedActions
from dd_ros.data.images import IMAGE_TYPES, decode_rgb, image_size
from dd_ros.data.lerobot import episode_paths, is_lerobot, read_bag, set_of
from dd_ros.data.rosbag import Record, folder_of, records, storage_files
from dd_ros.data.steps import (
    DueImage,
    Episode,
    Step,
    StepClock,
    episode_of,
    model_steps,
    part_name,
)
from dd_ros.errors import InputError

Item = TypeVar("Item")


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Bags among ``paths``, sorted: each is a bag (folder or file), a folder of bags, or a LeRobot data set.

    Each episode of a data set counts as a bag, see ``lerobot.episode_paths``.

    Raises:
        InputError: a path does not exist or holds no bag.
    """
    bags: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected a rosbag2 bag or a folder of bags")
        if is_lerobot(path):
            found = episode_paths(path)
        else:
            found = [path] if is_bag(path) else sorted(child for child in folder_of(path) if is_bag(child))
        if not found:
            raise InputError(
                f"{path}: holds no rosbag2 bag (a folder with .mcap or .db3 files) and is no LeRobot data set"
            )
        bags += found
    return list(dict.fromkeys(bags))


def is_bag(path: Path) -> bool:
    return bool(storage_files(path)) and (
        path.is_file() or not any(is_bag(p) for p in folder_of(path) if p.is_dir())
    )


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
    actions: list[JoinedActions]


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
    if set_of(bag):
        return read_bag(bag, spec, problems)
    size: list[str] = []

    def picture(record: Record) -> NDArray[np.uint8]:
        rgb = decode_rgb(record.msg, spec.width, spec.height)
        note_size(bag, spec, image_size(record.msg), size, problems)
        return rgb

    runs = read_runs(bag, spec, picture, problems)
    return [episode_of(run, part_name(bag.stem, index)) for index, run in enumerate(runs)]


def read_runs(
    bag: Path, spec: StreamSpec, picture: Callable[[Record], Item], problems: list[str]
) -> list[list[Step[Item]]]:
    """The model steps of a bag, an inner list for each episode; what is kept of a picture is the caller's choice.

    Args:
        picture: what to keep of the message with an image that is due; InputError if it is of no use.
        problems: takes one line for everything that could not be used.

    Raises:
        InputError: the bag lacks a topic (the message lists those it has) or holds no usable step.
    """
    recording = read_actions(bag, spec, problems)
    runs: list[list[Step[Item]]] = []
    images = read_images(bag, spec, recording, picture, problems)
    for segment, part in groupby(images, key=lambda image: image[0]):
        due = (image for _, image in part)
        runs += model_steps(due, recording.actions[segment], spec.rate_hz)
    if not runs:
        raise InputError(
            f"{bag}: no usable images of {spec.image_topic} at or after the first action of "
            + ", ".join(spec.action_topics)
            + "".join(f"; {problem}" for problem in problems[:1])
        )
    return runs


def note_size(
    bag: Path, spec: StreamSpec, size: tuple[int, int], last: list[str], problems: list[str]
) -> None:
    """Say in ``problems`` where images change their size; ``last`` holds the one before, if any."""
    text = f"{size[0]}x{size[1]}"
    if last and last[0] != text:
        problems.append(
            f"{bag} {spec.image_topic}: expected images of {last[0]} pixels as before, got {text}; "
            "all are stretched to the model's size"
        )
    last[:] = [text]


def read_actions(bag: Path, spec: StreamSpec, problems: list[str]) -> Recording:
    """The first pass: all actions of a bag, and the time line of its images.

    Actions that cannot be used are left out and named in ``problems``.

    Raises:
        InputError: a topic is missing, or one gives no action that can be used.
    """
    if spec.image_topic in spec.action_topics:
        raise InputError(
            f"{bag}: {spec.image_topic}: expected two topics, got one for both images and actions"
        )
    sources = {source.topic: source for source in spec.actions}
    order: list[str] = []  # the topic of each message
    times: dict[str, list[tuple[int | None, int]]] = {topic: [] for topic in spec.topics}
    values: dict[str, list[NDArray[np.float64]]] = {topic: [] for topic in sources}
    odd: dict[str, list[str]] = {topic: [] for topic in sources}
    for record in records(bag, spec.topics, problems):
        source = sources.get(record.topic)
        try:
            if source is not None:
                values[record.topic].append(values_of(record, source))
            header = stamp_ns(record.msg)
        except InputError as error:
            if source is not None:
                odd[record.topic].append(f"{bag} {record.topic}: {error}")
                continue
            header = None  # the second pass names it
        order.append(record.topic)
        times[record.topic].append((header, record.received_ns))
    for topic, found in times.items():
        if not found:
            missing_topic(bag, spec)
            raise InputError(odd[topic][0])
    problems += [line for lines in odd.values() for line in lines]
    mismatches: list[str] = []
    stamps = choose_stamps(times, mismatches)
    problems += [f"{bag}: {mismatch}" for mismatch in mismatches]
    return arrange(bag, spec, order, stamps, values, problems)


def values_of(record: Record, source: ActionSource) -> NDArray[np.float64]:
    """The values of an action message; InputError where it has none."""
    fields = fields_for(record.msgtype, source.type, source.fields)
    return action_values(record.msg, record.msgtype, fields)


def arrange(
    bag: Path, spec: StreamSpec, order: Sequence[str], stamps: Mapping[str, Sequence[int | None]],
    values: Mapping[str, Sequence[NDArray[np.float64]]], problems: list[str],
) -> Recording:  # fmt: skip
    """Sort images and actions, whose topics came in ``order``, into the times between clock resets."""
    lines = {topic: iter(found) for topic, found in stamps.items()}
    merged = [(topic, next(lines[topic])) for topic in order]
    numbers = iter(segments([(topic, stamp) for topic, stamp in merged if stamp is not None]))
    found: dict[str, list[int]] = {topic: [] for topic in spec.topics}
    for topic, stamp in merged:
        found[topic].append(0 if stamp is None else next(numbers))
    count = max(map(max, found.values())) + 1
    parts = [
        action_buffers(bag, spec, source, zip(stamps[source.topic], values[source.topic], found[source.topic],
                                              strict=True), count, problems)
        for source in spec.actions
    ]  # fmt: skip
    actions = [JoinedActions(part) for part in zip(*parts, strict=True)]
    return Recording(list(stamps[spec.image_topic]), found[spec.image_topic], actions)


def action_buffers(
    bag: Path, spec: StreamSpec, source: ActionSource,
    commands: Iterable[tuple[int | None, NDArray[np.float64], int]], count: int, problems: list[str],
) -> list[ActionBuffer]:  # fmt: skip
    """Commands (stamp, values, segment) of one topic, by segment.

    Those without a stamp, or of another dimension than the source's (else than most), are left out.
    """
    known = [command for command in commands if command[0] is not None]
    lengths = Counter(len(value) for _, value, _ in known)
    dim = source.dim or (lengths.most_common(1)[0][0] if lengths else None)
    name = f"{bag} {source.topic}"
    buffers = [ActionBuffer(dim, spec.action_mode, len(known) + 1, name) for _ in range(count)]
    for stamp, value, segment in known:
        try:
            buffers[segment].push(stamp or 0, value)
        except InputError as error:
            problems.append(str(error))
    return buffers


def missing_topic(bag: Path, spec: StreamSpec) -> None:
    """Raise InputError when a topic of ``spec`` is not in the bag."""
    problems: list[str] = []
    names = {record.topic for record in records(bag, None, problems)}
    for topic in spec.topics:
        if topic not in names:
            there = ", ".join(sorted(names)) or "no messages at all"
            problem = f" ({problems[0]})" if problems else ""
            raise InputError(f"{bag}: no messages of topic {topic}; it holds {there}{problem}")


def read_images(
    bag: Path,
    spec: StreamSpec,
    recording: Recording,
    picture: Callable[[Record], Item],
    problems: list[str],
) -> Iterator[tuple[int, DueImage[Item]]]:
    """The second pass: what ``picture`` makes of images that are due, each with its segment, in recorded order.

    As in the live node, an image that is due but does not decode is a missed model step.
    """
    clock, last_segment = StepClock(spec.rate_hz), 0
    for number, record in enumerate(records(bag, (spec.image_topic,), [])):
        if record.msgtype not in IMAGE_TYPES:
            raise InputError(
                f"{bag}: {spec.image_topic} is of type {record.msgtype}, expected one of {', '.join(IMAGE_TYPES)}"
            )
        stamp, segment = recording.image_stamps[number], recording.image_segments[number]
        if segment != last_segment:
            clock.restart()
            last_segment = segment
        step = None if stamp is None else clock.step_of(stamp)
        if stamp is None or step is None:
            continue
        try:
            kept = picture(record)
        except InputError as error:
            problems.append(f"{bag} {spec.image_topic}: {error}")
            continue
        yield segment, DueImage(step, stamp, kept)
