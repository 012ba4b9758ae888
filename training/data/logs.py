# SPDX-License-Identifier: Apache-2.0
"""The logs of a training run: of one robot, or of several whose action vectors lie side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import ActionSpec
from dd_ros.data.split import SplitRule, split
from dd_ros.data.steps import Episode
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import StreamSpec
from dd_ros_training.data.clips import fit_actions
from dd_ros_training.data.index import TrainingEpisode, index_bags, split_validation


@dataclass(frozen=True)
class Logs:
    """Episodes to train on and others held back.

    Attributes:
        training, validation: the episodes.
        action: dimension and normalisation of their actions, over ``training``.
        training_bags, validation_bags: where they come from; no bag is held back where there is one alone.
        minutes: of ``training``.
    """

    training: list[TrainingEpisode]
    validation: list[TrainingEpisode]
    action: ActionSpec
    training_bags: list[Path]
    validation_bags: list[Path]
    minutes: float

    @property
    def training_said(self) -> str:
        """How much there is to train on, in words."""
        steps = sum(map(len, self.training))
        return f"{len(self.training_bags)} bags, {steps} model steps, {self.minutes:.1f} minutes"

    @property
    def validation_said(self) -> str:
        """What is held back, in words."""
        if self.validation_bags:
            return f"{len(self.validation_bags)} bags"
        return f"the last {sum(map(len, self.validation))} model steps"


def read_logs(
    bags: Sequence[Path],
    streams: StreamSpec,
    *,
    rule: SplitRule,
    cache: Path,
    clip_frames: int,
    names: tuple[str, ...] = (),
    problems: Report,
) -> Logs:
    """Logs of one robot; where no bag is held back that is as long as a clip, the end of the recording is.

    Args:
        bags: for training and validation; ``rule`` tells them apart.
        streams: what to use of them.
        cache: folder for their index.
        clip_frames: frames of a clip.
        names: of the action values, for people.
        problems: takes everything that could not be used.

    Raises:
        InputError: the bags cannot be split so, or hold nothing that can be used.
    """
    chosen, held_back = split(bags, rule)
    training, validation = (
        index_bags(part, streams, cache, problems=problems) for part in (chosen, held_back)
    )
    if not any(len(episode) >= clip_frames for episode in validation):
        training, validation = split_validation(training, clip_frames)
    minutes = sum(map(len, training)) / streams.rate_hz / 60.0
    return Logs(training, validation, fit_actions(training, names), chosen, held_back, minutes)


@dataclass(frozen=True)
class OneOfSeveral:
    """An episode of one robot among others whose actions lie beside its own; a TrainingEpisode.

    Attributes:
        episode: the robot's own.
        robot: which it is.
        first: where in the action vector its own values begin.
        others: float32 [A], the mean action of each robot: what stands in the places of the others.
    """

    episode: TrainingEpisode
    robot: str
    first: int
    others: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.episode)

    @property
    def name(self) -> str:
        return f"{self.robot}/{self.episode.name}"

    @property
    def actions(self) -> NDArray[np.float32]:
        return self._beside(self.episode.actions)

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8 RGB [stop - start, H, W, 3]."""
        return self.episode.frames(start, stop)

    def clip(self, start: int, stop: int) -> Episode:
        """The model steps ``start`` to ``stop``, decoded now."""
        clip = self.episode.clip(start, stop)
        return replace(clip, actions=self._beside(clip.actions), name=self.name)

    def part(self, start: int, stop: int) -> OneOfSeveral:
        """The model steps ``start`` to ``stop`` as an episode of their own."""
        return replace(self, episode=self.episode.part(start, stop))

    def _beside(self, own: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.tile(self.others, (len(own), 1))
        rows[:, self.first : self.first + own.shape[1]] = own
        return rows


def slots(robots: Mapping[str, StreamSpec]) -> dict[str, range]:
    """Which values of the common action vector each robot's are."""
    found, first = dict[str, range](), 0
    for name, streams in robots.items():
        count = sum(source.dim or 0 for source in streams.actions)
        found[name] = range(first, first + count)
        first += count
    return found


def side_by_side(logs: Mapping[str, Logs], robots: Mapping[str, StreamSpec], *, spare: int = 0) -> Logs:
    """The logs of several robots as one: each robot's actions in their own place, its mean in those of the others.

    Normalised, the places of the others hold zeros.

    Args:
        logs: of those of the ``robots`` that take part.
        robots: all that have a place in the action vector.
        spare: values at the end of the action vector that no robot has, with mean 0 and deviation 1.

    Raises:
        InputError: a robot's bags hold another number of action values than its streams.
    """
    places = slots(robots)
    dim = sum(map(len, places.values())) + spare
    mean, std = np.zeros(dim), np.ones(dim)
    for name, part in logs.items():
        if part.action.dim != len(places[name]):
            raise InputError(f"{name}: expected {len(places[name])} action values, got {part.action.dim}")
        mean[places[name].start : places[name].stop] = part.action.mean
        std[places[name].start : places[name].stop] = part.action.std
    others = mean.astype(np.float32)

    def placed(name: str, episodes: Sequence[TrainingEpisode]) -> list[TrainingEpisode]:
        return [OneOfSeveral(episode, name, places[name].start, others) for episode in episodes]

    parts = list(logs.items())
    return Logs(
        training=[episode for name, part in parts for episode in placed(name, part.training)],
        validation=[episode for name, part in parts for episode in placed(name, part.validation)],
        action=ActionSpec(dim=dim, mean=tuple(mean.tolist()), std=tuple(std.tolist())),
        training_bags=[bag for _, part in parts for bag in part.training_bags],
        validation_bags=[bag for _, part in parts for bag in part.validation_bags],
        minutes=sum(part.minutes for _, part in parts),
    )
