# SPDX-License-Identifier: Apache-2.0
"""The messages of one action topic -> commands and their times: the one way, live and recorded.

Two things need more than the message at hand. Joints: positions in fields mean the joints of the checkpoint, or
of the stream's first message, and messages that name them in another order are read by name. Time: a trajectory
holds commands for several times.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.actions import (
    NUMERIC,
    PER_JOINT,
    OtherJointsError,
    action_values,
    default_fields,
    fields_for,
    joint_names,
    parts_of,
)
from dd_ros.data.plans import to_ns
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource

FIRST_POINT = "points[0]"  # fields of a trajectory that begin so stand for all its points
ANOTHER_STREAM = (
    50  # so many messages in a row of other joints are of another robot, whose joints are learnt anew
)
MOST_NAMES = 8  # joints that a message to people lists


class Command(NamedTuple):
    """What one message commands.

    Attributes:
        values: float64 [n, A].
        offsets_ns: time of each after the message's own, increasing.
        spans: whether the message commands for more than a moment: it replaces what is left of the one before.
    """

    values: NDArray[np.float64]
    offsets_ns: tuple[int, ...] = (0,)
    spans: bool = False


class ActionReader:
    """Reads the messages of one action topic.

    Args:
        source: the topic's fields, and joints where they are known.

    Attributes:
        joints: those that positions in fields mean; empty until a message named any.
        ambiguous: why messages of this topic cannot be told apart, and the cure; empty if they can.
    """

    def __init__(self, source: ActionSource):
        self.joints = source.joints
        self.ambiguous = ""
        self._source, self._known, self._refused = source, bool(source.joints), 0

    def read(self, msg: Any, kind: str) -> Command:
        """The commands in a message of type ``kind``.

        Raises:
            OtherJointsError: the message is of other joints.
            InputError: as ``actions.action_values``, or points of a trajectory out of order.
        """
        fields = fields_for(kind, self._source.type, self._source.fields) or default_fields(kind)
        by_position = any(map(is_by_position, fields))
        self._look_at_joints(joint_names(msg), fields, by_position=by_position)
        order = self.joints if by_position else ()
        try:
            if hasattr(msg, "points") and all(field.startswith(FIRST_POINT) for field in fields):
                command = points(msg, kind, fields, order=order)
                self._refused = 0
                return command
            values = action_values(msg, kind, fields, order=order)
            if not len(values):
                raise InputError(f"action {', '.join(fields)}: expected at least one value, got none")
            self._refused = 0
            return Command(values[None])
        except OtherJointsError as error:
            if by_position:
                raise self._other(joint_names(msg)) from error
            raise
        except InputError as error:
            raise with_cure(error, msg) from error

    def joints_of(self, msg: Any, fields: Sequence[str]) -> tuple[str, ...]:
        """The joints that positions in ``fields`` mean, of which ``msg`` has all; empty where none are named.

        Raises:
            OtherJointsError: the message is of other joints.
        """
        there = joint_names(msg)
        self._look_at_joints(there, fields, by_position=True)
        if not set(self.joints) <= set(there):
            raise self._other(there)
        self._refused = 0
        return self.joints

    def _look_at_joints(self, there: tuple[str, ...], fields: Sequence[str], *, by_position: bool) -> None:
        """Learn the joints of the first message; OtherJointsError for one that cannot be read by their names."""
        if not by_position or there == self.joints:
            return
        self._refused += 1
        if not self.joints or (not self._known and self._refused > ANOTHER_STREAM):
            self.joints = there
            return
        if not there:
            raise OtherJointsError(
                f"expected the joints {listed(self.joints)} by name, got a message without names; fill in its names"
            )
        doubled = len(set(there)) < len(there) or len(set(self.joints)) < len(self.joints)
        whole = any(parts_of(field)[-1] in PER_JOINT for field in fields)  # all joints, whichever these are
        if doubled or (whole and not self._known and set(there) != set(self.joints)):
            raise self._other(there)

    def _other(self, there: tuple[str, ...]) -> OtherJointsError:
        text = f"expected the joints {listed(self.joints)}, got {listed(there)}"
        if self._known:
            return OtherJointsError(text)
        topic, wanted = self._source.topic, ",".join(self.joints)
        name = (
            "points[0].positions"
            if self._source.type == "trajectory_msgs/msg/JointTrajectory"
            else "position"
        )
        self.ambiguous = f"{text}; say which joints are meant, as in {topic}.{name}[{wanted}]"
        return OtherJointsError(self.ambiguous)


def is_by_position(field: str) -> bool:
    """Whether a field picks values of joints by where they stand, or takes them all."""
    for part in parts_of(field):
        name, bracket, index = part.partition("[")
        if name in PER_JOINT:
            return not bracket or NUMERIC.fullmatch(index.removesuffix("]")) is not None
    return False


def listed(names: Sequence[str]) -> str:
    """Names for people to read."""
    if not names:
        return "no names"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def points(msg: Any, kind: str, fields: Sequence[str], *, order: Sequence[str]) -> Command:
    """The commands of a trajectory, each at its time_from_start; InputError for none, or times that decrease."""
    if not msg.points:
        raise InputError("trajectory: expected at least one point, got none")
    offsets = tuple(to_ns(point.time_from_start) for point in msg.points)
    if any(after < before for before, after in pairwise(offsets)):
        raise InputError(
            "trajectory: expected points with time_from_start that increases, got one that decreases"
        )
    rows = []
    for number in range(len(msg.points)):
        here = [f"points[{number}]{field.removeprefix(FIRST_POINT)}" for field in fields]
        rows.append(action_values(msg, kind, here, order=order))
    if len({len(row) for row in rows}) > 1:
        raise InputError("trajectory: expected as many values in each point, got different numbers")
    return Command(np.stack(rows), offsets, spans=True)


def with_cure(error: InputError, msg: Any) -> InputError:
    """The error, with what to do where a message of joints has no positions but something else."""
    filled = [name for name in ("velocity", "effort") if len(getattr(msg, name, ()))]
    if filled and not len(getattr(msg, "position", (0,))):
        return InputError(f"{error}; it has values of {filled[0]} only: choose them, as in .{filled[0]}")
    return error
