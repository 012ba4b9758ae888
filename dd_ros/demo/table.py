# SPDX-License-Identifier: Apache-2.0
"""The physics of PushT: the space, the constants and the numbers of gym-pusht, without its overhead.

A state is an array [7]: pusher x, y, block x, y, angle in rad, velocity of the pusher in units per second;
[5] without the velocity means a pusher at rest. The block has no velocity that would last: what it got is
gone after a hundredth of a second.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pymunk
from gym_pusht.envs.pusht import PushTEnv
from numpy.typing import ArrayLike, NDArray

WORLD = 512.0
PUSHER_RADIUS = 15.0
CLEAR = 93.0  # units between pusher and the block's centre of gravity, at which they touch at no angle
REACH = 100.0  # units from the pusher to its farthest target, for actions relative to it
DT, SUBSTEPS = 0.01, 10
STIFFNESS, DRAG = 100, 20  # of the spring that draws the pusher to its target
WALLS = (((5, 506), (5, 5)), ((5, 5), (506, 5)), ((506, 5), (506, 506)), ((5, 506), (506, 506)))
WALL_RADIUS = 2
GOAL = np.array([256, 256, np.pi / 4])  # pose of the green landmark
MARK = 2.0  # units that the mark of a contact reaches into either body
Vector = NDArray[np.float64]
REST: Vector = np.zeros(2)
Point = tuple[float, float]


class _Quiet(PushTEnv):
    """PushT without its count of contacts, for which the solver calls Python at each of them."""

    def _setup(self) -> None:
        self.space = pymunk.Space()
        self.space.damping = 0.0
        self.space.add(*(self.add_segment(self.space, start, end, WALL_RADIUS) for start, end in WALLS))
        self.agent = self.add_circle(self.space, (256, 400), PUSHER_RADIUS)
        self.block, self._block_shapes = self.add_tee(self.space, (256, 300), 0)
        self.goal_pose = GOAL
        self.n_contact_points = 0


class Table:
    """Pusher, block and walls.

    Args:
        seed: start as gym-pusht has it for this seed.
    """

    def __init__(self, seed: int = 0) -> None:
        self._env = _Quiet(obs_type="state")
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Start as gym-pusht does for ``seed``."""
        self._env.reset(seed=seed)

    @property
    def state(self) -> Vector:
        """The state now [7]."""
        pusher, block = self._env.agent, self._env.block
        return np.array([*pusher.position, *block.position, block.angle, *pusher.velocity])

    @property
    def pusher(self) -> Point:
        """Place of the pusher's centre."""
        x, y = self._env.agent.position
        return x, y

    def place(self, state: Vector) -> None:
        """Set the state [7] or [5]; what was before has no influence: equal states and commands give equal futures."""
        self._env._setup()
        self.put_block(state[2:5])
        self.put_pusher(state[:2], state[5:])

    def put_pusher(self, place: Vector, velocity: Vector = REST) -> None:
        """Put the pusher to ``place`` [2], with ``velocity`` [2] in units per second; the solver forgets nothing."""
        pusher = self._env.agent
        pusher.position = float(place[0]), float(place[1])
        pusher.velocity = (float(velocity[0]), float(velocity[1])) if len(velocity) else (0.0, 0.0)
        self._env.space.reindex_shapes_for_body(pusher)

    def put_block(self, pose: Vector) -> None:
        """Put the block to ``pose``: x, y, angle in rad; the solver forgets nothing of its contacts."""
        block = self._env.block
        # The angle first: setting it turns the block about its centre of gravity, which moves its position.
        block.angle = float(pose[2])
        block.position = float(pose[0]), float(pose[1])
        self._env.space.reindex_shapes_for_body(block)

    def settle(self) -> None:
        """Let a hundredth of a second pass, in which the pusher stays as fast as it is."""
        self._env.space.step(DT)

    def step(self, command: Vector | list[float]) -> None:
        """Let the pusher go towards ``command`` [2] for a tenth of a second."""
        to_x, to_y = float(command[0]), float(command[1])
        pusher, space = self._env.agent, self._env.space
        for _ in range(SUBSTEPS):
            x, y = pusher.position
            u, v = pusher.velocity
            pusher.velocity = (
                u + (STIFFNESS * (to_x - x) + DRAG * (0 - u)) * DT,
                v + (STIFFNESS * (to_y - y) + DRAG * (0 - v)) * DT,
            )
            space.step(DT)

    def corners(self) -> list[list[Point]]:
        """Corners in the world of the two rectangles that make up the block."""
        to_world = self._env.block.local_to_world
        return [[to_world(corner) for corner in part.get_vertices()] for part in self._env._block_shapes]

    def contacts(self) -> list[tuple[Point, Point]]:
        """Where the block touches pusher and walls: the ends of a mark across each point of contact."""
        marks: list[list[tuple[Point, Point]]] = []

        def note(arbiter: pymunk.Arbiter) -> None:
            # The block is the second body of each contact, so that for it all directions are turned round.
            found = arbiter.contact_point_set
            across = MARK * found.normal
            marks.append([(point.point_b + across, point.point_a - across) for point in found.points])

        self._env.block.each_arbiter(note)
        return [mark for found in reversed(marks) for mark in found]

    def rollouts(self, state: Vector, commands: Vector, look: Callable[[], None] | None = None) -> Vector:
        """What each of several sequences of commands leads to from ``state``; the table is left at the last of it.

        Where the pusher is far from a block at rest it moves alone, which takes a tenth of the time. The solver may
        then take contacts of one moment in another order, so that one sequence in twenty ends a little elsewhere.

        Args:
            state: [7] or [5].
            commands: where the pusher shall go, [N, K, 2].
            look: called at the end of each sequence, to take a picture for example.

        Returns:
            States after each command, [N, K, 7].
        """
        states = np.empty((*commands.shape[:2], 7))
        for sequence, found in zip(commands.tolist(), states, strict=True):
            self.place(state)
            at_rest = False  # a block may have been put into a wall
            for step, command in enumerate(sequence):
                if not (at_rest and self._glide(*command)):
                    self.step(command)
                    at_rest = not self.contacts()
                found[step] = self.state
            if look is not None:
                look()
        return states

    def _glide(self, to_x: float, to_y: float) -> bool:
        """Make a step without the solver; False, and nothing done, where the pusher may come to the block."""
        pusher, block = self._env.agent, self._env.block
        (x, y), (u, v) = pusher.position, pusher.velocity
        block_x, block_y = block.local_to_world(block.center_of_gravity)
        for _ in range(SUBSTEPS):
            u += (STIFFNESS * (to_x - x) + DRAG * (0 - u)) * DT
            v += (STIFFNESS * (to_y - y) + DRAG * (0 - v)) * DT
            x += u * DT
            y += v * DT
            if (x - block_x) ** 2 + (y - block_y) ** 2 < CLEAR**2:
                return False
        pusher.position, pusher.velocity = (x, y), (u, v)
        return True


def pusher_of(state: Vector) -> Vector:
    """Place and velocity of the pusher, x, y, u, v, out of a state [7] or [5]."""
    return np.concatenate([state[:2], state[5:7] if len(state) > 5 else REST])


def targets(pusher: Vector, actions: ArrayLike) -> Vector:
    """Commands that relative actions amount to: the target is REACH times the action away from the pusher.

    The block does not hold up the pusher, so that its way is known beforehand.

    Args:
        pusher: its place and velocity now: x, y, u, v.
        actions: relative actions, [..., K, 2]; those beyond -1 or 1 count as -1 or 1.

    Returns:
        Where the pusher shall go, [..., K, 2], on the table.
    """
    actions = np.clip(np.asarray(actions, dtype=float), -1.0, 1.0)
    place, speed = (np.broadcast_to(part, actions[..., 0, :].shape) for part in (pusher[:2], pusher[2:]))
    commands = np.empty_like(actions)
    for step in range(actions.shape[-2]):
        commands[..., step, :] = target = np.clip(place + REACH * actions[..., step, :], 0.0, WORLD)
        for _ in range(SUBSTEPS):
            speed = speed + (STIFFNESS * (target - place) + DRAG * (0 - speed)) * DT
            place = place + speed * DT
    return commands
