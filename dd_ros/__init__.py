# SPDX-License-Identifier: Apache-2.0
"""Real-time video prediction for robots: ``from dd_ros import Predictor``."""

import os
from typing import TYPE_CHECKING, Any

# Idle threads of a parallel loop sleep instead of spinning, as the rest of the robot needs the cores too: spinning
# beside one busy process, a horizon took up to 4 s on two cores instead of 0.14 s. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from dd_ros.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import the predictor (and with it torch) only when somebody asks for it."""
    if name == "Predictor":
        from dd_ros.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'dd_ros' has no attribute {name!r}")
