# SPDX-License-Identifier: Apache-2.0
"""Episodes of LeRobot data sets for training: pictures are decoded when they are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.bags import run_names
from dd_ros.config import StreamSpec
from dd_ros.errors import InputError
from dd_ros.lerobot import LeRobotReader, episode_number, reader_of, time_line
from dd_ros.streams import Episode, model_steps, resize


@dataclass(frozen=True)
class LeRobotEpisode:
    """Consecutive model steps of a recorded episode; a TrainingEpisode.

    Attributes:
        reader: of the data set.
        number: of the recorded episode.
        spec: camera, actions, rate and image size.
        name: where it comes from.
        stamps: int64 [T], ns from the start of the recorded episode.
        actions: float32 [T, A].
        pictures: int64 [T], the recorded frame that each model step shows.
    """

    reader: LeRobotReader
    number: int
    spec: StreamSpec
    name: str
    stamps: NDArray[np.int64]
    actions: NDArray[np.float32]
    pictures: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stamps)

    def part(self, start: int, stop: int) -> LeRobotEpisode:
        """The model steps from ``start`` up to ``stop`` as an episode of their own."""
        rows, name = slice(start, stop), f"{self.name}[{start}:{stop}]"
        arrays = (self.stamps[rows], self.actions[rows], self.pictures[rows])
        return LeRobotEpisode(self.reader, self.number, self.spec, name, *arrays)

    def clip(self, start: int, stop: int) -> Episode:
        """The model steps from ``start`` up to ``stop``, decoded now."""
        return Episode(self.frames(start, stop), self.actions[start:stop], self.stamps[start:stop], self.name)

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8 RGB [stop - start, H, W, 3]; a frame that does not decode repeats its neighbour.

        Raises:
            InputError: none of them can be read.
        """
        wanted = self.pictures[start:stop].tolist()
        problems: list[str] = []
        found = {
            number: resize(rgb, self.spec.width, self.spec.height)
            for number, rgb in self.reader.pictures(self.number, sorted(set(wanted)), problems)
        }
        last = next((found[number] for number in wanted if number in found), None)
        if last is None:
            raise InputError(problems[0])
        frames = []
        for number in wanted:
            last = found.get(number, last)
            frames.append(last)
        return np.stack(frames)


def lerobot_episodes(bag: Path, spec: StreamSpec, problems: list[str]) -> list[LeRobotEpisode]:
    """The episodes that ``bag``, as ``lerobot.episode_paths`` names it, holds; none if it cannot be used."""
    reader, number = reader_of(bag.parent, spec), episode_number(bag)
    try:
        stamps, commands = time_line(reader, number, spec, problems)
    except InputError as error:
        problems.append(f"left out: {error}")
        return []
    images = zip(stamps.tolist(), range(len(stamps)), strict=True)
    runs = model_steps(images, commands, spec.rate_hz)
    return [
        LeRobotEpisode(
            reader, number, spec, name,
            np.array([step.stamp for step in run], np.int64),
            np.stack([step.action for step in run]),
            np.array([step.picture for step in run], np.int64),
        )
        for run, name in zip(runs, run_names(bag, len(runs)), strict=True)
    ]  # fmt: skip
