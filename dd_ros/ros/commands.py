# SPDX-License-Identifier: Apache-2.0
"""Commands executed so far and commands planned: one time line of actions. Thread safe, no rclpy."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError
from dd_ros.streams import JUMP_NS, ActionBuffer, JoinedActions


class Commands:
    """The action at any time: executed commands, then the plan, then the last command held.

    Args:
        dims: number of values from each action topic; the action vector is all of them, joined.
        mode: ``hold`` or ``linear``, as in ``StreamSpec.action_mode``.
    """

    def __init__(self, dims: Sequence[int], mode: str = "hold"):
        self._lock = threading.Condition()
        self._dim, self._mode = sum(dims), mode
        self._executed = JoinedActions([ActionBuffer(dim, mode, name="action") for dim in dims])
        self._plan: ActionBuffer | None = None
        self._plan_start = 0

    def push(self, stamp_ns: int, values: NDArray[np.float64], part: int = 0) -> None:
        """Add an executed command of action topic number ``part``; InputError for a wrong length, NaN or infinity."""
        with self._lock:
            self._executed.parts[part].push(stamp_ns, values)
            self._lock.notify_all()

    def set_plan(self, stamps_ns: Sequence[int], values: NDArray[np.float64]) -> None:
        """Replace the plan by commands ``values`` [n, dim] that begin at ``stamps_ns``.

        Raises:
            InputError: no commands, wrong length, NaN or infinity; the old plan stays then.
        """
        if len(stamps_ns) == 0:
            raise InputError("plan: expected at least one action, got none")
        plan = ActionBuffer(self._dim, self._mode, name="plan")
        for stamp, value in zip(stamps_ns, values, strict=True):
            plan.push(stamp, value)
        with self._lock:
            self._plan, self._plan_start = plan, min(stamps_ns)

    def at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Executed command in force at ``stamp_ns``, float32 [dim]; None before all topics have spoken."""
        with self._lock:
            return self._executed.at(stamp_ns)

    def wait_newer(self, stamp_ns: int, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for a command at or after ``stamp_ns`` from every topic.

        Until there is one, a command for ``stamp_ns`` may still be under way.
        """
        with self._lock:
            self._lock.wait_for(lambda: (self._executed.newest_ns or 0) >= stamp_ns, timeout)

    def ahead(self, stamp_ns: int, step_ns: int, count: int, hold: bool) -> NDArray[np.float32] | None:
        """Commands in force at ``stamp_ns + k * step_ns`` for k = 1..count, float32 [count, dim].

        Executed commands come before planned ones, planned ones before the last one held. None if
        some step has neither an executed nor a planned command and ``hold`` is off.
        """
        with self._lock:
            stamps = [stamp_ns + k * step_ns for k in range(1, count + 1)]
            values = [self._action(stamp, stamp_ns, hold) for stamp in stamps]
        if any(value is None for value in values):
            return None
        return np.stack([value for value in values if value is not None])

    def _action(self, stamp: int, now: int, hold: bool) -> NDArray[np.float32] | None:
        executed, plan = self._executed, self._plan
        if executed.newest_ns is not None and stamp <= executed.newest_ns:
            return executed.at(stamp)
        if (
            plan is not None
            and plan.newest_ns is not None
            and self._plan_start <= stamp
            and plan.newest_ns > now
        ):
            return plan.at(stamp)
        return executed.at(stamp) if hold else None

    def rewound(self, stamp_ns: int) -> None:
        """The clock went back to ``stamp_ns``: forget what belongs to the time before."""
        with self._lock:
            for part in self._executed.parts:
                if (part.newest_ns or 0) >= stamp_ns + JUMP_NS:
                    part.clear()
            if self._plan is not None and self._plan_start >= stamp_ns + JUMP_NS:
                self._plan = None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._executed.clear()
            self._plan = None

    @property
    def newest_ns(self) -> int | None:
        """Stamp up to which the executed commands of all topics are known."""
        return self._executed.newest_ns

    def silent(self, stamp_ns: int) -> list[int]:
        """Numbers of the action topics without a command as old as ``stamp_ns``."""
        with self._lock:
            return [number for number, part in enumerate(self._executed.parts) if part.at(stamp_ns) is None]

    @property
    def planned(self) -> bool:
        """Whether there is a plan, however old."""
        return self._plan is not None
