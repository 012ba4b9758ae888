# SPDX-License-Identifier: Apache-2.0
"""``--json`` of every command that reports: what it printed as data, in a file or alone on stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from bag_writer import robot_messages, write_bag
from click.testing import CliRunner
from lerobot_writer import Writer

from dd_ros.cli import main
from dd_ros.predictor import Predictor

SILENT = {"completion", "view"}  # commands that print no figures


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "episode_000004", robot_messages(24))


def printed(*arguments: object) -> dict[str, Any]:
    """What the command prints with ``--json -``, which must be all that is on stdout."""
    found = CliRunner().invoke(main, [*map(str, arguments), "--json", "-"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_every_command_that_reports_has_it() -> None:
    for name, command in main.commands.items():
        options = [parameter.name for parameter in command.params]
        assert ("json_path" in options) == (name not in SILENT), name


def test_a_bag(bag: Path, tmp_path: Path) -> None:
    found = printed("inspect", bag)
    assert found["kind"] == "bags"
    assert found["bags"] == [str(bag)]
    assert [row["topic"] for row in found["topics"]] == ["/action", "/camera/image_raw"]
    image = found["topics"][1]
    assert (image["messages"], image["content"]) == (24, "image 48x32 rgb8")
    assert image["rate_hz"] == pytest.approx([10.0, 10.0])
    assert found["problems"] == []
    assert found["training"]["image_topic"] == "/camera/image_raw"
    assert found["usable"] == {
        "episodes": 1, "seconds": pytest.approx(2.4),
        "bags": [{"path": str(bag), "episodes": 1, "seconds": pytest.approx(2.4)}],
    }  # fmt: skip
    file = tmp_path / "made" / "inspect.json"
    shown = CliRunner().invoke(main, ["inspect", str(bag), "--json", str(file)])
    assert json.loads(file.read_text()) == found
    assert "usable: 1 episodes, 2.4 s" in shown.stdout


def test_a_bag_where_a_choice_is_open(tmp_path: Path) -> None:
    arm = [("/arm", k, r, m) for t, k, r, m in robot_messages(12) if t == "/action"]
    messages = sorted(robot_messages(12) + arm, key=lambda message: message[2])
    found = printed("inspect", write_bag(tmp_path / "bag", messages))
    assert found["training"] is None
    assert "--action-topic: expected one topic" in found["problems"][-1]


def test_a_lerobot_data_set(tmp_path: Path) -> None:
    path = Writer(tmp_path / "set").write()
    found = printed("inspect", path)
    assert (found["kind"], found["episodes"], found["frames"]) == ("lerobot", 3, 120)
    assert found["features"]["action"]["content"] == "3 values: lift, turn, grip"
    assert found["training"]["image_topic"] == "observation.images.top"


def test_a_checkpoint(tiny_checkpoint: Path) -> None:
    found = printed("inspect", tiny_checkpoint)
    assert (found["kind"], found["problems"]) == ("checkpoint", [])
    assert found["settings"]["streams"]["rate_hz"] == 10.0


def test_a_checkpoint_with_damaged_settings_is_shown_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    found = printed("inspect", tmp_path)
    assert found["settings"] is None
    assert "config.yaml: streams: Field required" in found["problems"][0]


def test_predictions(bag: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "video.mp4"
    found = printed("predict", "--checkpoint", tiny_checkpoint, "--bag", bag, "--out", out)
    assert found == {
        "checkpoint": "tiny", "bag": str(bag), "video": str(out), "recording": None, "frames": 24, "seconds": 2.4, "fps": 10.0,
        "episodes": 1, "leads_s": [0.2, 0.4, 0.8],
    }  # fmt: skip


def test_an_evaluation(bag: Path, tiny_checkpoint: Path) -> None:
    found = printed("evaluate", "--checkpoint", tiny_checkpoint, "--bags", bag)
    assert found["steps"] == list(range(1, 9))
    assert "psnr" in found["mean"]["model"]


def test_a_benchmark(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dd_ros.benchmark import latency

    few = lambda *given, **settings: measure(*given, **(settings | {"seconds": 0.1, "rivals": ()}))  # noqa: E731
    measure = latency.measure
    monkeypatch.setattr(latency, "measure", few)  # minutes less
    found = printed("bench", "--checkpoint", tiny_checkpoint, "--device", "cpu")
    assert found["checkpoint"] == "tiny"
    assert found["latency_ms"]["horizon"]["p50"] > 0.0
    assert found["horizon"] == Predictor.load(tiny_checkpoint, "cpu").horizon


def test_stdout_is_named_in_the_help() -> None:
    for name in set(main.commands) - SILENT:
        with click.Context(main.commands[name]) as context:
            assert "- is stdout" in " ".join(main.commands[name].get_help(context).split())
