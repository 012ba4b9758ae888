# SPDX-License-Identifier: Apache-2.0
"""The parts of a round on a GPU, with a tiny network on the CPU: what they leave behind, and what of it can be used."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors.torch import load_file
from short_run import short_recipe
from tiny import random_model, tiny_config

from dd_ros import Predictor
from dd_ros.checkpoint import load_checkpoint
from dd_ros.errors import InputError
from dd_ros.settings import write_yaml
from dd_ros_training.experiments.gpu_round import weights as weights_module
from dd_ros_training.experiments.gpu_round.__main__ import main
from dd_ros_training.experiments.gpu_round.weights import join, leave

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts/gpu_round.sh"
JUNIT = """<testsuites><testsuite>
<testcase name="good"><properties><property name="ticks" value="10000"/></properties></testcase>
<testcase name="bad"><failure message="assert 9 &lt; 8">trace</failure></testcase>
<testcase name="broken"><error message="no fixture"/></testcase>
<testcase name="elsewhere"><skipped message="no CUDA device here"/></testcase>
</testsuite></testsuites>"""


def run(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def test_weights_in_parts_are_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "PART_BYTES", 40_000)
    config = tiny_config()
    model = random_model(config)
    whole = model.state_dict()
    leave(tmp_path, config, model)
    (tmp_path / "weights-9-of-9.safetensors").touch()
    parts = leave(tmp_path, config, model)
    assert sorted(tmp_path.glob("weights-*")) == sorted(parts)
    assert len(parts) > 3
    for part in parts:
        tensors = load_file(part)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 40_000 or len(tensors) == 1
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    join(tmp_path, tmp_path / "joined", name="joined")
    made, joined = load_checkpoint(tmp_path / "joined")
    assert made == config.model_copy(update={"name": "joined"})
    for name, value in joined.state_dict().items():
        assert torch.equal(value, whole[name].half().float()), name
    parts[1].unlink()
    with pytest.raises(InputError, match=f"expected all parts of .*, got {len(parts) - 1}"):
        join(tmp_path, tmp_path / "joined")


def test_tests_are_taken_over(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    run("tests", tmp_path, junit)
    assert not (tmp_path / "results.json").exists()
    junit.write_text(JUNIT)
    run("tests", tmp_path, junit)
    found = results(tmp_path)["tests"]
    assert found["passed"] == 1
    assert found["failed"] == {"bad": "assert 9 < 8", "broken": "no fixture"}
    assert found["skipped"] == {"elsewhere": "no CUDA device here"}
    assert found["properties"] == {"good": {"ticks": "10000"}}
    text = (tmp_path / "table.md").read_text()
    assert "1 passed, 2 failed, 1 skipped" in text
    assert "- bad: assert 9 < 8" in text


def test_a_size_that_fails_hinders_no_other(tiny_checkpoint: Path, tmp_path: Path) -> None:
    run("bench", tmp_path, "--minutes", 0.05, "--device", "cpu", "--size", "nope", "--size", tiny_checkpoint)
    found = results(tmp_path)["bench"]
    assert "'nope'" in found["nope"]["error"]
    row = found[str(tiny_checkpoint)]
    assert set(row["versus"]) == {"teacher", "uniform4_clean_context", "uniform2", "one_step"}
    assert row["candidates"]["1"]["frames"]["p50"] > 0
    text = (tmp_path / "table.md").read_text()
    assert f"| {tiny_checkpoint} | uniform2 | 8 |" in text
    assert "nope: InputError" in text


@pytest.fixture(scope="module")
def two_legs(robot_bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``first`` and ``second``, what two legs of one run left, and ``work``."""
    folder = tmp_path_factory.mktemp("legs")
    for leg, steps in (("first", 4), ("second", 6)):
        write_yaml(folder / "recipe.yaml", short_recipe(steps, batch_size=2, validate_every=3))
        run(
            "train", folder / leg, "--minutes", 60, "--recipe", folder / "recipe.yaml", "--bags", robot_bags,
            "--work", folder / "work",
        )  # fmt: skip
    return folder


def test_a_leg_of_training_is_judged_and_carried(two_legs: Path) -> None:
    found = results(two_legs / "second")["train"]
    assert found["stages"] == ["autoencoder", "teacher", "distillation"]
    assert found["done"] == "distillation"
    assert set(found["evaluation"]["mean"]) == {"model", "copy_last", "optical_flow"}
    assert "- model: " in (two_legs / "second" / "table.md").read_text()
    join(two_legs / "second", two_legs / "joined")
    predictor = Predictor.load(two_legs / "joined", "cpu")
    predictor.observe(np.zeros((64, 80, 3), np.uint8), 0, [0.0, 0.0])
    assert predictor.predict(np.zeros((8, 2))).shape == (8, 32, 48, 3)


def test_the_next_leg_goes_on(two_legs: Path) -> None:
    resumed = torch.load(two_legs / "work" / "distillation" / "last.ckpt", weights_only=True)
    progress = resumed["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["total"]["completed"] == 6
    one, other = (load_file(next((two_legs / leg).glob("weights-1-*"))) for leg in ("first", "second"))
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_a_leg_begins_with_what_an_earlier_round_left(
    two_legs: Path, robot_bags: Path, tmp_path: Path
) -> None:
    run(
        "train", tmp_path / "out", "--minutes", 60, "--recipe", two_legs / "recipe.yaml", "--bags", robot_bags,
        "--work", tmp_path / "work", "--init", two_legs / "second", "--stage", "distillation",
    )  # fmt: skip
    found = results(tmp_path / "out")["train"]
    assert (found["stages"], found["done"]) == (["distillation"], "distillation")
    begun = load_checkpoint(tmp_path / "work" / "begun")[1].state_dict()
    carried = load_file(next((two_legs / "second").glob("weights-1-of-1*")))
    assert all(torch.equal(value, carried[name].float()) for name, value in begun.items())


def test_the_script_says_what_it_expects() -> None:
    for arguments, message in (
        ([], "expected --out DIR or --pack DIR"),
        (["--out"], "--out: expected a value"),
        (["--speed", "3"], "--speed: no such option"),
    ):
        ended = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert message in ended.stderr


def test_packed_versions_are_the_tested_ones() -> None:
    listed = re.search(r"packages=\((.*?)\n\)", SCRIPT.read_text(), re.DOTALL)
    assert listed
    packed = dict(entry.split("==") for entry in listed[1].split())
    tested = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    declared = {canonicalize_name(r.name): r for r in map(Requirement, requires("dd_ros") or ())}
    for name, version in packed.items():
        assert tested.get(name, version) == version
        requirement = declared.get(canonicalize_name(name))
        assert requirement is None or requirement.specifier.contains(version)
