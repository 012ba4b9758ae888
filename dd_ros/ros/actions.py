# SPDX-License-Identifier: Apache-2.0
"""Action messages -> vectors. Reads messages by their fields alone, so live and bag agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError

TWIST = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
DEFAULT_FIELDS: dict[str, tuple[str, ...]] = {
    "geometry_msgs/msg/Twist": TWIST,
    "geometry_msgs/msg/TwistStamped": tuple(f"twist.{field}" for field in TWIST),
    "sensor_msgs/msg/JointState": ("position",),
    "trajectory_msgs/msg/JointTrajectory": ("points[0].positions",),
    "std_msgs/msg/Float32MultiArray": ("data",),
    "std_msgs/msg/Float64MultiArray": ("data",),
}
PART = re.compile(r"(\w+)((?:\[[^\]]*\])*)")


def action_values(msg: Any, msgtype: str, fields: Sequence[str] = ()) -> NDArray[np.float64]:
    """Action vector of a message.

    Args:
        msg: a message, from rclpy or from a bag.
        msgtype: its type, such as ``sensor_msgs/msg/JointState``.
        fields: fields in order, such as ``position[0:7]`` or ``twist.linear.x``; empty takes the
            type's default ones.

    Returns:
        float64 [A].

    Raises:
        InputError: unsupported type, no such field, or a message that is too short for it.
    """
    chosen = tuple(fields) or default_fields(msgtype)
    return np.concatenate([np.atleast_1d(field_value(msg, field)) for field in chosen])


def fields_for(msgtype: str, known_type: str | None, known_fields: Sequence[str]) -> tuple[str, ...]:
    """Fields of a message of ``msgtype`` where ``known_fields`` were chosen for ``known_type``.

    They mean nothing on another type, which gives its default fields (empty); None is any type.
    """
    return tuple(known_fields) if known_type in (None, msgtype) else ()


def default_fields(msgtype: str) -> tuple[str, ...]:
    """Fields of a type that make up its action; InputError for a type without such."""
    if msgtype not in DEFAULT_FIELDS:
        raise InputError(
            f"action type {msgtype}: expected one of {', '.join(sorted(DEFAULT_FIELDS))}, or name the action's fields"
        )
    return DEFAULT_FIELDS[msgtype]


def field_value(msg: Any, field: str) -> NDArray[np.float64]:
    """Value of one field, such as ``points[0].positions[1:3]``, as float64 scalar or vector."""
    value = msg
    for part in field.split("."):
        match = PART.fullmatch(part)
        if match is None:
            raise InputError(
                f"action field {field!r}: expected names with [index] or [from:to], such as position[0:7]"
            )
        name, indices = match.groups()
        if not hasattr(value, name):
            raise InputError(f"action field {field!r}: the message has no field {name!r}")
        value = getattr(value, name)
        for index in re.findall(r"\[([^\]]*)\]", indices):
            value = element(value, index, field)
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"action field {field!r}: expected numbers, got {type(value).__name__}") from error


def element(values: Sequence[Any], index: str, field: str) -> Any:
    """``values[index]`` for an index such as ``3`` or ``0:7``, which must lie within."""
    try:
        bounds = [int(bound) if bound else None for bound in index.split(":")]
        if len(bounds) == 1:
            return values[bounds[0]]  # type: ignore[index]
        start, stop = bounds
    except ValueError as error:
        raise InputError(f"action field {field!r}: expected [index] or [from:to], got [{index}]") from error
    except IndexError as error:
        raise InputError(
            f"action field {field!r}: the message has only {len(values)} values there"
        ) from error
    if stop is not None and stop > len(values):
        raise InputError(f"action field {field!r}: the message has only {len(values)} values there")
    return values[start:stop]


def stamp_ns(msg: Any) -> int | None:
    """Header stamp in nanoseconds; None without a header or with a stamp of zero."""
    header = getattr(msg, "header", None)
    if header is None:
        return None
    return (header.stamp.sec * 1_000_000_000 + header.stamp.nanosec) or None
