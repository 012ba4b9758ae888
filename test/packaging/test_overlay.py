# SPDX-License-Identifier: Apache-2.0
"""An environment made on a sourced ROS 2 remembers it (scripts/overlay.py), in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

OVERLAY = Path(__file__).parents[2] / "scripts/overlay.py"
ASK = (
    "import os, sys; names = ('LD_LIBRARY_PATH', 'PYTHONPATH', 'AMENT_PREFIX_PATH', 'ROS_DISTRO'); "
    "print(*[os.environ.get(n, '') for n in names], sys.argv[1:], sep='\\n')"
)


def ask(python: Path, **environment: str) -> list[str]:
    """Paths and arguments as a Python of that environment sees them, started with ``environment`` only."""
    result = subprocess.run(
        [python, "-c", ASK, "an argument"], env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that was made with /ros sourced."""
    prefix = tmp_path_factory.mktemp("environment")
    venv.create(prefix)
    sourced = {
        "LD_LIBRARY_PATH": "/ros/lib",
        "PYTHONPATH": "/ros/python",
        "AMENT_PREFIX_PATH": "/ros",
        "ROS_DISTRO": "jazzy",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",  # this very interpreter may be one of the wheels'
    }
    record = subprocess.run(
        [sys.executable, "-I", OVERLAY, prefix], env=sourced, capture_output=True, text=True, check=True
    )
    [site] = prefix.glob("lib/python*/site-packages")
    (site / "dd_ros_overlay.json").write_text(record.stdout)
    (site / "dd_ros_overlay.py").write_text(OVERLAY.read_text())
    (site / "dd_ros_overlay.pth").write_text("import dd_ros_overlay\n")
    assert json.loads(record.stdout)["ROS_DISTRO"] == "jazzy"
    return prefix / "bin/python"


def test_nothing_sourced(python: Path) -> None:
    prefix = python.parent.parent
    assert ask(python) == [
        f"{prefix}/lib:/ros/lib",
        "/ros/python",
        f"{prefix}:/ros",
        "jazzy",
        "['an argument']",
    ]


def test_what_is_set_stays_behind_what_was_recorded(python: Path) -> None:
    seen = ask(python, PYTHONPATH="/mine", LD_LIBRARY_PATH="/cuda")
    prefix = python.parent.parent
    assert seen[:2] == [f"{prefix}/lib:/ros/lib:/cuda", "/ros/python:/mine"]


def test_complete_environment_is_left_alone(python: Path) -> None:
    prefix = python.parent.parent
    complete = {
        "LD_LIBRARY_PATH": f"/first:{prefix}/lib:/ros/lib",
        "PYTHONPATH": "/first:/ros/python",
        "AMENT_PREFIX_PATH": f"/first:{prefix}:/ros",
        "CMAKE_PREFIX_PATH": f"{prefix}{os.pathsep}",
        "ROS_DISTRO": "jazzy",
    }
    assert ask(python, **complete)[:3] == [
        complete[n] for n in ("LD_LIBRARY_PATH", "PYTHONPATH", "AMENT_PREFIX_PATH")
    ]
