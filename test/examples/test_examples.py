# SPDX-License-Identifier: Apache-2.0
"""The examples that need no ROS, run as their heads say; those with ROS are in ``test/system``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml
from bag_writer import robot_messages, write_bag
from tiny import tiny_config

from dd_ros import Predictor
from dd_ros.demo.pusht import Robot
from dd_ros.demo.simulate import write_episode
from dd_ros.resources import read_config
from dd_ros.settings import read_yaml
from dd_ros_training.recipe import Recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
STAGES = ("autoencoder", "teacher", "distillation")


def run(*command: object, **variables: str) -> str:
    """What a command of a user prints, with this environment's programs first; it must end well."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | variables
    result = subprocess.run(
        [str(word) for word in command], env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_each_file_names_how_to_run_it() -> None:
    for path in EXAMPLES.rglob("*"):
        if path.suffix in (".py", ".sh"):
            assert str(path.relative_to(EXAMPLES.parent)) in path.read_text().split("import argparse")[0], (
                path
            )


def test_python_without_ros_on_a_bag(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(24))
    out = tmp_path / "strip.png"
    command = [
        sys.executable,
        EXAMPLES / "predict_without_ros.py",
        "--checkpoint",
        tiny_checkpoint,
        "--bag",
        bag,
    ]
    said = run(*command, "--out", out)
    assert "<Predictor 'tiny'" in said
    assert cv2.imread(str(out)) is not None
    code = "import sys; sys.modules['rclpy'] = None; import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    assert run(sys.executable, "-c", code, *command[1:], "--out", out) == said  # needs no rclpy


def test_python_without_ros_on_the_simulated_robot_is_better_than_the_last_frame(tmp_path: Path) -> None:
    said = run(sys.executable, EXAMPLES / "predict_without_ros.py", "--out", tmp_path / "strip.png")
    line = next(line for line in said.splitlines() if line.startswith("mean error"))
    error, copied = (
        float(word.rstrip(";")) for word in line.split() if word.rstrip(";").replace(".", "").isdigit()
    )
    assert error < copied


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short episodes of the simulated robot; number 4 is for validation."""
    folder = tmp_path_factory.mktemp("simulated")
    for number in (1, 4):
        write_episode(folder / f"episode_{number:06d}", Robot(number), steps=34)
    return folder


def test_the_fine_tuning_recipe_takes_over_the_weights_of_what_it_begins_from() -> None:
    recipe, begun_from = read_yaml(EXAMPLES / "finetune/recipe.yaml", Recipe), read_config("pusht")
    assert recipe.image_network == begun_from.autoencoder
    flag = {"condition_on_previous_frame": False}
    assert recipe.network == begun_from.transformer.model_copy(update=flag)


@pytest.mark.timeout(900)
def test_a_fine_tuning_recipe(tiny_checkpoint: Path, simulated: Path, tmp_path: Path) -> None:
    entries, tiny = yaml.safe_load((EXAMPLES / "finetune/recipe.yaml").read_text()), tiny_config()
    for stage in STAGES:
        entries[stage] |= {"steps": 1, "batch_size": 1}
    network = {
        "network": tiny.transformer,
        "image_network": tiny.autoencoder,
    }  # of milliseconds instead of seconds
    entries |= {name: part.model_dump() for name, part in network.items()}
    entries |= {"horizon": tiny.horizon, "schedule": "2-1", "chunk_frames": 2}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(entries))
    out = tmp_path / "my_robot"
    run("bash", EXAMPLES / "finetune/finetune.sh", out, simulated, "/camera/image_raw", "/pusher/command.position[0:2]",
        RECIPE=str(tmp_path / "short.yaml"), INIT=str(tiny_checkpoint))  # fmt: skip
    found = json.loads(out.with_name("my_robot.json").read_text())
    assert found["checkpoint"] == str(out)
    assert found["figures"]["episodes"] == 1
    assert out.with_name("my_robot.mp4").stat().st_size > 1000
    predictor = Predictor.load(out, "cpu")
    assert (predictor.width, predictor.height, predictor.horizon) == (96, 96, 8)


@pytest.mark.timeout(900)  # three stages of training and an evaluation, beside whatever else the machine does
def test_a_network_of_ones_own_size(tmp_path: Path) -> None:
    out = tmp_path / "small"
    said = run(
        sys.executable, EXAMPLES / "own_size/train.py", "--out", out, "--steps", "1", "--episodes", "5"
    )
    predictor = Predictor.load(out, "cpu")
    assert (predictor.width, predictor.height, predictor.config.transformer.width) == (64, 64, 64)
    assert sum(weights.numel() for weights in predictor.model.parameters()) < 500_000
    assert cv2.imread(str(out.with_name("small.png"))) is not None
    assert "<Predictor 'small'" in said
