# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from bag_writer import robot_messages, write_bag


@pytest.fixture(scope="session", autouse=True)
def processes() -> ForkServerContext:
    """Where processes that train come from: forked from one that has imported what they need, so that they start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dd_ros_training.experiments.study.rows"])
    return context


@pytest.fixture(scope="session")
def robot_bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short drives of a robot; the one with number 4 is for validation."""
    folder = tmp_path_factory.mktemp("robot_bags")
    for number in (1, 2, 4):
        write_bag(folder / f"episode_{number:06d}", robot_messages(30))
    return folder
