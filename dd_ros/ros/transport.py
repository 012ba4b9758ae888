# SPDX-License-Identifier: Apache-2.0
"""The transport profile under which large images arrive complete."""

from __future__ import annotations

import os
from pathlib import Path

from dd_ros.checkpoint import share_folders

# Fast DDS 3 (Kilted and later) reads the first, Fast DDS 2 the second.
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
OLD_DISTROS = ("humble", "iron", "jazzy")


def profile_path() -> Path | None:
    """``config/fastdds.xml`` of this package; None if it was not installed."""
    paths = (folder / "config" / "fastdds.xml" for folder in share_folders())
    return next((path for path in paths if path.is_file()), None)


def profile_environment() -> dict[str, str]:
    """Environment variable that makes child processes use the profile; empty if a profile is set already."""
    path = profile_path()
    if path is None or any(os.environ.get(variable) for variable in VARIABLES):
        return {}
    return {VARIABLES[os.environ.get("ROS_DISTRO", "") in OLD_DISTROS]: str(path)}
