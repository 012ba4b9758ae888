# SPDX-License-Identifier: Apache-2.0
"""Lets every Python of a virtual environment find the ROS 2 that the environment was made on.

scripts/setup.sh copies this file into environments made inside a sourced ROS 2, with a .pth file that
imports it at every start, and records the paths of that ROS 2 in ``dd_ros_overlay.json``. The loader
reads LD_LIBRARY_PATH only when a process starts, so Python is executed once more where it lacked paths.
The environment's own libraries (dd_ros_msgs) come first.

Run as a script, it prints the record to make: the path variables of the sourced shell as JSON.
"""

import json
import os
import sys
from pathlib import Path

GUARD = "DD_ROS_OVERLAY"
RECORD = Path(__file__).with_name("dd_ros_overlay.json")
PATHS = ("LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "PYTHONPATH")
VALUES = ("ROS_DISTRO", "ROS_VERSION", "ROS_PYTHON_VERSION")


def record(prefix: str) -> dict[str, str]:
    """The variables to restore, with those of the environment at ``prefix`` in front."""
    own = {"LD_LIBRARY_PATH": f"{prefix}/lib"} | dict.fromkeys(PATHS[1:3], prefix)
    found = {}
    for name in PATHS:
        entries = [own.get(name, ""), *os.environ.get(name, "").split(os.pathsep)]
        found[name] = os.pathsep.join(dict.fromkeys(entry for entry in entries if entry))
    return found | {name: os.environ[name] for name in VALUES if name in os.environ}


def missing(saved: dict[str, str]) -> dict[str, str]:
    """What the present environment lacks; paths keep what is there behind what was recorded."""
    changes = {}
    for name, value in saved.items():
        here = os.environ.get(name, "")
        if name in PATHS:
            entries = [entry for entry in here.split(os.pathsep) if entry]
            if not set(value.split(os.pathsep)) <= set(entries):
                joined = dict.fromkeys([*value.split(os.pathsep), *entries])
                changes[name] = os.pathsep.join(entry for entry in joined if entry)
        elif not here:
            changes[name] = value
    return changes


def apply() -> None:
    """Execute this Python again with the recorded paths, unless they are there (or were just set)."""
    saved = json.loads(RECORD.read_text())
    changes = missing(saved)
    if changes and os.environ.get(GUARD) != sys.prefix:
        environment = os.environ | changes | {GUARD: sys.prefix}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


if __name__ == "__main__":
    print(json.dumps(record(sys.argv[1]), indent=1))
elif RECORD.is_file():
    apply()
