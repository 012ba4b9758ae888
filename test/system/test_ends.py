# SPDX-License-Identifier: Apache-2.0
"""Signals in every phase of a program's life: status 0, no traceback."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest
from harness import environment

from dd_ros.benchmark.ends import PHASES, catches, ends
from dd_ros.processes import free_domain, started


def test_the_node_ends_cleanly_whenever_a_signal_comes(tiny_checkpoint: Path) -> None:
    found = list(ends(tiny_checkpoint, 2 * len(PHASES), seed=3))
    assert {end.plan.phase for end in found} == set(PHASES)
    assert all(end.clean for end in found), "\n".join(map(str, found))


@pytest.mark.parametrize("publishing", [False, True])
def test_the_robot_of_the_demo_ends_cleanly(tmp_path: Path, publishing: bool) -> None:
    script = (
        "import sys, time\n"
        "from dd_ros.ros.demo import robot\n"
        "step = robot.PushtRobot._step\n"
        "def said(*args, **kwargs):\n    print('publishing', flush=True)\n    step(*args, **kwargs)\n"
        "robot.PushtRobot._step = said\n"
        "from dd_ros.ros.signals import leave\n"
        "leave(robot.main(['--ros-args']))\n"
    )
    command = [sys.executable, *(["-c", script] if publishing else ["-m", "dd_ros.ros.demo.robot"])]
    with started({"robot": command}, tmp_path, environment(free_domain())) as processes:
        robot = processes["robot"]
        while not ("publishing" in robot.log.read_text() if publishing else catches(robot, signal.SIGTERM)):
            assert robot.status is None, robot.log.read_text()
            time.sleep(0.02)
        for _ in range(2):
            robot.send(signal.SIGTERM)
        assert robot.wait(60.0) == 0, robot.log.read_text()
        assert "Traceback" not in robot.log.read_text()
