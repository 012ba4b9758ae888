# SPDX-License-Identifier: Apache-2.0
"""When a goal is reached, and the search that knows the truth."""

from __future__ import annotations

import numpy as np
import pytest

from dd_ros.demo.camera import Camera
from dd_ros.demo.goals import BLURS, NEAR, TURN, away, block_cost, pixel_cost, pose_cost, reached, search
from dd_ros.demo.pusht import CENTRE, World, to_world
from dd_ros.demo.table import Table, Vector, pusher_of, targets
from dd_ros.planning.solvers import Settings

GOAL = np.array([100.0, 120.0, 250.0, 260.0, 3.0])


@pytest.mark.parametrize(
    ("change", "both", "block"),
    [
        ([0, 0, 0, 0, 0], True, True),
        ([0, 0, 0, 0, 0.9 * TURN], True, True),
        ([0, 0, 0, 0, 1.1 * TURN], False, False),
        ([0, 0, 0, 0, 2 * np.pi - 0.1], True, True),  # angles go round
        ([0, 0, 0, 0, -4 * np.pi], True, True),
        ([0.9 * NEAR, 0, 0, 0, 0], True, True),
        ([1.1 * NEAR, 0, 0, 0, 0], False, True),  # the pusher counts
        ([0.8 * NEAR, 0, 0.8 * NEAR, 0, 0], False, True),  # and both together
        ([0, 0, 0, 1.1 * NEAR, 0], False, False),
    ],
)
def test_a_goal_is_reached_within_twenty_units_and_degrees(
    change: list[float], both: bool, block: bool
) -> None:
    state = np.concatenate([GOAL + change, [50.0, -50.0]])
    assert reached(state, GOAL) == (both, block)
    assert tuple(part[0] for part in reached(state[None], GOAL)) == (both, block)


def test_distances_are_of_both_of_the_block_and_of_its_angle() -> None:
    states = GOAL + np.array([[3.0, 0, 0, 4.0, -0.5], [0, 0, 0, 0, np.pi + 0.2]])
    both, block, turn = away(states, GOAL)
    np.testing.assert_allclose(both, [5, 0])
    np.testing.assert_allclose(block, [4, 0])
    np.testing.assert_allclose(turn, [0.5, np.pi - 0.2])


def test_costs_are_nothing_at_the_goal_and_grow_away_from_it() -> None:
    table, camera = Table(), Camera(96)
    table.place(GOAL)
    picture = camera.image(table)
    costs = [
        pose_cost(GOAL),
        block_cost(GOAL),
        pixel_cost(picture, camera),
        pixel_cost(picture, camera, BLURS),
    ]
    np.testing.assert_allclose([cost(table) for cost in costs], 0.0, atol=1e-9)
    for away_by in ([0, 0, 5, 0, 0.1], [0, 0, 30, 0, 0.6]):
        before = [cost(table) for cost in costs]
        table.place(GOAL + away_by)
        assert all(cost(table) > old for cost, old in zip(costs, before, strict=True))
    table.place(GOAL + np.array([40, 0, 0, 0, 0]))
    assert block_cost(GOAL)(table) < 1e-9
    assert pose_cost(GOAL)(table) > 1.9


def pushed(seed: int, steps: int) -> tuple[Vector, Vector]:
    """A state, and one that a straight push leads to from there."""
    world = World(seed)
    while not world.touched:
        world.step(world.pusher + np.clip(to_world(CENTRE, world.block) - world.pusher, -60, 60))
    start, way = world.state, to_world(CENTRE, world.block) - world.pusher
    for _ in range(steps):
        world.step(world.pusher + 0.6 * way)
    return start, world.state[:5]


def test_the_search_brings_pusher_and_block_to_the_goal() -> None:
    got = []
    for seed in range(3):
        start, goal = pushed(seed, 10)
        assert not reached(start, goal)[0]
        found = search(
            table=Table(), state=start, cost=pose_cost(goal), horizon=10,
            settings=Settings(samples=48, iterations=6, repeat=5), rng=np.random.default_rng(seed),
        )  # fmt: skip
        end = Table().rollouts(start, targets(pusher_of(start), found.actions)[None])[0, -1]
        both, _, turn = away(end, goal)
        np.testing.assert_allclose(found.cost, both / NEAR + turn / TURN, rtol=1e-6)
        got.append(bool(reached(end, goal)[0]))
    assert sum(got) >= 2
