# SPDX-License-Identifier: Apache-2.0
"""Real-time video prediction for robots: ``from dd_ros import Predictor``.

Import it before torch. Idle threads of a parallel loop shall sleep instead of spinning, as the rest of the robot needs the
cores too, and torch's OpenMP reads ``OMP_WAIT_POLICY`` only once, when torch is loaded: spinning beside one busy process,
a horizon took up to 4 s on two cores instead of 0.14 s. Importing ``dd_ros`` sets it unless it is set already, and warns
where torch was faster.
"""

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if "torch" in sys.modules:
        warnings.warn(
            "torch was imported before dd_ros: its idle threads spin, and predictions on a busy CPU take 3 to 15 times as "
            "long; import dd_ros first, or set OMP_WAIT_POLICY=PASSIVE in the environment",
            RuntimeWarning,
            stacklevel=2,
        )

if TYPE_CHECKING:
    from dd_ros.evaluation.film import show
    from dd_ros.predictor import Predictor

__all__ = ["Predictor", "show"]


def __getattr__(name: str) -> Any:
    """Import the predictor (and with it torch) only when somebody asks for it."""
    if name == "Predictor":
        from dd_ros.predictor import Predictor

        return Predictor
    if name == "show":
        from dd_ros.evaluation.film import show

        return show
    raise AttributeError(f"module 'dd_ros' has no attribute {name!r}")
