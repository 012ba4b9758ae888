# SPDX-License-Identifier: Apache-2.0
"""Shared memory of dead programs is cleared, that of the living stays."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dd_ros.processes import Process, free_domain, started
from dd_ros.ros.shared_memory import FOLDER, clear_dead_segments
from dd_ros.ros.transport import node_environment

LIFE = "import rclpy, time; rclpy.init(); node = rclpy.create_node('alive'); print('alive', flush=True); time.sleep(600)"
SEGMENT_BYTES = 64 << 20  # of config/fastdds.xml


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[dict[str, Process]]:
    """Two programs in ROS, each with a segment."""
    command = [sys.executable, "-c", LIFE]
    env = node_environment(free_domain())
    with started({"one": command, "other": command}, tmp_path, env, patience=5.0) as processes:
        for process in processes.values():
            while "alive" not in process.log.read_text():
                assert process.status is None, process.log.read_text()
                time.sleep(0.02)
        yield processes
    clear_dead_segments(older_than=0.0)


def segment(process: Process) -> Path:
    """The large segment of a living program: it has the lock open. Those of others that it reads are mapped, too."""
    files = [os.readlink(link) for link in Path(f"/proc/{process.popen.pid}/fd").iterdir()]
    owned = [Path(name.removesuffix("_el")) for name in files if re.fullmatch(rf"{FOLDER}/fast.*_el", name)]
    return next(path for path in owned if path.stat().st_size >= SEGMENT_BYTES)


def test_only_the_dead_of_the_same_user_lose_their_segments(programs: dict[str, Process]) -> None:
    dead, alive = segment(programs["one"]), segment(programs["other"])
    os.utime(dead.with_name(f"{dead.name}_el"))  # nodes that start meanwhile leave the young alone
    programs["one"].send(signal.SIGKILL)
    programs["one"].wait(10.0)
    clear_dead_segments(owner=os.geteuid() + 1, older_than=0.0)
    clear_dead_segments(older_than=3600.0)
    assert dead.exists()
    assert clear_dead_segments(older_than=0.0) >= SEGMENT_BYTES
    assert not dead.exists()
    assert not dead.with_name(f"{dead.name}_el").exists()
    assert alive.exists()
    assert alive.with_name(f"{alive.name}_el").exists()
