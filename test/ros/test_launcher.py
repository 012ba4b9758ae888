# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros demo`` starts, and what it says when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bag_writer import COMPRESSED, IMAGE, compressed, make_frame, robot_messages, write_bag
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint
from dd_ros.config import ActionSpec
from dd_ros.errors import InputError
from dd_ros.processes import Process, started
from dd_ros.ros.demo.launcher import died, finished, progress, recorded, run, simulated


@contextmanager
def program(name: str, code: str, folder: Path) -> Iterator[Process]:
    """A process of this Python that has run ``code`` and ended."""
    with started({name: [sys.executable, "-c", code]}, folder, os.environ) as processes:
        assert processes[name].wait(60.0) is not None
        yield processes[name]


def test_a_checkpoint_of_another_robot_needs_a_bag(tmp_path: Path) -> None:
    config = tiny_config(action=ActionSpec(dim=3, mean=(0.0,) * 3, std=(1.0,) * 3))
    save_checkpoint(tmp_path / "three", config, random_model(config), card="# three\n")
    with pytest.raises(InputError, match=r"expected 2 action values .* got 3; .* --bag"):
        simulated(str(tmp_path / "three"))


def test_without_the_simulator_a_bag_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    cure = r"gym_pusht: not installed; run 'make setup' .* or pip install '\.\[demo\]' there, or .* --bag"
    with pytest.raises(InputError, match=cure):
        simulated("pusht")


def test_an_unknown_checkpoint_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint 'nowhere'"):
        run(seconds=5.0, out=tmp_path / "out", checkpoint="nowhere")
    assert not (tmp_path / "out").exists()


def test_a_camera_later_than_the_horizon_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"--delay 0.8: expected less than the 0.80 s that checkpoint .* looks"
    ):
        run(seconds=5.0, out=tmp_path / "out", checkpoint=str(tiny_checkpoint), delay=0.8)
    assert not (tmp_path / "out").exists()


def test_a_bag_brings_its_own_topics(tiny_checkpoint: Path, tmp_path: Path) -> None:
    messages = robot_messages(3)
    write_bag(tmp_path / "raw", messages)
    assert recorded(tmp_path / "raw", str(tiny_checkpoint)).image_transport == "raw"
    images = [(m[0], COMPRESSED, m[2], compressed(m[2], make_frame(0))) for m in messages if m[1] == IMAGE]
    write_bag(tmp_path / "bag", [m for m in messages if m[1] != IMAGE] + images)
    scene = recorded(tmp_path / "bag", str(tiny_checkpoint))
    assert (scene.image_topic, scene.action_topics) == ("/camera/image_raw", ("/action",))
    assert scene.image_transport == "compressed"


def test_a_bag_without_the_topics_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", [m for m in robot_messages(3) if m[1] == IMAGE])
    with pytest.raises(InputError, match=r"no messages of /action; it holds /camera/image_raw"):
        recorded(tmp_path / "bag", str(tiny_checkpoint))


def test_a_dead_process_is_named_with_its_last_words(tmp_path: Path) -> None:
    with program("robot", "print('first\\n\\nno such thing'); raise SystemExit(3)", tmp_path) as robot:
        log = tmp_path / "robot.log"
        assert died(robot) == f"the robot ended with status 3: no such thing (log: {log})"
    with program("predictor", "import os; os.kill(os.getpid(), 9)", tmp_path) as predictor:
        assert died(predictor).startswith("the predictor ended with status -9: it said nothing (log: ")


def test_bad_input_that_a_process_complains_of_is_passed_on(tmp_path: Path) -> None:
    with (
        program("robot", "print('no such thing'); raise SystemExit(2)", tmp_path) as robot,
        pytest.raises(InputError, match=r"^no such thing$"),
    ):
        died(robot)


def test_a_recorder_that_failed_is_told_from_one_that_is_done(tmp_path: Path) -> None:
    with program("recorder", "", tmp_path) as done:
        assert finished(done) is None
    with program("recorder", "raise SystemExit(1)", tmp_path) as failed:
        assert "the recorder ended with status 1" in str(finished(failed))


def test_progress_is_the_recorders_last_line(tmp_path: Path) -> None:
    with program("recorder", "", tmp_path) as silent:
        assert "starting" in progress(silent)
    line = "[INFO] [1795407002.5] [recorder]: 5 s: 42 predictions"
    with program("recorder", f"print({line!r})", tmp_path) as recording:
        assert progress(recording) == "5 s: 42 predictions"


def test_the_console_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from dd_ros.cli import main; main()", "demo", "--checkpoint", "nowhere"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
