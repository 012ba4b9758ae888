# SPDX-License-Identifier: Apache-2.0
"""``dd_ros doctor`` as a user runs it: all lines, their JSON, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from dd_ros.doctor.command import attempted, findings, size_of
from dd_ros.doctor.finding import Finding, Level
from dd_ros.resources import shared_file
from dd_ros.ros.transport import profile_variable

CHECKS = [
    "dd_ros", "packages", "extras", "files", "ros", "messages", "transport", "shared memory", "images", "gpu",
    "checkpoint", "speed", "threads", "memory",
]  # fmt: skip


def doctor(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    code = "from dd_ros.cli import main; main()"
    environment = os.environ | {profile_variable(): str(shared_file("config/fastdds.xml"))} | variables
    return subprocess.run(
        [sys.executable, "-c", code, "doctor", *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_line_for_each_check_and_the_same_as_json(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = doctor("--checkpoint", tiny_checkpoint, "--json", tmp_path / "doctor.json")
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads((tmp_path / "doctor.json").read_text())
    assert found["healthy"]
    assert [check["check"] for check in found["checks"]] == CHECKS
    lines = result.stdout.splitlines()
    assert len(lines) == len(CHECKS)
    for line, check in zip(lines, found["checks"], strict=True):
        assert line.split()[0] == check["level"]
        assert check["text"] in line
        assert check["cure"] in line
    assert "48x32" in lines[CHECKS.index("images")]


def test_without_ros_the_rest_is_looked_at_and_what_fails_is_the_status(tmp_path: Path) -> None:
    (tmp_path / "rclpy.py").write_text("raise ModuleNotFoundError('none')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = doctor("--checkpoint", "nowhere", "--json", "-", PYTHONPATH=path)
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert not found["healthy"]
    levels = {check["check"]: check["level"] for check in found["checks"]}
    assert levels["ros"] == "WARN"
    assert levels["checkpoint"] == "FAIL"
    assert not {"messages", "transport", "images"} & levels.keys()
    assert "FAIL  checkpoint: checkpoint 'nowhere'" in result.stderr


def test_sizes_that_are_none() -> None:
    for size in ("640", "0x3", "axb", "640x-1"):
        result = doctor("--image", size)
        assert result.returncode == 2
        assert "expected a width and height such as 640x480" in result.stderr


def test_a_check_that_fails_itself_ends_no_other() -> None:
    def broken() -> Finding:
        raise RuntimeError("of all things")

    [found] = attempted("gpu", broken)
    assert found == Finding("gpu", Level.FAIL, "the check itself failed: RuntimeError: of all things")

    def absent() -> Finding:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    [found] = attempted("gpu", absent)
    assert "without torch" in found.text


def test_the_size_of_the_images_is_the_checkpoints(tiny_checkpoint: Path) -> None:
    assert size_of(str(tiny_checkpoint)) == (48, 32)
    assert size_of("nowhere") == (640, 480)
    first = next(findings(str(tiny_checkpoint), None, os.environ))
    assert first.check == "dd_ros"
