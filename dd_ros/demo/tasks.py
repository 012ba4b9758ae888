# SPDX-License-Identifier: Apache-2.0
"""Tasks for a planner at the table: goals that can be reached, as the scripted pusher gets to them from here."""

from __future__ import annotations

import numpy as np

from dd_ros.demo.pusht import Pusher, World
from dd_ros.demo.table import Vector

LEAST_MOVE = 10.0  # units that the block moves on the way to a goal
TRIES = 100


def next_goal(state: Vector, rng: np.random.Generator, steps: int) -> tuple[Vector, World]:
    """A goal that the scripted pusher gets to from ``state`` in so many steps, moving the block.

    Args:
        state: [7] or [5].
        rng: source of all chance.
        steps: of a tenth of a second.

    Returns:
        The goal [7], and a table in that state.
    """
    twin = World(0)
    for _ in range(TRIES):
        twin.state = state
        pusher = Pusher(rng, twin.pusher)
        for _ in range(steps):
            twin.step(pusher.next(twin.block))
        if np.linalg.norm(twin.state[2:4] - state[2:4]) > LEAST_MOVE and not twin.lost:
            break
    return twin.state, twin
