# SPDX-License-Identifier: Apache-2.0
"""Messages that hold commands for several times (ActionSequence, JointTrajectory) -> arrays and stamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError

NANOSECONDS = 1_000_000_000
LONGEST_STEP = 3600.0  # s from one action of a sequence to the next; more is a wrong unit
MOST_ACTIONS = 1_000_000  # of a plan; nobody means to take more of them, and they are kept
LAST_NS = 2**63 - 1  # nanoseconds are kept in 64 bits


def to_ns(time: Any) -> int:
    """Time or Duration message -> nanoseconds."""
    return time.sec * NANOSECONDS + time.nanosec


def sequence_actions(msg: Any, dim: int, name: str) -> NDArray[np.float64]:
    """Actions of an ActionSequence, [count, dim].

    Raises:
        InputError: another dimension, wrong length, no actions or more than MOST_ACTIONS, NaN or infinity.
    """
    if msg.dim != dim:
        raise InputError(f"{name}: expected {dim} action values, got {msg.dim}")
    if msg.count == 0 or len(msg.data) != msg.count * msg.dim:
        raise InputError(
            f"{name}: expected count * dim = {msg.count} * {msg.dim} numbers (not 0), got {len(msg.data)}"
        )
    check_count(msg.count, name)
    values = np.frombuffer(msg.data, np.float32).astype(np.float64).reshape(msg.count, dim)
    if not np.isfinite(values).all():
        raise InputError(f"{name}: expected finite action values, got NaN or infinity")
    return values


def check_count(count: int, name: str) -> None:
    """InputError for more actions than a plan may have."""
    if count > MOST_ACTIONS:
        raise InputError(f"{name}: expected at most {MOST_ACTIONS} actions, got {count}")


def sequence_stamps(msg: Any, start_ns: int, step_ns: int, *, name: str) -> NDArray[np.int64]:
    """Time of each action of an ActionSequence, int64 [count]; a zero stamp means ``start_ns``, a zero step ``step_ns``.

    Raises:
        InputError: a step that is negative, above LONGEST_STEP, below a nanosecond or no number; times after LAST_NS.
    """
    if not (msg.step == 0.0 or 1.0 / NANOSECONDS <= msg.step <= LONGEST_STEP):  # nor NaN
        raise InputError(
            f"{name}: expected a step of 1e-9 to {LONGEST_STEP:g} s, or 0 for a model step, got {msg.step:g} s"
        )
    start = to_ns(msg.header.stamp) or start_ns
    step = round(msg.step * NANOSECONDS) or step_ns
    last = start + (msg.count - 1) * step
    if last > LAST_NS:
        raise InputError(
            f"{name}: expected times before the year 2262, got {msg.count} actions {msg.step:g} s apart "
            f"from {start / NANOSECONDS:.0f} s on"
        )
    return start + step * np.arange(msg.count, dtype=np.int64)


def trajectory_actions(msg: Any, dim: int, *, names: Sequence[str], name: str) -> NDArray[np.float64]:
    """Positions of a JointTrajectory, [points, dim]; picked by joint name in the order ``names``, all of which are there.

    Without ``names`` they are taken as they stand.

    Raises:
        InputError: no points or more than MOST_ACTIONS, points of another dimension, NaN or infinity.
    """
    if not msg.points:
        raise InputError(f"{name}: expected at least one trajectory point, got none")
    check_count(len(msg.points), name)
    expected = len(msg.joint_names) if names else dim
    for index, point in enumerate(msg.points):
        if len(point.positions) != expected:
            raise InputError(
                f"{name}: expected {expected} positions per point, got {len(point.positions)} (points[{index}])"
            )
    values = np.array([point.positions for point in msg.points], np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name}: expected finite positions, got NaN or infinity")
    return values[:, [msg.joint_names.index(joint) for joint in names]] if names else values


def trajectory_stamps(msg: Any, start_ns: int) -> NDArray[np.int64]:
    """Time of each point, int64 [points]; a zero header stamp means ``start_ns``."""
    start = to_ns(msg.header.stamp) or start_ns
    return np.array([start + to_ns(point.time_from_start) for point in msg.points], np.int64)
