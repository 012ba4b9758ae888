# SPDX-License-Identifier: Apache-2.0
"""Strangers: however few bags are trained on, those that are judged on are never among them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dd_ros.data.bags import find_bags
from dd_ros.data.split import split
from dd_ros_training.experiments.strangers import main
from dd_ros_training.run import Run

TOPICS = ("--image-topic", "/camera/image_raw", "--action-topic", "/action")
NAMES = ("attic", "cellar", "garden", "hall", "kitchen", "porch")  # the fifth is for validation: by position


class AboutToTrain(Exception):
    """All that matters here is known."""


def test_bags_without_numbers_stay_on_their_side(
    robot_bags: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_bags([robot_bags])[0]
    for name in NAMES:
        shutil.copytree(source, tmp_path / "bags" / name)
    assert [bag.name for bag in split(find_bags([tmp_path / "bags"]))[1]] == ["kitchen"]
    parts: list[tuple[list[str], list[str]]] = []

    def train(run: Run, *given: object) -> None:
        parts.append(([e.name for e in run.logs.training], [e.name for e in run.logs.validation]))
        raise AboutToTrain

    monkeypatch.setattr(Run, "train", train)
    given = [*TOPICS, "--robot", "house", "--bag-minutes", "1", "--steps", "2"]
    more = ["--start", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    with pytest.raises(AboutToTrain):
        CliRunner().invoke(main, ["--bags", str(tmp_path / "bags"), *given, *more], catch_exceptions=False)
    assert parts == [([name for name in NAMES if name != "kitchen"], ["kitchen"])]


def test_each_start_and_budget_is_a_row_that_is_made_once(
    robot_bags: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = [
        "--bags",
        robot_bags,
        *TOPICS,
        "--robot",
        "drives",
        "--bag-minutes",
        1,
        "--out",
        out,
        "--max-windows",
        2,
    ]
    known, unknown = ["--start", tiny_checkpoint, "--steps", 2], ["--start", "nothing", "--steps", 1]

    def run(*more: object) -> dict[str, int]:
        arguments = [str(part) for part in (*given, *more)]
        assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
        return {file.stem: file.stat().st_mtime_ns for file in out.glob("*.json")}

    first, second = run(*known), run(*known, "--steps", 1)
    name = tiny_checkpoint.name
    assert set(second) == {f"drives_{name}_1min_{steps}steps_0" for steps in (1, 2)}
    assert first.items() <= second.items()
    assert "drives_nothing_1min_1steps_0" in run(*unknown)
    written = (out / "strangers.md").read_text()
    assert written.count("| drives | ") == 3
    assert "| 1 steps | nothing | 0 | " in written
    for file in out.glob("*.json"):
        row = json.loads(file.read_text())
        assert row["bags"] == 2
        assert row["skill"] == pytest.approx(sum(row["skill_by_step"]) / len(row["skill_by_step"]), abs=0.01)


def test_without_a_length_nothing_is_trained(robot_bags: Path, tmp_path: Path) -> None:
    given = [
        "--bags",
        robot_bags,
        *TOPICS,
        "--robot",
        "r",
        "--bag-minutes",
        1,
        "--start",
        "nothing",
        "--out",
        tmp_path,
    ]
    result = CliRunner().invoke(main, [str(part) for part in given])
    assert result.exit_code == 2
    assert "--max-minutes or --steps: expected at least one, got none" in result.output
