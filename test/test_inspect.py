# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros inspect`` prints of checkpoints and of many bags."""

from __future__ import annotations

import json
from pathlib import Path

from bag_writer import IMAGE, START, robot_messages, write_bag
from test_cli import dd_ros


def test_inspecting_a_checkpoint_shows_what_it_is_and_then_its_card(tiny_checkpoint: Path) -> None:
    result = dd_ros("inspect", tiny_checkpoint)
    assert result.returncode == 0
    facts, _, card = result.stdout.partition(str(tiny_checkpoint / "README.md"))
    assert "48x32 at 10 Hz, /camera/image_raw" in facts
    assert "not evaluated" in facts
    assert "Random weights for tests" in card
    assert f"all settings: {tiny_checkpoint / 'config.yaml'}\n" in card
    assert "rate_hz" not in result.stdout


def test_inspecting_a_shipped_checkpoint_starts_with_what_matters() -> None:
    shown = dd_ros("inspect", "pusht").stdout.partition("README.md")[0]
    for text in (
        "PushT of gym-pusht",
        "pusher_x, pusher_y",
        "gate, error intervals",
        "+10.35 dB copy last",
        "1.60 s",
    ):
        assert text in shown, text
    assert shown.count("\n") < 20


def bag_rows(shown: str) -> list[list[str]]:
    """Cells of the table of bags."""
    lines = shown.partition("usable s")[2].splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_bags_that_are_alike_share_a_row(tmp_path: Path) -> None:
    for number in range(5):
        write_bag(tmp_path / f"drive_{number}", robot_messages(12 + number))
    write_bag(tmp_path / "wide", robot_messages(12, width=96, height=48))
    blind = [message for message in robot_messages(12) if message[1] != IMAGE]
    write_bag(tmp_path / "blind", blind)
    slow = [(t, k, START + 2 * (r - START), m) for t, k, r, m in robot_messages(12)]
    for _, _, received, message in slow:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(received, 10**9)
    write_bag(tmp_path / "slow", slow)
    topics = ("--image-topic", "/camera/image_raw", "--action-topic", "/action")
    result = dd_ros("inspect", tmp_path, *topics)
    assert result.returncode == 0, result.stderr
    assert bag_rows(result.stdout) == [
        ["blind", "0", "0.00", "", "12", "10.0", "0", "0.0", "1"],
        ["5: drive_0 .. drive_4", "12..16", "10.00", "48x32", "12..16", "10.0", "5", "7.0", "0"],
        ["slow", "12", "5.00", "48x32", "12", "5.0", "1", "2.3", "0"],
        ["wide", "12", "10.00", "96x48", "12", "10.0", "1", "1.2", "0"],
    ]
    assert len(json.loads(dd_ros("inspect", tmp_path, *topics, "--json", "-").stdout)["usable"]["bags"]) == 8
