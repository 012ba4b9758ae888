# SPDX-License-Identifier: Apache-2.0
"""Who plans: the rows of the benchmark. Each gets a ``View`` and answers with commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dd_ros.demo.camera import Camera
from dd_ros.demo.goals import BLURS, Cost, block_cost, pixel_cost, pose_cost, search
from dd_ros.demo.pusht import IMAGE_SIZE
from dd_ros.demo.table import Table, Vector, targets
from dd_ros.planning.solvers import Settings, Solution, shifted

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Search:
    """What all rows that search have in common: equal samples.

    Attributes:
        settings: of the solver.
        horizon: steps that are planned.
        executed: steps of a plan that are run before the next one is made.
    """

    settings: Settings
    horizon: int = 25
    executed: int = 25


@dataclass(frozen=True)
class View:
    """What a planner is told.

    Attributes:
        images: the last frames up to now, uint8 [C, H, W, 3].
        commands: in force at them, absolute, [C, 2].
        pusher: its own place and velocity, which a robot knows: x, y (units), u, v (units per second).
        goal_image: uint8 [H, W, 3].
        goal: the goal as a state: pusher x, y, block x, y, angle [5].
        budget: steps left.
        executed: at most so many steps of the answer are run before the next question.
        truth: the true state [7], for rows that say that they know it.
        demonstrated: commands that led to the goal from the start, for the row that repeats them [K, 2].
        begun: steps since the start.
    """

    images: Images
    commands: Vector
    pusher: Vector
    goal_image: Images
    goal: Vector
    budget: int
    executed: int
    truth: Vector
    demonstrated: Vector
    begun: int


class Row(Protocol):
    """A planner in the benchmark."""

    name: str

    def begin(self, rng: np.random.Generator) -> None:
        """A new task: forget the last one; all chance comes from ``rng``."""

    def plan(self, view: View) -> Vector:
        """Where the pusher shall go, [1 or more, 2]; each at most REACH from it along either axis when it acts."""


class NoOp:
    """Stays where it is."""

    name = "no-op"

    def begin(self, rng: np.random.Generator) -> None:
        """Nothing to forget."""

    def plan(self, view: View) -> Vector:
        """The pusher's own place, step by step."""
        return targets(view.pusher, np.zeros((view.executed, 2)))


class Random:
    """Uniformly random relative actions."""

    name = "random"

    def begin(self, rng: np.random.Generator) -> None:
        """Take the source of chance."""
        self._rng = rng

    def plan(self, view: View) -> Vector:
        """Anything."""
        return targets(view.pusher, self._rng.uniform(-1.0, 1.0, (view.executed, 2)))


class Demonstrated:
    """Repeats the demonstration: the most that can be had, and whether the states in it are whole."""

    name = "demonstration"

    def begin(self, rng: np.random.Generator) -> None:
        """Nothing to forget."""

    def plan(self, view: View) -> Vector:
        """What was done then, and after that nothing."""
        left = view.demonstrated[view.begun :]
        return left if len(left) else view.demonstrated[-1:]


class Oracle:
    """Searches on the true simulator: what the solver and the cost can do at best.

    Args:
        name: of the row.
        cost: of a plan's end, made from what is told of the goal.
        search: how it searches.
    """

    def __init__(self, name: str, cost: Callable[[View], Cost], search: Search):
        self.name = name
        self._cost, self._search = cost, search
        self._table = Table()

    def begin(self, rng: np.random.Generator) -> None:
        """A new search."""
        self._rng = rng
        self._last: Solution | None = None

    def plan(self, view: View) -> Vector:
        """The best commands found [horizon, 2]."""
        mean = None if self._last is None else shifted(self._last.actions, self._search.executed)
        self._last = search(
            table=self._table, state=view.truth, cost=self._cost(view), horizon=self._search.horizon,
            settings=self._search.settings, rng=self._rng, mean=mean,
        )  # fmt: skip
        return targets(view.pusher, self._last.actions)


def rows(names: tuple[str, ...], search: Search) -> list[Row]:
    """The rows by their ``names``, of ROWS."""
    return [ROWS[name](search) for name in names]


def _pixels(blurs: tuple[float, ...]) -> Callable[[View], Cost]:
    camera = Camera(IMAGE_SIZE)
    return lambda view: pixel_cost(view.goal_image, camera, blurs)


ROWS: dict[str, Callable[[Search], Row]] = {
    "no-op": lambda search: NoOp(),
    "random": lambda search: Random(),
    "demonstration": lambda search: Demonstrated(),
    "oracle": lambda search: Oracle("oracle", lambda view: pose_cost(view.goal), search),
    "oracle-block": lambda search: Oracle("oracle-block", lambda view: block_cost(view.goal), search),
    "oracle-pixels": lambda search: Oracle("oracle-pixels", _pixels(()), search),
    "oracle-blurred": lambda search: Oracle("oracle-blurred", _pixels(BLURS), search),
}
