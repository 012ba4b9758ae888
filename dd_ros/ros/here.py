# SPDX-License-Identifier: Apache-2.0
"""Which ROS 2 a process has, for ``dd_ros doctor``: ``python -m dd_ros.ros.here`` prints it as JSON.

In a process of its own, for rcl ends the process where it cannot load the RMW that it is told to.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

WHEELS = ("jazzy", "kilted", "rolling")  # distributions that there are wheels of
PARTS = ("Request", "Response")  # of a service


def name() -> str:
    """Distribution, and its version where it is of Python wheels."""
    for distribution in WHEELS:
        with suppress(PackageNotFoundError):
            return f"{distribution} (rclpy {version(f'ros-{distribution}-rclpy')} of Python wheels)"
    return os.environ.get("ROS_DISTRO", "of an unknown distribution")


def message_fields() -> dict[str, list[str]]:
    """Fields of our messages as they are built here, by names such as ``PredictRollouts.Request``; ImportError without."""
    found = {}
    for kind in ("msg", "srv"):
        module = import_module(f"dd_ros_msgs.{kind}")
        for name in (name for name in dir(module) if not name.startswith("_")):
            for part in PARTS if kind == "srv" else ("",):
                message: Any = getattr(getattr(module, name), part, None) if part else getattr(module, name)
                if hasattr(message, "get_fields_and_field_types"):
                    found[".".join(filter(None, (name, part)))] = list(message.get_fields_and_field_types())
    return found


def here() -> dict[str, Any]:
    """Distribution (``ros``), RMW (``rmw``), whether there is launch_ros, and our ``messages``; why something is ``missing``."""
    try:
        import rclpy
    except ImportError as error:
        return {"missing": str(error)}
    found = {"ros": name(), "launch": find_spec("launch_ros") is not None}
    found["rmw"] = rclpy.get_rmw_implementation_identifier()
    try:
        return found | {"messages": message_fields()}
    except ImportError as error:
        return found | {"messages": {}, "missing": str(error)}


if __name__ == "__main__":
    print(json.dumps(here()))
