# SPDX-License-Identifier: Apache-2.0
"""Action messages -> vectors. Reads messages by their fields alone, so live and bag agree."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError, meant

TWIST = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
DEFAULT_FIELDS: dict[str, tuple[str, ...]] = {
    "geometry_msgs/msg/Twist": TWIST,
    "geometry_msgs/msg/TwistStamped": tuple(f"twist.{field}" for field in TWIST),
    "sensor_msgs/msg/JointState": ("position",),
    "trajectory_msgs/msg/JointTrajectory": ("points[0].positions",),
    "std_msgs/msg/Float32MultiArray": ("data",),
    "std_msgs/msg/Float64MultiArray": ("data",),
}
MOST_FIELDS = 12  # that an error lists
PART = re.compile(r"(\w+)((?:\[[^\]]*\])*)")
NUMERIC = re.compile(r"-?\d+|-?\d*:-?\d*")
# Arrays with a value for each joint that the message names.
PER_JOINT = {"position", "velocity", "effort", "positions", "velocities", "accelerations"}


class OtherJointsError(InputError):
    """A message of other joints than those wanted."""


def action_values(
    msg: Any, msgtype: str, fields: Sequence[str] = (), *, order: Sequence[str] = ()
) -> NDArray[np.float64]:
    """Action vector of a message.

    Args:
        msg: a message, from rclpy or from a bag.
        msgtype: its type, such as ``sensor_msgs/msg/JointState``.
        fields: fields in order, such as ``position[0:7]``, ``position[left_hip,right_hip]`` (joints
            by name, in that order) or ``twist.linear.x``; empty takes the type's default ones.
        order: joints in the order that positions in ``fields`` mean; a message that names its joints in
            another order is read by these names. Empty: the message's own.

    Returns:
        float64 [A].

    Raises:
        OtherJointsError: the message lacks a joint.
        InputError: unsupported type, no such field, or a message that is too short for it.
    """
    chosen = tuple(fields) or default_fields(msgtype)
    return np.concatenate([np.atleast_1d(field_value(msg, field, order)) for field in chosen])


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


def parts_of(field: str) -> list[str]:
    """A field's parts between the dots; a joint in brackets may have a dot in its name."""
    return re.split(r"\.(?![^\[]*\])", field)


def field_value(msg: Any, field: str, order: Sequence[str] = ()) -> NDArray[np.float64]:
    """Value of one field, such as ``points[0].positions[1:3]``, as float64 scalar or vector."""
    value = msg
    there = joint_names(msg) if order else ()
    for part in parts_of(field):
        match = PART.fullmatch(part)
        if match is None:
            raise InputError(
                f"action field {field!r}: expected names with [index], [from:to] or [joint,joint], "
                "such as position[0:7]"
            )
        name, indices = match.groups()
        if not hasattr(value, name):
            raise no_field(msg, field, name)
        value = getattr(value, name)
        reordered = name in PER_JOINT and bool(there) and there != tuple(order)
        for index in re.findall(r"\[([^\]]*)\]", indices) or [None] * reordered:
            if not hasattr(value, "__len__"):
                raise InputError(f"action field {field!r}: expected several values, got {value}")
            numeric = index is None or NUMERIC.fullmatch(index) is not None
            if reordered and numeric:
                wanted = order if index is None else element(order, index, field)
                found = joints(value, [wanted] if isinstance(wanted, str) else wanted, field, msg=msg)
                value = found[0] if isinstance(wanted, str) else found
            elif numeric:
                value = element(value, index, field)
            else:
                value = joints(value, [joint.strip() for joint in index.split(",")], field, msg=msg)
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"action field {field!r}: expected numbers, got {type(value).__name__}") from error


def no_field(msg: Any, field: str, name: str) -> InputError:
    """That a message lacks ``name``, a part of ``field``; with the fields it has, and the one that may be meant."""
    there = list(number_fields(msg))
    shown = ", ".join(there[:MOST_FIELDS]) or "no numbers"
    if len(there) > MOST_FIELDS:
        shown += f" and {len(there) - MOST_FIELDS} more"
    plain = field.partition("[")[0] if field.endswith("]") else field
    return InputError(
        f"action field {field!r}: the message has no field {name!r}; it has {shown}{meant(plain, there)}"
    )


def number_fields(msg: Any, before: str = "") -> Iterator[str]:
    """Fields of a message that hold numbers, as they are named, those of messages in it included; its header is left out."""
    for name in field_names(msg):
        value, place = getattr(msg, name), f"{before}{name}"
        if name == "header" or isinstance(value, str):
            continue
        if isinstance(value, list | tuple) and value:
            if isinstance(value[0], str):
                continue
            if field_names(value[0]):
                value, place = value[0], f"{place}[0]"
        if field_names(value):
            yield from number_fields(value, f"{place}.")
        else:
            yield place


def field_names(msg: Any) -> tuple[str, ...]:
    """Names of the fields of a message, from rclpy or from a bag; empty for anything else."""
    if hasattr(msg, "get_fields_and_field_types"):
        return tuple(msg.get_fields_and_field_types())
    if dataclasses.is_dataclass(msg):
        return tuple(found.name for found in dataclasses.fields(msg))
    return tuple(getattr(msg, "__dict__", ()))


def element(values: Sequence[Any], index: str, field: str) -> Any:
    """``values[index]`` for an index such as ``3`` or ``0:7``, which must lie within."""
    short = f"action field {field!r}: the message has only {len(values)} values there"
    first, colon, last = index.partition(":")
    if not colon:
        if not -len(values) <= int(first) < len(values):
            raise InputError(short)
        return values[int(first)]
    start, stop = int(first or 0), int(last) if last else None
    if stop is not None and stop > len(values):
        raise InputError(short)
    return values[start:stop]


def joint_names(msg: Any) -> tuple[str, ...]:
    """Names of the joints whose values a message holds, in order; empty where it says none."""
    names = getattr(msg, "name", ()) or getattr(msg, "joint_names", ())
    return () if isinstance(names, str) else tuple(names)


def joints(values: Sequence[Any], wanted: Sequence[str], field: str, *, msg: Any) -> NDArray[np.float64]:
    """The ``values`` of the joints ``wanted``, found by the names in the message itself."""
    known = joint_names(msg)
    missing = [name for name in wanted if name not in known[: len(values)]]
    if missing:
        there = ", ".join(known) or "no joint names at all"
        raise OtherJointsError(
            f"action field {field!r}: expected joint {missing[0]!r} with a value, the message has {there}"
        )
    twice = [name for name in wanted if known.count(name) > 1]
    if twice:
        raise OtherJointsError(
            f"action field {field!r}: expected joint {twice[0]!r} once, the message has {', '.join(known)}"
        )
    return np.array([values[known.index(name)] for name in wanted], np.float64)


def stamp_ns(msg: Any) -> int | None:
    """Header stamp in nanoseconds; None without a header or with a stamp of zero.

    Of a message that has a header's fields without a header (foxglove's), its ``timestamp``.
    """
    header = getattr(msg, "header", None)
    if header is not None:
        stamp = header.stamp
    elif hasattr(msg, "frame_id") and hasattr(getattr(msg, "timestamp", None), "nanosec"):
        stamp = msg.timestamp
    else:
        return None
    return (stamp.sec * 1_000_000_000 + stamp.nanosec) or None
