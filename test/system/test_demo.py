# SPDX-License-Identifier: Apache-2.0
"""The demo as users start it: real processes, real topics, a network of random weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bag_writer import robot_messages, write_bag
from harness import LAUNCH, PATIENCE, ROOT, environment, needs_launch, running

from dd_ros.demo.display_report import FILES as DISPLAY_FILES
from dd_ros.demo.report import FILES
from dd_ros.processes import free_domain

DEMO = [sys.executable, "-c", "from dd_ros.cli import main; main()", "demo"]


def demo(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``dd_ros demo`` for five seconds, on one thread per process."""
    command = [*DEMO, "--seconds", "5", "--out", str(out), *map(str, arguments)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)


def report(out: Path) -> dict[str, Any]:
    """The figures, once all files are there; images need a frame that was predicted and then came."""
    found = json.loads((out / "report.json").read_text())
    wanted = set(FILES) if any(found["psnr"]["count"]) else {"report.json", "report.md", "demo.mp4"}
    assert {path.name for path in out.iterdir()} >= wanted
    return found


def test_the_simulated_robot_is_predicted(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = demo(tmp_path / "out", "--checkpoint", tiny_checkpoint)
    assert result.returncode == 0, result.stderr
    found = report(tmp_path / "out")
    assert found["predictions"] >= 1  # a busy machine makes few of the fifty
    assert f"{found['predictions']} predictions" in result.stdout
    assert "report.md" in result.stdout
    assert found["horizon"] == 8
    assert found["image"] == [48, 32]
    assert 0 < found["age_ms"]["first_chunk"]["p50"] <= found["age_ms"]["horizon"]["max"]
    assert found["node"]["checkpoint"] == "tiny"
    logs = "".join(path.read_text() for path in (tmp_path / "out" / "logs").iterdir())
    assert "Traceback" not in logs


def test_a_bag_is_played_in_its_place(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(20))  # shorter than the demo: it is played again
    result = demo(tmp_path / "out", "--checkpoint", tiny_checkpoint, "--bag", bag)
    assert result.returncode == 0, result.stderr
    assert report(tmp_path / "out")["predictions"] >= 1
    assert (tmp_path / "out" / "logs" / "robot.log").read_text().count(f"playing {bag}") >= 2


def test_a_late_camera_is_made_up_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(60))
    result = demo(tmp_path / "out", "--checkpoint", tiny_checkpoint, "--bag", bag, "--delay", 0.2)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*DISPLAY_FILES, "logs"}
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert f"{found['moments']} moments" in result.stdout
    assert found["delay_s"] == 0.2
    assert found["age_ms"]["p50"] >= 200.0  # the delay is a real one, and stamps stay those of the camera
    assert found["ahead_ms"]["p50"] <= 100.0  # a frame for about now, not for some lead
    assert found["stale"]["rms"] > 0.0
    logs = "".join(path.read_text() for path in (tmp_path / "out" / "logs").iterdir())
    assert "Traceback" not in logs


def test_damaged_weights_end_the_demo_with_one_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_checkpoint.iterdir():
        (broken / path.name).write_bytes(path.read_bytes()[: 100 if path.suffix == ".safetensors" else None])
    result = demo(tmp_path / "out", "--checkpoint", broken)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "model.safetensors: damaged" in result.stderr


@needs_launch
def test_the_launch_file_records_until_ctrl_c(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "launch.log"
    command = [sys.executable, "-c", LAUNCH, str(ROOT / "launch" / "demo.launch.py")]
    command += [f"checkpoint:={tiny_checkpoint}", "device:=cpu", f"out:={out}", "namespace:=robot3"]
    with running(command, log, environment(free_domain())) as process:
        while max(map(int, re.findall(r" s: (\d+) predictions", log.read_text())), default=0) < 10:
            assert process.status is None, log.read_text()
            time.sleep(0.2)
        process.send(signal.SIGINT)  # as a terminal does
        assert process.wait(2 * PATIENCE) == 0
    assert report(out)["predictions"] > 0
    assert "Traceback" not in log.read_text()
