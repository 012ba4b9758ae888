# SPDX-License-Identifier: Apache-2.0
"""The ``dd_ros`` command as a user meets it: results, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v2 as imageio
import pytest
from bag_writer import robot_messages, write_bag


def dd_ros(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-c", "from dd_ros.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)


def refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Status 2, and one line on stderr that holds all ``parts``."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("dd_ros: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    for number in (1, 4):
        write_bag(folder / f"episode_{number:06d}", robot_messages(24))
    return folder


@pytest.mark.parametrize("command", ["demo", "predict", "finetune", "evaluate", "bench", "inspect"])
def test_help_has_an_example(command: str) -> None:
    result = dd_ros(command, "--help")
    assert result.returncode == 0
    assert f"Example: dd_ros {command}" in " ".join(result.stdout.split())


def test_inspecting_a_bag_needs_no_torch(bags: Path) -> None:
    code = (
        "import sys\nfrom dd_ros.commands.inspect import inspect\n"
        f"inspect({str(bags)!r})\nassert 'torch' not in sys.modules, 'torch was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "/camera/image_raw" in result.stdout
    assert "image 48x32 rgb8" in result.stdout
    assert "action, 2 values" in result.stdout


def test_inspecting_a_checkpoint_shows_its_card(tiny_checkpoint: Path) -> None:
    result = dd_ros("inspect", tiny_checkpoint)
    assert result.returncode == 0
    assert "Random weights for tests" in result.stdout
    assert "rate_hz: 10.0" in result.stdout


def test_predict_writes_a_video(bags: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    video = tmp_path / "out" / "video.mp4"
    result = dd_ros(
        "predict", "--checkpoint", tiny_checkpoint, "--bag", bags / "episode_000001", "--out", video
    )
    assert result.returncode == 0, result.stderr
    assert sum(1 for _ in imageio.get_reader(video)) == 24


def test_evaluate_writes_figures(bags: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    figures = tmp_path / "eval.json"
    result = dd_ros(
        "evaluate", "--checkpoint", tiny_checkpoint, "--bags", bags / "episode_000001", bags / "episode_000004",
        "--json", figures, "--stride", "4", "--split", "validation",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(figures.read_text())
    assert found["episodes"] == 1
    assert found["steps"] == list(range(1, 9))


def test_bad_usage(bags: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    refused(dd_ros("predict"), "Missing option '--checkpoint'", "dd_ros predict --help")
    refused(dd_ros("nonsense"), "No such command 'nonsense'")
    refused(dd_ros("inspect", tmp_path / "nope"), "neither a bag nor a checkpoint")
    refused(dd_ros("evaluate", "--checkpoint", "nope", "--bags", bags, "--json", tmp_path / "x"), "'nope'")
    video = ("predict", "--checkpoint", tiny_checkpoint, "--bag", bags / "episode_000001", "--out")
    refused(dd_ros(*video, tmp_path / "x.txt"), "expected a name ending in .mp4")
    refused(dd_ros(*video, tmp_path / "x.mp4", "--image-topic", "/nope"), "/nope", "/camera/image_raw")
    refused(dd_ros("bench", "--checkpoint", "nope", "--json", tmp_path / "x.json"), "'nope'")
    refused(
        dd_ros("finetune", "--bags", bags, "--image-topic", "/nope", "--action-topic", "/action",
               "--init", tiny_checkpoint, "--out", tmp_path / "out"),
        "no messages of topic /nope",
    )  # fmt: skip


def test_a_damaged_checkpoint(bags: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoint, damaged)
    (damaged / "model.safetensors").write_bytes(b"not weights")
    result = dd_ros("evaluate", "--checkpoint", damaged, "--bags", bags, "--json", tmp_path / "x.json")
    refused(result, "model.safetensors: damaged")
    assert not (tmp_path / "x.json").exists()


def test_a_bag_cut_off_in_the_middle_is_used_as_far_as_it_goes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(60, width=240, height=160))
    (file,) = bag.glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    result = dd_ros("inspect", bag)
    assert result.returncode == 0
    assert "readable part is used" in " ".join(result.stdout.split())
    result = dd_ros(
        "evaluate", "--checkpoint", tiny_checkpoint, "--bags", bag, "--json", tmp_path / "eval.json"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "eval.json").read_text())["windows"] > 0
    file.write_bytes(whole[:100])
    result = dd_ros(
        "evaluate", "--checkpoint", tiny_checkpoint, "--bags", bag, "--json", tmp_path / "eval.json"
    )
    refused(result, str(bag), "no messages")
