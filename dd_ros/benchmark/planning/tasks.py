# SPDX-License-Identifier: Apache-2.0
"""Starts and goals out of demonstrations: the goal is what the demonstration came to some steps later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.bags import read_episodes
from dd_ros.demo.goals import reached
from dd_ros.demo.simulate import STATE_NAMES, STATE_TOPIC, STATE_TYPE, STREAMS
from dd_ros.demo.table import Vector
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource

UNMOVED = 1.0  # units that the block moves less than, where there is nothing to do
Images = NDArray[np.uint8]
_STATE = ActionSource(
    topic=STATE_TOPIC, type=STATE_TYPE, dim=len(STATE_NAMES) + 2,
    fields=(f"position[0:{len(STATE_NAMES)}]", "velocity[0:2]"),
)  # fmt: skip


@dataclass(frozen=True)
class Demonstration:
    """An episode with its true states.

    Attributes:
        images: uint8 [T, H, W, 3].
        commands: in force at each image, so that the one at ``k + 1`` led from ``k`` to there, [T, 2].
        states: [T, 7], see ``Table``.
    """

    images: Images
    commands: Vector
    states: Vector


@dataclass(frozen=True)
class Task:
    """From here to there.

    Attributes:
        episode, row: of the demonstrations.
        start: state [7].
        goal: state [5].
        images: up to the start, uint8 [C, H, W, 3], the last one showing it.
        commands: in force at them [C, 2].
        goal_image: uint8 [H, W, 3].
        demonstrated: commands that led to the goal [K, 2].
    """

    episode: int
    row: int
    start: Vector
    goal: Vector
    images: Images
    commands: Vector
    goal_image: Images
    demonstrated: Vector


@dataclass(frozen=True)
class Drawn:
    """Tasks for one seed, and what was left out while drawing them.

    Attributes:
        tasks: the tasks.
        unmoved: pairs whose block moves by less than a unit.
        solved: pairs that are solved before anything is done.
    """

    tasks: list[Task]
    unmoved: int
    solved: int


def read_demonstrations(bags: Sequence[Path]) -> list[Demonstration]:
    """The episodes in ``bags`` of ``dd_ros.demo.simulate --state``; InputError if a bag has no states."""
    spec = STREAMS.model_copy(update={"actions": (_STATE, *STREAMS.actions)})
    found = []
    for bag in bags:
        for episode in read_episodes(bag, spec):
            values = np.asarray(episode.actions, dtype=float)
            x, y, block_x, block_y, cos, sin, *velocity = values[:, : len(STATE_NAMES) + 2].T
            states = np.stack([x, y, block_x, block_y, np.arctan2(sin, cos), *velocity], axis=1)
            found.append(Demonstration(np.asarray(episode.frames), values[:, -2:], states))
    return found


def draw(
    demonstrations: Sequence[Demonstration],
    *,
    offset: int,
    count: int,
    context: int,
    rng: np.random.Generator,
) -> Drawn:
    """Draw ``count`` tasks whose goal is ``offset`` steps after the start, no row twice.

    Args:
        demonstrations: where from.
        offset: steps from start to goal.
        count: how many.
        context: images that each task has, the start's included.
        rng: of the drawing.

    Raises:
        InputError: the demonstrations have not as many.
    """
    rows = [
        (episode, row)
        for episode, shown in enumerate(demonstrations)
        for row in range(context - 1, len(shown.states) - offset)
    ]
    tasks: list[Task] = []
    unmoved = solved = 0
    for place in rng.permutation(len(rows)):
        if len(tasks) == count:
            break
        episode, row = rows[place]
        states = demonstrations[episode].states
        start, goal = states[row], states[row + offset, :5]
        if np.linalg.norm(start[2:4] - goal[2:4]) < UNMOVED:
            unmoved += 1
        elif reached(start, goal)[0]:
            solved += 1
        else:
            tasks.append(_task(demonstrations[episode], episode, row, offset, context))
    if len(tasks) < count:
        raise InputError(
            f"demonstrations: expected {count} pairs {offset} steps apart, got {len(tasks)} of {len(rows)} "
            f"({unmoved} unmoved, {solved} solved at the start); give more or longer episodes"
        )
    return Drawn(tasks, unmoved, solved)


def _task(shown: Demonstration, episode: int, row: int, offset: int, context: int) -> Task:
    before, ahead = slice(row - context + 1, row + 1), slice(row + 1, row + offset + 1)
    return Task(
        episode, row, start=shown.states[row], goal=shown.states[row + offset, :5], images=shown.images[before],
        commands=shown.commands[before], goal_image=shown.images[row + offset], demonstrated=shown.commands[ahead],
    )  # fmt: skip
