# SPDX-License-Identifier: Apache-2.0
"""Goals on the table: how far a state is from one, and the planner that knows the truth.

A goal is a state of which the first five numbers count. It is reached when the places of pusher and block,
taken together, are less than ``NEAR`` away and the block's angle less than ``TURN``, as in stable-worldmodel.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dd_ros.demo.camera import Camera
from dd_ros.demo.table import Table, Vector, pusher_of, targets
from dd_ros.planning.solvers import Actions, Settings, Solution, solve

NEAR, TURN = 20.0, np.pi / 9  # units, rad
BLURS = (1.0, 2.0, 4.0, 8.0)  # pixels
Images = NDArray[np.uint8]
Cost = Callable[[Table], float]  # of ending with the table like this


def away(states: Vector, goal: Vector) -> tuple[Vector, Vector, Vector]:
    """How far ``states`` [..., 5 or more] are from ``goal``: pusher and block, block alone (units), angle (rad)."""
    apart = states[..., :4] - goal[:4]
    turn = np.abs((states[..., 4] - goal[4] + np.pi) % (2 * np.pi) - np.pi)
    return np.linalg.norm(apart, axis=-1), np.linalg.norm(apart[..., 2:], axis=-1), turn


def reached(states: Vector, goal: Vector) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether ``states`` [..., 5 or more] reach ``goal``; and whether the block does, wherever the pusher is."""
    both, block, turn = away(states, goal)
    return (both < NEAR) & (turn < TURN), (block < NEAR) & (turn < TURN)


def pose_cost(goal: Vector) -> Cost:
    """Distance of pusher and block to ``goal``, each as a share of what is near enough."""

    def cost(table: Table) -> float:
        both, _, turn = away(table.state, goal)
        return float(both / NEAR + turn / TURN)

    return cost


def block_cost(goal: Vector) -> Cost:
    """Distance of the block to ``goal``, wherever the pusher is."""

    def cost(table: Table) -> float:
        _, block, turn = away(table.state, goal)
        return float(block / NEAR + turn / TURN)

    return cost


def pixel_cost(goal: Images, camera: Camera, blurs: tuple[float, ...] = ()) -> Cost:
    """Squared error to the picture ``goal``, and of both blurred by each of ``blurs`` pixels."""
    goals = _blurred(goal, blurs)

    def cost(table: Table) -> float:
        seen = _blurred(camera.image(table), blurs)
        return sum(float(((one - other) ** 2).mean()) for one, other in zip(seen, goals, strict=True))

    return cost


def search(
    *,
    table: Table,
    state: Vector,
    cost: Cost,
    horizon: int,
    settings: Settings,
    rng: np.random.Generator,
    mean: ArrayLike | None = None,
) -> Solution:
    """The planner that knows the truth: relative actions [K, 2] from ``state`` that end at the least cost.

    Args:
        table: to try them on; what is on it is lost.
        state: [7] or [5].
        cost: of the end.
        horizon: actions in a sequence.
        settings: of the search.
        rng: source of all chance.
        mean: warm start [K, 2].
    """

    def costs(actions: Actions) -> Vector:
        found: list[float] = []
        table.rollouts(state, targets(pusher_of(state), actions), lambda: found.append(cost(table)))
        return np.array(found)

    return solve(
        cost=costs, horizon=horizon, low=[-1, -1], high=[1, 1], settings=settings, rng=rng, mean=mean
    )


def _blurred(image: Images, blurs: tuple[float, ...]) -> list[NDArray[np.float32]]:
    plain = np.asarray(image, np.float32)
    return [plain, *(np.asarray(cv2.GaussianBlur(plain, (0, 0), blur), np.float32) for blur in blurs)]
