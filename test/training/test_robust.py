# SPDX-License-Identifier: Apache-2.0
"""Training runs that are killed, interrupted, or out of disk lose nothing that was saved."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch
from short_run import short_recipe
from tiny import tiny_config

from dd_ros import Predictor
from dd_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from dd_ros.data.bags import find_bags
from dd_ros.errors import InputError
from dd_ros_training import callbacks
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import Run
from dd_ros_training.run_stage import STAGES

STEPS, KILLS = 20, 5  # steps of each stage
CONFIG = tiny_config()


def recipe(steps: int = STEPS) -> Recipe:
    return short_recipe(steps, batch_size=2, validate_every=50)


def train(bags: Path, folder: Path, steps: int = STEPS) -> None:
    """The whole run, as a process of its own does it; saves as often as it can."""
    torch.set_num_threads(1)
    callbacks.SAVE_SECONDS = 0.0
    run = Run(recipe(steps), find_bags([bags]), work=folder / "work")
    run.save(folder / "small", run.train(list(STAGES)))


def saved(folder: Path) -> dict[str, Path]:
    """The file of every saved stage."""
    files = {stage: folder / "work" / stage / "last.ckpt" for stage in STAGES}
    return {stage: file for stage, file in files.items() if file.exists()}


def saved_steps(folder: Path) -> dict[str, int]:
    """Optimiser steps of every saved stage; every file of them must be whole."""
    return {
        stage: torch.load(file, weights_only=True)["stage"]["steps"] for stage, file in saved(folder).items()
    }


def saved_at(folder: Path) -> dict[str, int]:
    """When every saved stage was, which takes less than reading it."""
    return {stage: file.stat().st_mtime_ns for stage, file in saved(folder).items()}


def test_kills_lose_nothing_that_was_saved(
    robot_bags: Path, tmp_path: Path, processes: ForkServerContext
) -> None:
    chance = random.Random(7)
    before: dict[str, int] = {}
    for _ in range(KILLS):
        process, start = processes.Process(target=train, args=(robot_bags, tmp_path)), saved_at(tmp_path)
        process.start()
        deadline = time.monotonic() + 60.0
        while saved_at(tmp_path) == start and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)  # until this process has saved something of its own
        time.sleep(chance.uniform(0.0, 0.6))
        process.kill()
        process.join()
        after = saved_steps(tmp_path)
        assert all(after[stage] >= steps for stage, steps in before.items()), (before, after)
        assert not (tmp_path / "small").exists() or load_checkpoint(tmp_path / "small")
        before = after
    process = processes.Process(target=train, args=(robot_bags, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == 0
    found = saved_steps(tmp_path)
    assert found.keys() == STAGES.keys()
    # A stage that is killed between its last step and its end makes one more.
    assert all(STEPS <= steps <= STEPS + KILLS for steps in found.values()), found
    Predictor.load(tmp_path / "small", device="cpu")


def test_ctrl_c_leaves_a_checkpoint_that_predicts(
    robot_bags: Path, tmp_path: Path, processes: ForkServerContext
) -> None:
    process = processes.Process(target=train, args=(robot_bags, tmp_path, 100_000))
    process.start()
    while not saved(tmp_path) and process.is_alive():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 0
    predictor = Predictor.load(tmp_path / "small", device="cpu")
    predictor.observe(np.zeros((32, 48, 3), np.uint8), 0, [0.0, 0.0])
    assert predictor.predict(np.zeros((8, 2))).shape == (8, 32, 48, 3)
    assert "in the stage autoencoder" in (tmp_path / "small" / "README.md").read_text()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    model = Model(CONFIG)
    save_checkpoint(tmp_path / "it", CONFIG, model, card="the first")
    with largest_file(20_000), pytest.raises(InputError, match="it: cannot be written"):
        save_checkpoint(tmp_path / "it", CONFIG, model, card="the second")
    assert (tmp_path / "it" / "README.md").read_text() == "the first"
    load_checkpoint(tmp_path / "it")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_training_goes_on_where_its_state_cannot_be_saved(robot_bags: Path, tmp_path: Path) -> None:
    run = Run(recipe(3), find_bags([robot_bags]), work=tmp_path / "work")
    run.train(["autoencoder"])
    last = tmp_path / "work" / "autoencoder" / "last.ckpt"
    whole = last.read_bytes()
    run = Run(recipe(6), find_bags([robot_bags]), work=tmp_path / "work")
    with (
        largest_file(100_000),
        pytest.warns(match=r"last\.ckpt: not saved"),
        pytest.raises(InputError, match=r"autoencoder\.pt: cannot be written.*make room"),
    ):
        run.train(["autoencoder"])
    assert last.read_bytes() == whole
    assert sorted(path.name for path in last.parent.iterdir()) == ["last.ckpt"]
