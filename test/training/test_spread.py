# SPDX-License-Identifier: Apache-2.0
"""Two processes with half the batch each learn what one process with the whole batch learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from short_run import short_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dd_ros.data.bags import find_bags
from dd_ros.settings import write_yaml
from dd_ros_training.recipe import Recipe, TrainerRecipe
from dd_ros_training.run import Run
from dd_ros_training.run_stage import STAGES

STEPS = 10  # when the first figures are logged


def spread(processes: int) -> Recipe:
    """A short run whose global batch is 4, on ``processes`` CPU processes."""
    run = short_recipe(STEPS, batch_size=4 // processes, validate_every=50)
    strategy = "auto" if processes == 1 else "ddp_find_unused_parameters_true"
    trainer = TrainerRecipe(accelerator="cpu", devices=processes, strategy=strategy, precision="32-true")
    return run.model_copy(update={"trainer": trainer, "shards": 2})


def test_two_processes_learn_as_one(robot_bags: Path, tmp_path: Path) -> None:
    """The two as the command starts them, the one in this process."""
    Run(spread(1), find_bags([robot_bags]), work=tmp_path / "one.work").train(list(STAGES))
    write_yaml(tmp_path / "recipe.yaml", spread(2))
    command = [sys.executable, "-m", "dd_ros_training.train", str(tmp_path / "recipe.yaml"),
               "--bags", str(robot_bags), "--out", str(tmp_path / "two")]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "two" / "model.safetensors").exists()
    one, two = (logged(tmp_path / f"{name}.work" / "logs") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert {"autoencoder/loss", "teacher/loss", "distillation/regression", "distillation/critic"} <= set(one)
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-3), name


def logged(folder: Path) -> dict[str, list[float]]:
    """All losses that the stages logged."""
    found = {}
    for stage in STAGES:
        log = EventAccumulator(str(folder / stage)).Reload()
        for name in log.Tags()["scalars"]:
            if "/" in name and not name.endswith(("psnr", "skill", "best")):
                found[name] = [event.value for event in log.Scalars(name)]
    return found
