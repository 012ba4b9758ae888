# SPDX-License-Identifier: Apache-2.0
"""What arrives at a running predictor is checked, stamped and handed on: images, commands, plans.

Messages are read by their fields alone. Whatever is wrong with one is a problem that names its input, and the
message is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dd_ros.config import CheckpointConfig
from dd_ros.data.action_reader import ActionReader, listed
from dd_ros.data.actions import (
    OtherJointsError,
    default_fields,
    field_value,
    fields_for,
    joint_names,
    stamp_ns,
)
from dd_ros.data.clocks import JUMP_NS
from dd_ros.data.commands import Commands
from dd_ros.data.plans import sequence_actions, sequence_stamps, trajectory_actions, trajectory_stamps
from dd_ros.data.steps import StepClock
from dd_ros.data.trained import SLICE, TrainedRange
from dd_ros.errors import InputError
from dd_ros.live.clocks import Clocks
from dd_ros.live.problems import Level, Problems
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Frame, Worker
from dd_ros.streams import ActionSource

SEQUENCE_TYPE = "dd_ros_msgs/msg/ActionSequence"
TRAJECTORY_TYPE = "trajectory_msgs/msg/JointTrajectory"
OTHER_TIME_NS = 5_000_000_000  # a plan that far from the images is for another time
PLAN_TYPES = (SEQUENCE_TYPE, TRAJECTORY_TYPE)


class ImageIntake:
    """Images, of which those that are due wait in the worker's mailbox. The one decision which these are.

    Args:
        rate_hz: model steps per second.
        worker, commands: where images go, and what a clock that is reset empties as well.
        problems, statistics: where to report.
        clocks: the node's clock, and what stamps are compared with.

    Attributes:
        bytes: length of the newest image's data.
    """

    def __init__(
        self, *, rate_hz: float, worker: Worker, commands: Commands, problems: Problems, statistics: Statistics,
        clocks: Clocks,
    ):  # fmt: skip
        self.bytes = self._same = 0
        self._clock, self._clocks = StepClock(rate_hz), clocks
        self._worker, self._commands = worker, commands
        self._problems, self._statistics = problems, statistics

    @property
    def newest_ns(self) -> int | None:
        """Newest stamp of an image since the last reset; None before the first."""
        return self._clock.newest_ns

    def take(self, msg: Any) -> None:
        """Take in an Image or CompressedImage."""
        self.bytes = len(msg.data)
        stamp = stamp_ns(msg)
        if stamp is None:
            stamp = self._clocks.time.now_ns()
            self._clocks.without_stamp("image")
            text = "expected a time stamp in the header, got 0; the time of arrival is used"
            self._problems.report("image time", text, Level.WARN)
        elif self._in_order(stamp) and self._clocks.same("image", stamp):
            self._problems.solved("image time")
        if self._clock.went_back(stamp):
            back = ((self.newest_ns or stamp) - stamp) / 1e9
            self.on_time_jump(stamp, f"expected stamps that increase, got a step back of {back:.1f} s")
        step = self._clock.step_of(stamp)
        if step is not None:
            self._worker.mailbox.put(Frame(msg, stamp, msg.header.frame_id, step))

    def on_time_jump(self, stamp: int, why: str) -> None:
        """The clock was reset to ``stamp`` (ns): start anew, saying why."""
        self._problems.note("image reset", f"{why}; started anew")
        self._statistics.add("resets")
        self._clock.restart()
        self._clocks.restart()
        self._commands.on_time_jump(stamp)
        self._worker.rewind()

    def _in_order(self, stamp: int) -> bool:
        if self.newest_ns is None or stamp > self.newest_ns:
            self._same = 0
            return True
        back = self.newest_ns - stamp
        if back == 0:
            self._same += 1
            text = f"expected stamps that increase, got the same one {self._same + 1} times; such images are ignored"
            self._problems.report("image time", text, Level.WARN, kind="same")
        elif back < JUMP_NS:  # more than that is a reset, which is said as such
            text = f"expected stamps that increase, got a step back of {back / 1e9:.3f} s; such images are ignored"
            self._problems.report("image time", text, Level.WARN, kind="order")
        return False


class ActionIntake:
    """Executed commands of one action topic.

    Args:
        name: the input, such as ``action_2``.
        number: of the topic among those that make up the action vector.
        source: which fields are its values.
        known: what the checkpoint knows of these values.
        commands: where they go.
        problems: where to report.
        clocks: the node's clock, and what stamps are compared with.
    """

    def __init__(
        self, *, name: str, number: int, source: ActionSource, known: TrainedRange, commands: Commands,
        problems: Problems, clocks: Clocks,
    ):  # fmt: skip
        self._name, self._number, self._source, self._known = name, number, source, known
        self._reader = ActionReader(source)
        self._commands, self._problems, self._clocks = commands, problems, clocks
        self._heard, self._unused = False, ""

    def take(self, msg: Any, kind: str, topic: str) -> None:
        """Take in a message of type ``kind`` that came on ``topic``."""
        stamp = stamp_ns(msg)
        begins = kind == TRAJECTORY_TYPE  # its stamp says when its commands begin, which may be later
        if stamp is None:
            self._clocks.without_stamp(self._name)
        elif self._clocks.same(self._name, stamp, arrives=not begins):
            self._problems.solved(f"{self._name} time")
        try:
            command = self._reader.read(msg, kind)
            far = self._known.far(command.values, "action")
            self._commands.push(stamp or self._clocks.time.now_ns(), command, self._number)
            self._heard = True
        except InputError as error:
            if isinstance(error, OtherJointsError) and self._heard and not self._reader.ambiguous:
                return  # of another publisher, whose joints are not wanted
            self._problems.report(self._name, f"{str(error).removeprefix('action: ')} (on {topic}, {kind})")
            return
        self._problems.solved(self._name)
        report_range(self._name, far, self._problems)
        self._note_unused(msg, fields_for(kind, self._source.type, self._source.fields), topic)

    def _note_unused(self, msg: Any, fields: Sequence[str], topic: str) -> None:
        """Say once that values are picked by position from more than there were meant to be, it may be."""
        more = unused(msg, fields)
        if more and more != self._unused:
            self._problems.note(f"{self._name} length", f"{more} (on {topic})")
        self._unused = more


class PlanIntake:
    """Commands that the robot means to take.

    Args:
        config: settings of the checkpoint.
        known: what the checkpoint knows of the action's values.
        commands: where they go.
        problems: where to report.
        next_ns: the time of the next model step, at which a plan without stamps begins.
    """

    def __init__(
        self, *, config: CheckpointConfig, known: TrainedRange, commands: Commands, problems: Problems,
        next_ns: Callable[[], int],
    ):  # fmt: skip
        self._known = known
        self._action, self._step_ns = config.action, round(1e9 / config.streams.rate_hz)
        self._commands, self._problems, self._next_ns = commands, problems, next_ns
        joints = tuple(joint for source in config.streams.actions for joint in source.joints)
        joints = joints if len(joints) == self._action.dim else self._action.names
        self._reader = ActionReader(ActionSource(topic="plan", joints=joints))

    def take(self, msg: Any, kind: str, topic: str) -> None:
        """Take in a message of type ``kind`` that came on ``topic``."""
        try:
            if kind == SEQUENCE_TYPE:
                values = sequence_actions(msg, self._action.dim, "plan")
                stamps = sequence_stamps(msg, self._next_ns(), self._step_ns, name="plan")
            else:
                values = trajectory_actions(msg, self._action.dim, names=self._joints_of(msg), name="plan")
                stamps = trajectory_stamps(msg, self._next_ns())
            far = self._known.far(values, "plan")
            self._commands.set_plan(stamps, values)
        except InputError as error:
            self._problems.report("plan", f"{str(error).removeprefix('plan: ')} (on {topic}, {kind})")
            return
        self._problems.solved("plan")
        report_range("plan", far, self._problems)
        self._report_time(int(np.min(stamps)), int(np.max(stamps)))

    def _report_time(self, first_ns: int, last_ns: int) -> None:
        """Report a plan that is for another time: it is kept, and counts for nothing."""
        ahead, over = first_ns - self._next_ns(), self._next_ns() - last_ns
        if max(ahead, over) < OTHER_TIME_NS:
            self._problems.solved("plan time")
            return
        got = (
            f"begins {ahead / 1e9:.1f} s after it"
            if ahead > over
            else f"was over {over / 1e9:.1f} s before it"
        )
        text = f"expected a plan for the time of the images, got one that {got}: are the clocks the same?"
        self._problems.report("plan time", text, Level.WARN, kind="time")

    def _joints_of(self, msg: Any) -> Sequence[str]:
        """By which joints a trajectory is read: those of the checkpoint, or of the first one that names as many."""
        if not self._reader.joints and len(msg.joint_names) != self._action.dim:
            return ()
        try:
            return self._reader.joints_of(msg, default_fields(TRAJECTORY_TYPE))
        except OtherJointsError as error:
            raise OtherJointsError(
                f"expected the joints {listed(self._reader.joints)}, in any order, got {listed(joint_names(msg))}; "
                "put the names of the commands' joints into joint_names"
            ) from error


def report_range(name: str, far: str, problems: Problems) -> None:
    """Report what is ``far`` from training in the input ``name``, or that nothing is."""
    if far:
        problems.report(f"{name} range", far, Level.WARN, kind="range")
    else:
        problems.solved(f"{name} range")


def unused(msg: Any, fields: Sequence[str]) -> str:
    """What fields such as ``position[0:7]`` leave out of a message, in words; empty if nothing."""
    for field in fields:
        if part := SLICE.fullmatch(field):
            name, start, stop = part.groups()
            there = len(field_value(msg, name))
            if there > int(stop):
                return (
                    f"expected {stop} values in {name}, got {there}; {field} takes values {start or 0} to {int(stop) - 1}: "
                    f"if that is not what is meant, name the joints: {name}[a,b]"
                )
    return ""
