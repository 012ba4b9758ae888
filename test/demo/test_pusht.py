# SPDX-License-Identifier: Apache-2.0
"""The scripted pusher: what it does to the block, and that it keeps its word."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dd_ros.demo.pusht import MARGIN, OUTLINE, PUSHER_RADIUS, WORLD, HardPusher, Robot, World, to_world

EPISODES, STEPS = 10, 120
PUSHES = 40  # shorter, and some miss the block


@cache
def episode(seed: int) -> dict[str, np.ndarray]:
    """One run: commands, places of the pusher, poses of the block, steps with contact."""
    robot = Robot(seed)
    rows = []
    for _ in range(STEPS):
        command = robot.step()
        rows.append((command, robot.world.pusher, robot.world.block, robot.world.touched, robot.world.lost))
    names = ("commands", "pusher", "block", "touched", "lost")
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))


@pytest.mark.parametrize("seed", range(EPISODES))
def test_pusher_and_block_stay_on_the_table(seed: int) -> None:
    run = episode(seed)
    assert run["commands"].min() >= MARGIN
    assert run["commands"].max() <= WORLD - MARGIN
    assert run["pusher"].min() > PUSHER_RADIUS
    assert run["pusher"].max() < WORLD - PUSHER_RADIUS
    corners = np.array([to_world(OUTLINE, pose) for pose in run["block"]])
    assert corners.min() > -20.0  # a block pressed into the wall is noticed and put back
    assert corners.max() < WORLD + 20.0
    assert run["lost"].mean() < 0.02


def test_contact_is_frequent_and_moves_the_block() -> None:
    runs = [episode(seed) for seed in range(EPISODES)]
    touched = np.array([run["touched"].mean() for run in runs])
    assert (touched > 0.1).mean() > 0.6
    assert touched.mean() > 0.25
    paths = [np.linalg.norm(np.diff(run["block"][:, :2], axis=0), axis=1).sum() for run in runs]
    turns = [np.abs(np.diff(run["block"][:, 2])).sum() for run in runs]
    assert np.median(paths) > 100.0
    assert np.median(turns) > 1.0


def test_a_sweeper_starts_beside_the_block_and_pushes_harder_than_the_robot() -> None:
    paths = []
    for seed in range(PUSHES):
        pusher = HardPusher(seed)
        world = pusher.world
        np.testing.assert_array_equal(world.block, World(seed).block)
        places = [world.block[:2]]
        for step in range(30):
            command = pusher.step()
            assert command.min() >= 0.0
            assert command.max() <= WORLD
            assert step or not world.touched  # the first image shows the two apart
            places.append(world.block[:2])
        paths.append(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())
    of_robot = [
        np.linalg.norm(np.diff(episode(seed)["block"][:, :2], axis=0), axis=1).sum()
        for seed in range(EPISODES)
    ]
    assert np.mean(paths) / 30 > 1.3 * np.mean(of_robot) / STEPS


def test_commands_are_smooth() -> None:
    steps = np.diff(episode(0)["commands"], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 25.0
    assert np.linalg.norm(np.diff(steps, axis=0), axis=1).max() < 25.0


def test_the_seed_decides_everything() -> None:
    first, again, other = Robot(3), Robot(3), Robot(4)
    for _ in range(30):
        np.testing.assert_array_equal(first.step(), again.step())
        other.step()
    np.testing.assert_array_equal(first.world.block, again.world.block)
    np.testing.assert_array_equal(first.world.image(), again.world.image())
    assert not np.array_equal(first.world.block, other.world.block)


def test_the_plan_is_what_happens_and_looking_ahead_changes_nothing() -> None:
    ahead, short = Robot(5, look_ahead=16), Robot(5)
    plan = ahead.plan()
    assert plan.shape == (16, 2)
    for k in range(40):
        if k % 16 == 0:
            plan = ahead.plan()
        command = ahead.step()
        np.testing.assert_array_equal(command, plan[k % 16])
        np.testing.assert_array_equal(command, short.step())
        np.testing.assert_array_equal(ahead.world.block, short.world.block)


def test_a_lost_block_is_put_back_when_its_time_comes() -> None:
    robot = Robot(0, look_ahead=4)
    robot._twin.nudge(5.0 - robot._twin.block[:2])
    robot.step()  # the twin notices and starts anew
    placed = robot._twin.block
    for _ in range(3):
        robot.step()
    assert np.linalg.norm(robot.world.block - placed) > 20.0
    robot.step()
    np.testing.assert_allclose(robot.world.block, placed, atol=1e-6)


def test_the_image_shows_pusher_and_block() -> None:
    world = World(1)
    image = world.image()
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    x, y = (world.pusher * 96 / WORLD).round().astype(int)
    assert image[y, x, 2] > 150 > image[y, x, 0]  # blue
    x, y = (to_world(np.array([0.0, 15.0]), world.block) * 96 / WORLD).round().astype(int)
    np.testing.assert_allclose(image[y, x], (119, 136, 153), atol=40)  # slate grey
