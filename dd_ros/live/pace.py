# SPDX-License-Identifier: Apache-2.0
"""Whether predictions keep up with the model's steps, and what the node does where they do not.

A prediction always starts from the newest frame. On a machine that takes longer for one than a model step lasts, the steps
that pass meanwhile are not predicted from. They are observed all the same, those the context holds: older ones were
overwritten (skipped).
"""

from __future__ import annotations

import statistics
from collections import deque

REMEMBERED = (
    8  # predictions until the pace is judged; by their median, so that a pause of the machine does not count
)


class Pace:
    """How long predictions take, and how many steps apart they are.

    Args:
        step_ms: the model step in milliseconds.
    """

    def __init__(self, step_ms: float):
        self._step_ms = step_ms
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._strides: deque[int] = deque(maxlen=REMEMBERED)
        self._last: int | None = None

    def restart(self) -> None:
        """Steps are counted anew: the next prediction is no number of steps after the last one."""
        self._last = None

    def predicted(self, step: int, milliseconds: float) -> None:
        """A prediction from model step ``step`` took that long."""
        self._took.append(milliseconds)
        if self._last is not None:
            self._strides.append(step - self._last)
        self._last = step

    def complaint(self, rate: float) -> str | None:
        """Why not every step is predicted, where the device is the reason.

        Args:
            rate: predictions per second that are wanted at most; 0: one per step.
        """
        if len(self._strides) < REMEMBERED:
            return None
        took = statistics.median(self._took)
        if took <= max(self._step_ms, 1e3 / rate if rate else 0.0):
            return None
        stride = max(2, round(statistics.median(self._strides)))
        return (
            f"predicts every {ordinal(stride)} step: this device takes {took:.0f} ms per prediction, the model step is "
            f"{self._step_ms:.0f} ms"
        )


def ordinal(number: int) -> str:
    """2 -> 2nd, 11 -> 11th."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else endings.get(number % 10, 'th')}"
