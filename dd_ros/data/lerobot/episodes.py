# SPDX-License-Identifier: Apache-2.0
"""Episodes that the rules of ``data.steps`` make of a LeRobot data set.

Stamps are the data set's own ``timestamp`` column, in nanoseconds from the start of the episode.
LeRobot records an image, and with it the command that the robot was sent next. So a command is in
force just after its row's stamp, as if it had come over a topic, and the first image has none yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.actions import fields_for
from dd_ros.data.commands import ActionBuffer, JoinedActions
from dd_ros.data.lerobot.meta import LeRobotSet, episode_number
from dd_ros.data.lerobot.reader import LeRobotReader
from dd_ros.data.steps import (
    DueImage,
    Episode,
    StepClock,
    due_images,
    episode_of,
    model_steps,
    part_name,
)
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import LEROBOT, ActionSource, StreamSpec

# A command is in force so long after the stamp of the image it was recorded with: more than stamps, of 32 bits in seconds,
# are rounded by, so that a lag of whole steps means the same row for each image.
SENT_NS = 1_000_000


def reader_of(data: LeRobotSet, spec: StreamSpec) -> LeRobotReader:
    """The reader of what ``spec`` names; InputError lists what there is."""
    return LeRobotReader(data, spec.image_topic, [key for source in spec.actions for key in keys_of(source)])


@lru_cache(maxsize=2)  # the episodes of a set are asked for one after the other
def reader_at(path: Path, spec: StreamSpec) -> LeRobotReader:
    """As ``reader_of``, of the data set at ``path``."""
    return reader_of(LeRobotSet(path), spec)


def read_bag(bag: Path, spec: StreamSpec, problems: Report) -> list[Episode]:
    """The episode that ``bag`` names in place of a bag; InputError if it holds no usable step."""
    reader = reader_at(bag.parent, spec)
    problems.update(reader.data.problems)
    known = len(problems)
    found = read_episode(reader, episode_number(bag), spec, problems=problems)
    if not found:
        why = (
            problems.lines(known) or problems.lines()
        )  # it may have been said of another episode in the file
        raise InputError(f"{bag}: no usable step" + "".join(f"; {line}" for line in why[-1:]))
    return found


def index_bag(bag: Path, spec: StreamSpec, problems: Report) -> list[LeRobotEpisode]:
    """As ``read_bag``, without images; an episode that cannot be used is named and left out."""
    reader = reader_at(bag.parent, spec)
    problems.update(reader.data.problems)
    return index_episode(reader, episode_number(bag), spec, problems=problems)


def keys_of(source: ActionSource) -> list[str]:
    """The features that a source of actions means: ``action[0:7]``, or all of ``observation.state,effort``.

    Fields of a ROS message, which a checkpoint trained on bags has, mean nothing in a data set.
    """
    fields = fields_for(LEROBOT, source.type, source.fields)
    return [f"{source.topic}.{field}" for field in fields] or [source.topic]


def read_episode(reader: LeRobotReader, number: int, spec: StreamSpec, *, problems: Report) -> list[Episode]:
    """One recorded episode at the model's rate and size: none if unusable, several if it has gaps.

    It is called ``SET/episode_000004``, its second part ``SET/episode_000004#1``. An image that cannot be
    read is a missed model step.
    """
    found = times_and_commands(reader, number, spec, problems=problems)
    if found is None:
        return []
    stamps, commands = found
    due = {frame.image: frame for frame in due_frames(stamps, spec)}
    wanted = [n for n, stamp in enumerate(stamps) if n in due and commands.at(stamp) is not None]
    decoded = reader.images(number, wanted, problems, size=(spec.width, spec.height))
    images = (due[n]._replace(image=rgb) for n, rgb in decoded)
    runs, name = model_steps(images, commands, spec.rate_hz), name_of(reader, number)
    return [episode_of(run, part_name(name, index)) for index, run in enumerate(runs)]


def due_frames(stamps: Sequence[int], spec: StreamSpec) -> Iterator[DueImage[Any]]:
    """The numbers of the frames that become model steps, each with its step and stamp."""
    return due_images(((stamp, n) for n, stamp in enumerate(stamps)), StepClock(spec.rate_hz))


@dataclass(frozen=True)
class LeRobotEpisode:
    """Consecutive model steps of a recorded episode, whose images are decoded when they are asked for.

    Attributes:
        reader, number: the recorded episode.
        name: where it comes from, as in ``read_episode``.
        size: width and height of its images.
        numbers: int64 [T], the recorded frame of each step; one is there twice where it bridges a missed step.
        stamps: int64 [T], nanoseconds.
        actions: float32 [T, A], the command in force at each step.
    """

    reader: LeRobotReader
    number: int
    name: str
    size: tuple[int, int]
    numbers: NDArray[np.int64]
    stamps: NDArray[np.int64]
    actions: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> LeRobotEpisode:
        """The model steps ``start`` to ``stop`` as an episode of their own."""
        part, name = slice(start, stop), f"{self.name}[{start}:{stop}]"
        return replace(
            self, name=name, numbers=self.numbers[part], stamps=self.stamps[part], actions=self.actions[part]
        )

    def clip(self, start: int, stop: int) -> Episode:
        """The model steps ``start`` to ``stop``, decoded now."""
        part = slice(start, stop)
        return Episode(self.frames(start, stop), self.actions[part], self.stamps[part], self.name)

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8 RGB [stop - start, H, W, 3], decoded now; InputError if one of them cannot be read."""
        wanted, problems = self.numbers[start:stop].tolist(), Report()
        images = self.reader.images(self.number, list(dict.fromkeys(wanted)), problems, size=self.size)
        found = dict(images)
        if problems:
            raise InputError(problems.lines()[0])
        return np.stack([found[number] for number in wanted])


def index_episode(
    reader: LeRobotReader, number: int, spec: StreamSpec, *, problems: Report
) -> list[LeRobotEpisode]:
    """One recorded episode as ``read_episode`` has it, without its images.

    Of those only the first and the last are tried: an episode that lacks one is named and left out.
    """
    found = times_and_commands(reader, number, spec, problems=problems)
    if found is None:
        return []
    stamps, commands = found
    runs = model_steps(due_frames(stamps, spec), commands, spec.rate_hz)
    ends = sorted({step.image for run in runs for step in (run[0], run[-1])})
    if len(list(reader.images(number, ends[:1] + ends[1:][-1:], problems))) < min(len(ends), 2):
        return []
    name, size = name_of(reader, number), (spec.width, spec.height)
    episodes = []
    for index, run in enumerate(runs):
        times, numbers, actions = (np.array(column) for column in zip(*run, strict=True))
        episodes.append(
            LeRobotEpisode(
                reader=reader, number=number, name=part_name(name, index), size=size,
                numbers=numbers, stamps=times, actions=actions,
            )
        )  # fmt: skip
    return episodes


def times_and_commands(
    reader: LeRobotReader, number: int, spec: StreamSpec, *, problems: Report
) -> tuple[list[int], JoinedActions] | None:
    """Stamps (ns) of an episode's frames, and its commands; None if they cannot be read."""
    try:
        stamps, actions = reader.stamps(number), reader.actions(number)
    except InputError as error:
        problems.add(reader.data.episodes[number].data, error)
        return None
    name = name_of(reader, number)
    usable = np.flatnonzero(np.isfinite(actions).all(axis=1))
    if lost := len(actions) - len(usable):
        text = f"{lost} of {len(actions)} actions hold NaN or infinity"
        problems.add(f"{reader.path}/episode_{number:06d}", text, "left out")
    commands = ActionBuffer(reader.dim, mode=spec.action_mode, capacity=len(actions), name=name)
    for stamp, values in zip(stamps[usable], actions[usable], strict=True):
        commands.push(int(stamp) + SENT_NS, values)
    return stamps.tolist(), JoinedActions([commands], lag_ns=spec.action_lag_ns, measured=spec.measured)


def name_of(reader: LeRobotReader, number: int) -> str:
    return f"{reader.path.name}/episode_{number:06d}"
