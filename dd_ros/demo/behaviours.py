# SPDX-License-Identifier: Apache-2.0
"""Who pushes: the robot's script, hard pushes, a weak policy, an expert, and noisy replays of it.

Each has a ``world``, makes one ``step`` at a time and returns its command, and says when it is ``over``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from dd_ros.demo.goals import pose_cost, reached, search
from dd_ros.demo.pusht import BESIDE, CENTRE, MARGIN, OUTLINE, HardPusher, Robot, World, to_world
from dd_ros.demo.table import REACH, REST, WORLD, Table, Vector, pusher_of, targets
from dd_ros.planning.solvers import Settings

REPLAYS = 3  # noisy ones of each episode of the expert
ELSEWHERE = 0.2  # of the expert's goals are just another place beside the block
GOALS_TRIED = 12
MOVED = 15.0  # units that the block has to move for a goal
FAR = 100.0  # units from the block's centre, which the weak policy keeps within


class Player(Protocol):
    """Somebody at a table."""

    @property
    def world(self) -> World:
        """The table."""

    @property
    def over(self) -> bool:
        """Whether nothing more can come of it."""

    def step(self) -> Vector:
        """Let the next command act for one step, and return it [2]."""


class Weak:
    """Uniformly random actions relative to the pusher, of those that keep it close to the block.

    Args:
        seed: decides everything that happens.
    """

    def __init__(self, seed: int):
        self.world = World(seed)
        self._rng = np.random.default_rng([seed, 2])

    @property
    def over(self) -> bool:
        """As soon as the block is lost: nothing brings it back."""
        return self.world.lost

    def step(self) -> Vector:
        """Let the next command act for one step, and return it [2]."""
        pusher, centre = self.world.pusher, to_world(CENTRE, self.world.block)
        tried = pusher + REACH * self._rng.uniform(-1.0, 1.0, (64, 2))
        close = np.linalg.norm(tried - centre, axis=1) < FAR
        on_table = (np.clip(tried, MARGIN, WORLD - MARGIN) == tried).all(axis=1)
        good = tried[close & on_table]
        way = centre - pusher
        command = (
            good[0] if len(good) else pusher + way * min(1.0, REACH / max(float(np.linalg.norm(way)), 1e-9))
        )
        self.world.step(command)
        return command


class Expert:
    """Brings pusher and block to one goal after another, planning on a simulator of its own.

    Goals are what a hard push could do within the horizon, now and then just another place beside the block.

    Args:
        seed: decides everything that happens.
    """

    SETTINGS = Settings(samples=64, iterations=8, elites=8, repeat=5)
    HORIZON = 25  # steps, all of them run: whoever plans anew on the way puts the arrival off each time
    PLANS = 2  # for a goal, before it is given up

    def __init__(self, seed: int):
        self.seed = seed
        self.world = World(seed)
        self.commands: list[Vector] = []
        self._rng = np.random.default_rng([seed, 3])
        self._table = Table()
        self._ahead: list[Vector] = []
        self._plans = 0
        self.goal = self._choose_goal()

    @property
    def over(self) -> bool:
        """As soon as the block is lost: nothing brings it back."""
        return self.world.lost

    def step(self) -> Vector:
        """Let the next command act for one step, and return it [2]."""
        if reached(self.world.state, self.goal)[0] or (not self._ahead and self._plans == self.PLANS):
            self.goal = self._choose_goal()
            self._ahead, self._plans = [], 0
        if not self._ahead:
            self._plan()
        command = self._ahead.pop(0)
        self.world.step(command)
        self.commands.append(command)
        return command

    def _plan(self) -> None:
        state = self.world.state
        found = search(
            table=self._table, state=state, cost=pose_cost(self.goal), horizon=self.HORIZON,
            settings=self.SETTINGS, rng=self._rng,
        )  # fmt: skip
        self._ahead = list(targets(pusher_of(state), found.actions))
        self._plans += 1

    def _choose_goal(self) -> Vector:
        if self._rng.random() > ELSEWHERE:
            for _ in range(GOALS_TRIED):
                end = self._pushed()
                corners = to_world(OUTLINE, end[2:5])
                moved = np.linalg.norm(end[2:4] - self.world.block[:2]) > MOVED
                if moved and corners.min() > MARGIN and corners.max() < WORLD - MARGIN:
                    return end[:5]
        return np.concatenate([self._beside(), self.world.block])

    def _pushed(self) -> Vector:
        """Where a push with sudden turns leads to."""
        self._table.place(self.world.state)
        target, velocity = self.world.pusher, REST
        for step in range(self.HORIZON):
            if step % 8 == 0:
                way = to_world(CENTRE, self._table.state[2:5]) - self._table.state[:2]
                angle = np.arctan2(way[1], way[0]) + self._rng.normal(0.0, 0.6)
                velocity = self._rng.uniform(6, 18) * np.array([np.cos(angle), np.sin(angle)])
            target = np.clip(target + velocity, MARGIN, WORLD - MARGIN)
            self._table.step(target)
        return self._table.state

    def _beside(self) -> Vector:
        """A place beside the block."""
        centre = to_world(CENTRE, self.world.block)
        while True:
            angle = self._rng.uniform(-np.pi, np.pi)
            place = centre + self._rng.uniform(BESIDE, BESIDE + 20) * np.array([np.cos(angle), np.sin(angle)])
            if (np.clip(place, MARGIN, WORLD - MARGIN) == place).all():
                return place


class Replay:
    """An expert's commands once more, with noise that comes and goes.

    Args:
        expert: whose, after its episode.
        number: of the replay; decides the noise.
    """

    def __init__(self, expert: Expert, number: int):
        self.world = World(expert.seed)
        self._left = list(expert.commands)
        self._rng = np.random.default_rng([expert.seed, 4, number])
        self._noise: Vector = np.zeros(2)
        self._strength = self._rng.uniform(3.0, 15.0)  # units

    @property
    def over(self) -> bool:
        """At the end of the commands, or as soon as the block is lost."""
        return not self._left or self.world.lost

    def step(self) -> Vector:
        """Let the next command act for one step, and return it [2]."""
        self._noise = 0.8 * self._noise + 0.6 * self._rng.normal(0.0, self._strength, 2)
        command = np.clip(self._left.pop(0) + self._noise, 0.0, WORLD)
        self.world.step(command)
        return command


def each_seed(player: Callable[[int], Player], seed: int) -> Iterator[Player]:
    """One player for each seed."""
    while True:
        yield player(seed)
        seed += 1


def experts(seed: int) -> Iterator[Player]:
    """The expert, seed after seed, each followed by noisy replays of what it did."""
    while True:
        expert = Expert(seed)
        yield expert
        for number in range(REPLAYS):
            yield Replay(expert, number)
        seed += 1


def mixed(seed: int) -> Iterator[Player]:
    """All of them by turns; as many with the expert's commands as others."""
    others = [each_seed(player, seed) for player in (Robot, HardPusher, Weak)]
    pushed = experts(seed)
    while True:
        for kind in others:
            yield next(pushed)
            yield next(kind)


# Players without end, by the seed of the first.
BEHAVIOURS: dict[str, Callable[[int], Iterator[Player]]] = {
    "robot": partial(each_seed, Robot),
    "hard-pushes": partial(each_seed, HardPusher),
    "weak": partial(each_seed, Weak),
    "expert": experts,
    "mixed": mixed,
}
