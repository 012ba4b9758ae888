# SPDX-License-Identifier: Apache-2.0
"""The data curve: however few bags are trained on, those that are evaluated on are never among them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dd_ros.data.bags import find_bags
from dd_ros.data.split import split
from dd_ros_training.experiments.data_curve import main
from dd_ros_training.train import Run

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
    given = ["--image-topic", "/camera/image_raw", "--action-topic", "/action", "--minutes", "1"]
    more = ["--init", str(tiny_checkpoint), "--out", str(tmp_path / "curve")]
    with pytest.raises(AboutToTrain):
        CliRunner().invoke(main, ["--bags", str(tmp_path / "bags"), *given, *more], catch_exceptions=False)
    assert parts == [([name for name in NAMES if name != "kitchen"], ["kitchen"])]
