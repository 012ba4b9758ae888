# SPDX-License-Identifier: Apache-2.0
"""Environment of nodes that are started here: a domain of their own, and a transport on which large images arrive complete."""

from __future__ import annotations

import os

from dd_ros.resources import shared_file

# Fast DDS 3 (Kilted and later) reads the first, Fast DDS 2 the second.
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
# Message type of a camera, by the parameter image_transport.
TRANSPORT_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
OLD_DISTROS = ("humble", "iron", "jazzy")


def profile_variable() -> str:
    """Name of the variable that this distribution's Fast DDS reads its profile from."""
    return VARIABLES[os.environ.get("ROS_DISTRO", "") in OLD_DISTROS]


def profile_environment() -> dict[str, str]:
    """Variable that makes child processes use ``config/fastdds.xml``; empty if a profile is set already.

    Raises:
        FileNotFoundError: the profile is not installed.
    """
    if any(os.environ.get(variable) for variable in VARIABLES):
        return {}
    return {profile_variable(): str(shared_file("config/fastdds.xml"))}


def node_environment(domain: int) -> dict[str, str]:
    """Environment of programs that see only each other: this one's, with the profile and ``domain``; output unbuffered."""
    return {**os.environ, **profile_environment(), "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"}
