# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros demo`` starts, and what it says when it cannot."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bag_writer import COMPRESSED, IMAGE, compressed, make_frame, robot_messages, write_bag
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint
from dd_ros.config import ActionSpec
from dd_ros.errors import InputError
from dd_ros.ros.demo.launcher import (
    died,
    environment,
    interruptible,
    progress,
    recorded,
    run,
    simulated,
    started,
)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def test_a_checkpoint_of_another_robot_needs_a_bag(tmp_path: Path) -> None:
    config = tiny_config(action=ActionSpec(dim=3, mean=(0.0,) * 3, std=(1.0,) * 3))
    save_checkpoint(tmp_path / "three", config, random_model(config), "# three\n")
    with pytest.raises(InputError, match=r"expected 2 action values .* got 3; .* --bag"):
        simulated(str(tmp_path / "three"))


def test_an_unknown_checkpoint_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint 'nowhere'"):
        run(5.0, tmp_path / "out", None, "nowhere")
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


def test_processes_are_gone_afterwards_even_stubborn_ones(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dd_ros.ros.demo.launcher.STOP_TIME", 2.0)
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
    commands = {"stubborn": [sys.executable, "-c", stubborn], "quick": [sys.executable, "-c", "pass"]}
    with started(commands, logs, environment(1)) as processes:
        while "here" not in (logs / "stubborn.log").read_text():
            assert processes["stubborn"].poll() is None
    assert processes["stubborn"].returncode == -signal.SIGKILL
    assert processes["quick"].returncode is not None


def test_a_dead_process_is_named_with_its_last_words(logs: Path) -> None:
    (logs / "robot.log").write_text("first\n\nno such thing\n")
    assert died("robot", 3, logs).startswith("the robot ended with status 3: no such thing (log: ")
    assert "said nothing" in died("predictor", -9, logs)
    with pytest.raises(InputError, match=r"^no such thing$"):
        died("robot", 2, logs)


def test_progress_is_the_recorders_last_line(logs: Path) -> None:
    assert "starting" in progress(logs)
    (logs / "recorder.log").write_text("[INFO] [1795407002.5] [recorder]: 5 s: 42 predictions\n")
    assert progress(logs) == "5 s: 42 predictions"


def test_sigterm_is_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_console_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from dd_ros.cli import main; main()", "demo", "--checkpoint", "nowhere"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
