# SPDX-License-Identifier: Apache-2.0
"""Counterfactuals: branches of one start are the simulator's, and poses are read off images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("gym_pusht")
from dd_ros.demo.counterfactuals import block_pose, compare, error, replayed, start
from dd_ros.demo.pusht import World

CONTEXT, HORIZON = 2, 12


@pytest.mark.parametrize("seed", range(8))
def test_a_pose_is_read_off_an_image(seed: int) -> None:
    world = World(seed)
    distance, degrees = error(block_pose(world.image()), world.block)
    assert distance < 5.0  # a pixel
    assert degrees < 5.0


def test_no_block_no_pose() -> None:
    assert block_pose(np.full((96, 96, 3), 255, np.uint8)) is None
    assert error(None, np.zeros(3)) == (512.0, 180.0)


@pytest.mark.parametrize("seed", range(8))
def test_the_centre_of_a_blurred_block(seed: int) -> None:
    world = World(seed)
    blurred = cv2.GaussianBlur(world.image(), (0, 0), 2.0)
    assert error(block_pose(blurred), world.block)[0] < 25.0  # of a block that is 120 wide


def test_branches_leave_from_one_start() -> None:
    table = start(3, CONTEXT, HORIZON)
    assert table.images.shape == (CONTEXT, 96, 96, 3)
    assert len(table.outcomes) == 6
    ends = {tuple(np.round(outcome.blocks[-1], 3)) for outcome in table.outcomes}
    assert len(ends) >= 3  # pushes differ, and some miss
    still = table.outcomes[-1]
    assert error(still.blocks[-1], table.block)[0] < 1.0
    assert error(still.nudged[-1], still.blocks[-1])[0] == pytest.approx(1.0, abs=0.1)
    assert all(0.0 < error(outcome.nudged[-1], outcome.blocks[-1])[0] < 20.0 for outcome in table.outcomes)
    read = [error(block_pose(image), pose)[0] for image, pose in zip(still.images, still.blocks, strict=True)]
    assert max(read) < 5.0  # images and poses go together
    assert all(outcome.commands.shape == (HORIZON, 2) for outcome in table.outcomes)


def test_a_replay_is_the_same_every_time() -> None:
    one, two = replayed(5, 20), replayed(5, 20)
    assert np.array_equal(one[1], two[1])
    assert np.array_equal(one[0].world.block, two[0].world.block)


def test_perfect_predictions_find_every_push() -> None:
    tables = [start(seed, CONTEXT, HORIZON) for seed in (3, 4)]
    perfect = [np.stack([outcome.images for outcome in table.outcomes]) for table in tables]
    right = compare(tables, perfect, HORIZON)
    assert right["pushed"] >= 4
    assert right["nearer_than_unmoved_where_pushed"] == 1.0
    assert right["predicted"] == right["read_off_true_image"]
    assert right["predicted"]["pushed"]["centre"] < 5.0
    frozen = [np.stack([np.repeat(table.images[-1:], HORIZON, axis=0)] * 6) for table in tables]
    assert compare(tables, frozen, HORIZON)["predicted"]["pushed"]["centre"] > 10.0
    early = compare(tables, perfect, HORIZON // 2)
    assert early["predicted"] == early["read_off_true_image"]
    assert early["unmoved"]["pushed"]["centre"] < right["unmoved"]["pushed"]["centre"]
