# SPDX-License-Identifier: Apache-2.0
"""What needs ROS 2. ``from dd_ros.ros import PredictionClient`` for programs that use predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dd_ros.ros.client import PredictionClient

__all__ = ["PredictionClient"]


def __getattr__(name: str) -> Any:
    """The client, imported when it is asked for: launch files need no rclpy."""
    if name != "PredictionClient":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from dd_ros.ros.client import PredictionClient

    return PredictionClient
