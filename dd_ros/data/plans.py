# SPDX-License-Identifier: Apache-2.0
"""Messages that hold commands for several times (ActionSequence, JointTrajectory) -> arrays and stamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError

NANOSECONDS = 1_000_000_000


def to_ns(time: Any) -> int:
    """Time or Duration message -> nanoseconds."""
    return time.sec * NANOSECONDS + time.nanosec


def sequence_actions(msg: Any, dim: int, name: str) -> NDArray[np.float64]:
    """Actions of an ActionSequence, [count, dim].

    Raises:
        InputError: another dimension, wrong length, no actions, NaN, infinity or a negative step.
    """
    if msg.dim != dim:
        raise InputError(f"{name}: expected {dim} action values, got {msg.dim}")
    if msg.count == 0 or len(msg.data) != msg.count * msg.dim:
        raise InputError(
            f"{name}: expected count * dim = {msg.count} * {msg.dim} numbers (not 0), got {len(msg.data)}"
        )
    values = np.frombuffer(msg.data, np.float32).astype(np.float64).reshape(msg.count, dim)
    if not np.isfinite(values).all() or not np.isfinite(msg.step) or msg.step < 0.0:
        raise InputError(
            f"{name}: expected finite action values and a step not below 0, got NaN, infinity or less"
        )
    return values


def sequence_stamps(msg: Any, start_ns: int, step_ns: int) -> list[int]:
    """Time of each action; a zero stamp means ``start_ns``, a zero step means ``step_ns``."""
    start = to_ns(msg.header.stamp) or start_ns
    step = round(msg.step * NANOSECONDS) or step_ns
    return [start + k * step for k in range(msg.count)]


def trajectory_actions(msg: Any, dim: int, *, names: Sequence[str], name: str) -> NDArray[np.float64]:
    """Positions of a JointTrajectory, [points, dim]; picked by joint name where all ``names`` are there.

    Raises:
        InputError: no points, or points of another dimension.
    """
    if not msg.points:
        raise InputError(f"{name}: expected at least one trajectory point, got none")
    known = bool(names) and set(names) <= set(msg.joint_names)
    order = [msg.joint_names.index(joint) for joint in names] if known else list(range(dim))
    rows = []
    for point in msg.points:
        expected = len(msg.joint_names) if known else dim
        if len(point.positions) != expected:
            raise InputError(f"{name}: expected {expected} positions per point, got {len(point.positions)}")
        rows.append([point.positions[index] for index in order])
    return np.asarray(rows, np.float64)


def trajectory_stamps(msg: Any, start_ns: int) -> list[int]:
    """Time of each point; a zero header stamp means ``start_ns``."""
    start = to_ns(msg.header.stamp) or start_ns
    return [start + to_ns(point.time_from_start) for point in msg.points]
