# SPDX-License-Identifier: Apache-2.0
"""PushT as a small robot: a camera, a round pusher and a T-shaped block. No ROS here.

Positions are PushT's own units, 0 to 512 to the right and down; one model step is 0.1 s. Step ``k``:
the image shows the state at time t_k; then command ``k`` (where the pusher shall go) acts until
t_(k+1). The commands are chosen ``look_ahead`` steps early on a twin of the world that runs ahead,
so that the robot knows its next commands, as a planner's robot would.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from dd_ros.demo.camera import Camera
from dd_ros.demo.table import PUSHER_RADIUS, WORLD, Table, Vector

RATE_HZ = 10.0
IMAGE_SIZE = 96
# The pusher's centre (radius 15) stays this far from the walls.
MARGIN = 28.0
BESIDE = 93.0  # units from the block's centre, at which the pusher touches it at no angle
# Outline of the T in its own frame; gym-pusht builds it so.
OUTLINE = np.array(
    [[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], dtype=float
)
CENTRE = np.array([0.0, 45.0])


def to_world(points: Vector, pose: Vector) -> Vector:
    """Points [..., 2] in the block's frame -> world, for the block's pose (x, y, angle in rad)."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return points @ np.array([[cos, sin], [-sin, cos]]) + pose[:2]


class World:
    """The physics and the camera of one PushT table.

    Args:
        seed: start position of pusher and block.
    """

    def __init__(self, seed: int):
        self._table = Table(seed)
        self._camera = Camera(IMAGE_SIZE)
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Put pusher and block to a place given by ``seed``, apart from each other and the walls."""
        rng = np.random.default_rng(seed)
        while True:
            pusher = rng.uniform(80, WORLD - 80, 2)
            block = np.append(rng.uniform(140, WORLD - 140, 2), rng.uniform(-np.pi, np.pi))
            corners = to_world(OUTLINE, block)
            clear = np.linalg.norm(to_world(CENTRE, block) - pusher) > 130
            if clear and corners.min() > 60 and corners.max() < WORLD - 60:
                break
        self._table.reset(seed)
        self._table.put_block(block)
        self._table.put_pusher(pusher)
        self._table.settle()

    @property
    def state(self) -> Vector:
        """Pusher x, y, block x, y, angle in rad, velocity of the pusher [7]; see ``Table``."""
        return self._table.state

    @state.setter
    def state(self, state: Vector) -> None:
        self._table.place(state)

    @property
    def pusher(self) -> Vector:
        """Position of the pusher [2]."""
        return self.state[:2]

    @pusher.setter
    def pusher(self, position: Vector) -> None:
        self._table.put_pusher(position, self.state[5:])

    @property
    def block(self) -> Vector:
        """Pose of the block: x, y, angle in rad."""
        return self.state[2:5]

    @property
    def touched(self) -> bool:
        """The block touches the pusher or a wall."""
        return bool(self._table.contacts())

    def step(self, command: Vector) -> None:
        """Let the pusher go towards ``command`` [2] for one step."""
        self._table.step(command)

    def nudge(self, shift: Vector) -> None:
        """Put the block ``shift`` [2] away from where it is."""
        self._table.put_block(self.block + np.append(shift, 0.0))

    def image(self) -> NDArray[np.uint8]:
        """The camera's image now, uint8 RGB [96, 96, 3]."""
        return self._camera.image(self._table)

    @property
    def lost(self) -> bool:
        """The block is pressed into a wall, or has left the table: only a reset helps."""
        corners = to_world(OUTLINE, self.block)
        return bool(corners.min() < 2 or corners.max() > WORLD - 2)


class Pusher:
    """Scripted pusher: goes to a random place beside the block, pushes through, draws back, again.

    Args:
        rng: source of all choices; equal seeds and worlds give equal commands.
        position: where the pusher stands [2].
    """

    def __init__(self, rng: np.random.Generator, position: Vector):
        self._rng = rng
        self._target = np.array(position, dtype=float)
        self._velocity = np.zeros(2)
        # Waypoints still to pass, each with its speed in units per step.
        self._route: deque[tuple[Vector, float]] = deque()

    def next(self, block: Vector) -> Vector:
        """The next command [2], given the block's pose when it will act."""
        if not self._route:
            self._plan(block)
        goal, speed = self._route[0]
        away = goal - self._target
        distance = float(np.linalg.norm(away))
        wanted = away * min(1.0, speed / max(distance, 1e-9))
        # Smooth: the commanded velocity turns within about three steps.
        self._velocity += 0.45 * (wanted - self._velocity)
        self._target = np.clip(self._target + self._velocity, MARGIN, WORLD - MARGIN)
        if distance < 1.2 * speed:
            self._route.popleft()
        return self._target.copy()

    def _plan(self, block: Vector) -> None:
        """Queue one manoeuvre: mostly a push, now and then a stroll."""
        if self._rng.random() < 0.08:
            for _ in range(self._rng.integers(1, 3)):
                self._add(self._rng.uniform(60, WORLD - 60, 2), 10, 22)
            return
        start, direction = self._choose_push(block)
        self._go_round(start, block)
        self._add(start, 14, 20)
        speed = self._rng.uniform(8, 17)
        bend = self._rng.normal(0.0, 0.25)
        point, length = start, self._rng.uniform(90, 210)
        for _ in range(3):
            point = point + direction * length / 3
            self._route.append((np.clip(point, MARGIN, WORLD - MARGIN), speed))
            direction = _turned(direction, bend)
        back = _turned(-direction, self._rng.normal(0.0, 0.5))
        self._add(point + back * self._rng.uniform(20, 45), 14, 22)

    def _add(self, point: Vector, slow: float, fast: float) -> None:
        """Queue a waypoint, taken at a random speed between ``slow`` and ``fast``."""
        self._route.append((np.clip(point, MARGIN, WORLD - MARGIN), self._rng.uniform(slow, fast)))

    def _choose_push(self, block: Vector) -> tuple[Vector, Vector]:
        """Where to start a push and its direction (unit): random, but not towards a near wall."""
        centre = to_world(CENTRE, block)
        inward = (WORLD / 2 - centre) / (WORLD / 2)
        best, best_score = None, -np.inf
        for _ in range(12):
            edge = self._rng.integers(len(OUTLINE))
            ends = to_world(np.array([OUTLINE[edge], OUTLINE[(edge + 1) % len(OUTLINE)]]), block)
            along = ends[1] - ends[0]
            length = np.linalg.norm(along)
            # The outline runs so that its left-hand normal points into the block.
            normal = np.array([-along[1], along[0]]) / length
            direction = _turned(normal, self._rng.normal(0.0, 0.35))
            point = ends[0] + along * self._rng.uniform(0.1, 0.9)
            start = point - direction * (PUSHER_RADIUS + self._rng.uniform(8, 25))
            blocked = np.abs(np.clip(start, MARGIN, WORLD - MARGIN) - start).max()
            score = self._rng.uniform(0, 0.7) + 3.0 * float(direction @ inward) * float(inward @ inward)
            score += length / 400 - 0.2 * blocked
            if score > best_score:
                best, best_score = (start, direction), score
        assert best is not None
        return best

    def _go_round(self, goal: Vector, block: Vector) -> None:
        """Queue waypoints round the block where the straight way to ``goal`` runs through it."""
        centre = to_world(CENTRE, block)
        way = goal - self._target
        closest = np.clip((centre - self._target) @ way / max(way @ way, 1e-9), 0.0, 1.0)
        if np.linalg.norm(self._target + closest * way - centre) > 75:
            return
        here, there = (np.arctan2(*(point - centre)[::-1]) for point in (self._target, goal))
        turn = (there - here + np.pi) % (2 * np.pi) - np.pi
        for part in np.arange(1, int(abs(turn) / 0.6) + 1) * 0.6 * np.sign(turn):
            angle = here + part
            self._add(centre + 105 * np.array([np.cos(angle), np.sin(angle)]), 16, 22)


class HardPusher:
    """A table whose pusher starts beside the block and pushes it about: straight, hard, with sudden turns.

    What planners try out, and the hardest thing to predict: the script of ``Pusher`` takes care, this does not.

    Args:
        seed: decides everything that happens.
    """

    def __init__(self, seed: int):
        self.world = World(seed)
        self._rng = np.random.default_rng([seed, 1])
        centre = to_world(CENTRE, self.world.block)
        while True:
            angle = self._rng.uniform(-np.pi, np.pi)
            place = centre + self._rng.uniform(BESIDE, BESIDE + 20) * np.array([np.cos(angle), np.sin(angle)])
            if (np.clip(place, MARGIN, WORLD - MARGIN) == place).all():
                break
        self.world.pusher = place
        self._target: Vector = place
        self._velocity: Vector = np.zeros(2)
        self._left = 0  # steps to go before the next turn

    @property
    def over(self) -> bool:
        """As soon as the block is lost: nothing brings it back."""
        return self.world.lost

    def step(self) -> Vector:
        """Let the next command act for one step, and return it [2]."""
        if self._left == 0:
            self._turn()
        self._left -= 1
        self._target = np.clip(self._target + self._velocity, 0.0, WORLD)
        self.world.step(self._target)
        return self._target

    def _turn(self) -> None:
        """Set out from where the pusher is, more or less towards the block."""
        self._target = self.world.pusher
        way = to_world(CENTRE, self.world.block) - self._target
        way = _turned(way / max(float(np.linalg.norm(way)), 1e-9), self._rng.normal(0.0, 0.7))
        self._velocity = way * self._rng.uniform(6, 18)
        self._left = int(self._rng.integers(5, 24))


class Robot:
    """The table with its pusher, which knows its next ``look_ahead`` commands.

    Args:
        seed: decides everything that happens.
        look_ahead: commands known in advance, at least 1.
    """

    def __init__(self, seed: int, look_ahead: int = 1):
        self._seeds = np.random.SeedSequence(seed)
        self._world, self._twin = World(seed), World(seed)
        self._pusher = Pusher(np.random.default_rng(self._seeds.spawn(1)[0]), self._twin.pusher)
        # What the twin did, not yet done by the world: a command, or before it a reset's seed.
        self._ahead: deque[tuple[Vector, int | None]] = deque()
        while len(self._ahead) < look_ahead:
            self._extend()

    def _extend(self) -> None:
        reset = None
        if self._twin.lost:
            child = self._seeds.spawn(1)[0]
            reset = int(child.generate_state(1)[0])
            self._twin.reset(reset)
            self._pusher = Pusher(np.random.default_rng(child), self._twin.pusher)
        command = self._pusher.next(self._twin.block)
        self._twin.step(command)
        self._ahead.append((command, reset))

    @property
    def world(self) -> World:
        """The table now."""
        return self._world

    @property
    def over(self) -> bool:
        """Never: a table whose block is lost is set anew."""
        return False

    def plan(self) -> Vector:
        """The next commands [look_ahead, 2], the one about to act first."""
        return np.array([command for command, _ in self._ahead])

    def step(self) -> Vector:
        """Let the next command act for one step, and return it [2]."""
        command, reset = self._ahead.popleft()
        if reset is not None:
            self._world.reset(reset)
        self._world.step(command)
        self._extend()
        return command


def _turned(vector: Vector, angle: float) -> Vector:
    """``vector`` [2] turned by ``angle`` in rad."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])
