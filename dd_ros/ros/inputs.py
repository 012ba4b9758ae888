# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the node: what arrives is checked, stamped and handed to the worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from dd_ros.config import ActionSource, CheckpointConfig
from dd_ros.data.actions import DEFAULT_FIELDS, action_values, fields_for, stamp_ns
from dd_ros.data.clocks import JUMP_NS
from dd_ros.data.commands import Commands
from dd_ros.data.steps import FrameClock, StampsWentBack
from dd_ros.errors import InputError
from dd_ros.live.problems import Level, Problems
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Rate, Statistics
from dd_ros.live.worker import Frame, Worker
from dd_ros.resources import shared_file
from dd_ros.ros.messages import sequence_actions, sequence_stamps, trajectory_actions, trajectory_stamps
from dd_ros.ros.publishers import Publishers
from dd_ros.ros.topics import Input, variants
from dd_ros.ros.transport import profile_variable

TRANSPORT_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
PLAN_TYPES = ("dd_ros_msgs/msg/ActionSequence", "trajectory_msgs/msg/JointTrajectory")
# Commands come faster than images and each may matter for the image to come.
ACTION_DEPTH = 100
# Stamps this far from the node's clock (s) mean two clocks rather than a slow link.
CLOCK_SKEW = 5.0
# Images of this many bytes get lost on Fast DDS's default transport.
LARGE_IMAGE = 500_000


def action_sources(chosen: str, config: CheckpointConfig) -> tuple[ActionSource, ...]:
    """Where the action comes from: the parameter ``action_topic``, or the checkpoint's sources.

    Raises:
        InputError: ``chosen`` cannot be read, or names another number of topics than the checkpoint, and not one.
    """
    sources = config.streams.with_topics(actions=chosen.split()).actions
    if len(sources) == 1:
        return (sources[0].model_copy(update={"dim": config.action.dim}),)
    if any(source.dim is None for source in sources):
        there = ", ".join(map(str, config.streams.actions))
        raise InputError(
            f"action_topic: expected one topic, or as many as the checkpoint has ({there}), got {chosen!r}"
        )
    return sources


class Inputs:
    """All inputs of an active node.

    Args:
        node: owner.
        config: settings of the checkpoint.
        settings: parameter values; replace the attribute to change them.
        commands, worker, publishers: where actions, frames and the camera's calibration go.
        statistics, problems: where to report.
    """

    def __init__(
        self,
        node: Node,
        config: CheckpointConfig,
        settings: PredictorParameters,
        commands: Commands,
        worker: Worker,
        publishers: Publishers,
        statistics: Statistics,
        problems: Problems,
    ):
        self.settings = settings
        self._node, self._config, self._commands, self._worker = node, config, commands, worker
        self._publishers, self._statistics, self._problems = publishers, statistics, problems
        self._clock = FrameClock(config.streams.rate_hz)
        self._image_bytes = self._matched = self._unmatched = 0
        profile = f"{profile_variable()}={shared_file('config/fastdds.xml')}"
        self._cure = f"start the camera driver with {profile}"
        self._newest_ns: int | None = None
        self._step_ns = round(1e9 / config.streams.rate_hz)
        topics = variants(node, "image", config.streams.image_topic)
        if settings.image_transport == "compressed":
            topics = [variant for topic in topics for variant in (topic, f"{topic}/compressed")]
        sources = action_sources(settings.action_topic, config)
        self._actions = [
            f"action_{number}" if number > 1 else "action" for number in range(1, len(sources) + 1)
        ]
        self._inputs = {
            "image": Input(
                node, "image", topics, [TRANSPORT_TYPES[settings.image_transport]], 1, self._image, statistics.inputs["image"],
                problems, lost=lambda count: statistics.add("lost_images", count),
            ),
            **{
                name: self._action_input(name, number, source)
                for number, (name, source) in enumerate(zip(self._actions, sources, strict=True))
            },
            "plan": Input(
                node, "plan", ["plan"], PLAN_TYPES, 1, self._plan, statistics.inputs["plan"], problems,
                optional=True,
            ),
        }  # fmt: skip
        siblings = dict.fromkeys(topic.removesuffix("/compressed").rpartition("/")[0] for topic in topics)
        self._camera_info = Input(
            node, "camera_info", [f"{sibling}/camera_info" for sibling in siblings], ["sensor_msgs/msg/CameraInfo"], 1,
            self._calibration, Rate(), problems, optional=True,
        )  # fmt: skip

    def _action_input(self, name: str, number: int, source: ActionSource) -> Input:
        """Subscription to action topic ``number``: the one chosen, or the one of that name."""
        topics = [source.topic] if self.settings.action_topic else variants(self._node, name, source.topic)
        types = dict.fromkeys([*([source.type] if source.type else []), *DEFAULT_FIELDS])

        def receive(msg: Any, kind: str) -> None:
            self._action(msg, kind, number, source)

        rate = self._statistics.inputs[name]
        return Input(self._node, name, topics, list(types), ACTION_DEPTH, receive, rate, self._problems)

    def destroy(self) -> None:
        """Stop listening."""
        for item in (*self._inputs.values(), self._camera_info):
            item.destroy()

    def topics(self) -> dict[str, str]:
        """Topic, type and reliability of each input in words."""
        found = {name: item.source for name, item in self._inputs.items()}
        return {
            name: f"{s.topic} ({s.type}, {'reliable' if s.reliable else 'best effort'})"
            for name, s in found.items()
        }

    def watch(self) -> None:
        """Follow publishers that come and go, and report inputs that are missing or silent."""
        timeout = self.settings.input_timeout
        rate = self._config.streams.rate_hz
        self._inputs["image"].watch(
            timeout, f"images at {rate:g} Hz or more", f"; if they are large, {self._cure}"
        )
        for name in self._actions:
            self._inputs[name].watch(timeout, "actions")
        self._inputs["plan"].watch(timeout, "plans")
        self._camera_info.watch(timeout, "calibrations")
        if (self._statistics.inputs["plan"].silence() or 0.0) > timeout:
            self._problems.solved("plan")  # optional: a bad plan that nobody repeats is history
        self._check_rate(rate)
        self._check_matches()

    def on_time_jump(self, stamp: int, why: str) -> None:
        """Time went back to ``stamp``: start anew."""
        self._problems.note("image reset", f"{why}; started anew")
        self._statistics.add("resets")
        self._clock.reset()
        self._newest_ns = None
        self._commands.on_time_jump(stamp)
        self._worker.rewind()

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _check_rate(self, wanted: float) -> None:
        got = self._statistics.inputs["image"].hz()
        if 0.0 < got < 0.75 * wanted:
            self._problems.report(
                "image rate",
                f"expected images at {wanted:g} Hz or more, got {got:.1f} Hz"
                + (f"; large ones get lost: {self._cure}" if self._image_bytes >= LARGE_IMAGE else ""),
                Level.WARN,
                kind="slow",
            )
        elif got > 0.9 * wanted:
            self._problems.solved("image rate")

    def _check_matches(self) -> None:
        """Report images that come without any command in force at their time."""
        matched, unmatched = (self._statistics.counts[f"{kind}_frames"] for kind in ("observed", "unmatched"))
        if (matched, unmatched) == (self._matched, self._unmatched):
            return
        silent = self._commands.silent(self._newest_ns or 0)
        for number, name in enumerate(self._actions):
            if matched != self._matched or number not in silent:
                self._problems.solved(f"{name} yet")
            elif self._unmatched:  # a first image may well come before the first command
                topic = self._inputs[name].source.topic
                text = f"expected a command before the images on {topic}, got none that old yet"
                self._problems.report(f"{name} yet", text)
        self._matched, self._unmatched = matched, unmatched

    def _image(self, msg: Any, kind: str) -> None:
        self._image_bytes = len(msg.data)
        stamp = stamp_ns(msg)
        if stamp is None:
            stamp = self._now()
            text = "expected a time stamp in the header, got 0; the time of arrival is used"
            self._problems.report("image time", text, Level.WARN)
        elif self._in_order(stamp) and self._same_clock("image", stamp):
            self._problems.solved("image time")
        before = self._newest_ns
        try:
            ticks = self._clock.accept(stamp)
        except StampsWentBack:
            back = ((before or stamp) - stamp) / 1e9
            self.on_time_jump(stamp, f"expected stamps that increase, got a step back of {back:.1f} s")
            ticks = self._clock.accept(stamp)
        self._newest_ns = max(self._newest_ns or stamp, stamp)
        if ticks:
            self._worker.mailbox.put(Frame(msg, stamp, msg.header.frame_id))

    def _in_order(self, stamp: int) -> bool:
        if self._newest_ns is None or stamp > self._newest_ns:
            return True
        back = self._newest_ns - stamp
        if back < JUMP_NS:  # more than that is a reset, which is told as such
            text = f"expected stamps that increase, got a step back of {back / 1e9:.3f} s; such images are ignored"
            self._problems.report("image time", text, Level.WARN, kind="order")
        return False

    def _same_clock(self, name: str, stamp: int) -> bool:
        skew = (self._now() - stamp) / 1e9
        if abs(skew) < CLOCK_SKEW:
            return True
        use_sim_time = self._node.get_parameter("use_sim_time").value
        text = (
            f"expected stamps of this node's clock, got stamps {abs(skew):.1f} s "
            f"{'behind' if skew > 0 else 'ahead of'} it (use_sim_time is {str(use_sim_time).lower()})"
        )
        self._problems.report(f"{name} time", text, Level.WARN, kind="skew")
        return False

    def _action(self, msg: Any, kind: str, number: int, source: ActionSource) -> None:
        name, stamp = self._actions[number], stamp_ns(msg)
        if stamp is not None and self._same_clock(name, stamp):
            self._problems.solved(f"{name} time")
        try:
            values = action_values(msg, kind, fields_for(kind, source.type, source.fields))
            self._commands.push(stamp or self._now(), values, number)
        except InputError as error:
            text = str(error).removeprefix("action: ")
            self._problems.report(name, f"{text} (on {self._inputs[name].source.topic}, {kind})")
            return
        self._problems.solved(name)

    def _plan(self, msg: Any, kind: str) -> None:
        start = (self._newest_ns or self._now()) + self._step_ns
        action = self._config.action
        try:
            if kind == PLAN_TYPES[0]:
                values = sequence_actions(msg, action.dim, "plan")
                stamps = sequence_stamps(msg, start, self._step_ns)
            else:
                values = trajectory_actions(msg, action.dim, action.names, "plan")
                stamps = trajectory_stamps(msg, start)
            self._commands.set_plan(stamps, values)
        except InputError as error:
            text = str(error).removeprefix("plan: ")
            self._problems.report("plan", f"{text} (on {self._inputs['plan'].source.topic}, {kind})")
            return
        self._problems.solved("plan")

    def _calibration(self, msg: CameraInfo, kind: str) -> None:
        if np.all(np.isfinite(msg.k)):
            self._publishers.camera_info = msg
