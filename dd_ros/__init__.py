# SPDX-License-Identifier: Apache-2.0
"""Real-time video prediction for robots: ``from dd_ros import Predictor``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dd_ros.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import the predictor (and with it torch) only when somebody asks for it."""
    if name == "Predictor":
        from dd_ros.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'dd_ros' has no attribute {name!r}")
