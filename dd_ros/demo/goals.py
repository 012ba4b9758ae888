# SPDX-License-Identifier: Apache-2.0
"""Goals for PushT: where pusher and block shall get to, and whether they are there.

As in stable-worldmodel's protocol a goal is a state that can be reached: one that the scripted pusher gets to from here.
"""

from __future__ import annotations

import numpy as np

from dd_ros.demo.pusht import Pusher, World
from dd_ros.demo.table import Vector

NEAR = 20.0  # units: norm of the differences of both places together
TURNED = np.pi / 9  # rad
LEAST_MOVE = 10.0  # units that the block moves on the way to a goal
TRIES = 100


def distance(state: Vector, goal: Vector) -> tuple[float, float]:
    """How far a state is from a goal, both [5] or [7]: places of pusher and block together in units, block's turn in rad."""
    places = float(np.linalg.norm(np.asarray(state[:4]) - np.asarray(goal[:4])))
    turn = (state[4] - goal[4] + np.pi) % (2 * np.pi) - np.pi
    return places, float(abs(turn))


def reached(state: Vector, goal: Vector) -> bool:
    """Whether a state counts as the goal."""
    places, turn = distance(state, goal)
    return places < NEAR and turn < TURNED


def next_goal(state: Vector, rng: np.random.Generator, steps: int) -> tuple[Vector, World]:
    """A goal that the scripted pusher gets to from ``state`` in so many steps, moving the block.

    Returns:
        The state [7], and a table in it.
    """
    for _ in range(TRIES):
        twin = World(0)
        twin.state = state
        pusher = Pusher(rng, twin.pusher)
        for _ in range(steps):
            twin.step(pusher.next(twin.block))
        moved = float(np.linalg.norm(twin.state[2:4] - state[2:4]))
        if moved > LEAST_MOVE and not twin.lost:
            break
    return twin.state, twin
