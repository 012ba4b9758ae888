# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the node: who publishes what it needs, and handing what comes to ``live.intake``."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from dd_ros.config import CheckpointConfig
from dd_ros.data.actions import DEFAULT_FIELDS
from dd_ros.data.commands import Commands
from dd_ros.data.trained import TrainedRange
from dd_ros.errors import InputError
from dd_ros.live.clocks import Clocks
from dd_ros.live.intake import PLAN_TYPES, ActionIntake, ImageIntake, PlanIntake
from dd_ros.live.problems import Level, Problems
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Rate, Statistics
from dd_ros.live.worker import Worker
from dd_ros.resources import shared_file
from dd_ros.ros.publishers import Publishers
from dd_ros.ros.topics import Input, variants
from dd_ros.ros.transport import TRANSPORT_TYPES, profile_variable
from dd_ros.streams import LEROBOT, ActionSource

# Messages that name their joints, so that those of several publishers are told apart.
NAMED = ("sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory")
# Commands come faster than images and each may matter for the image to come.
ACTION_DEPTH = 100
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


def action_inputs(
    node: Node, config: CheckpointConfig, *, action_topic: str, commands: Commands, clocks: Clocks,
    statistics: Statistics, problems: Problems,
) -> dict[str, Input]:  # fmt: skip
    """Subscriptions to the executed commands: ``action``, and ``action_2`` and so on where several make up the action.

    Args:
        node: owner.
        config: settings of the checkpoint.
        action_topic: the parameter.
        commands: where they go.
        clocks, statistics, problems: where to report.

    Raises:
        InputError: as ``action_sources``.
    """
    sources = action_sources(action_topic, config)
    known, first, found = TrainedRange.of(config.action, sources), 0, dict[str, Input]()
    for number, source in enumerate(sources):
        name = f"action_{number + 1}" if number else "action"
        intake = ActionIntake(
            name=name, number=number, source=source, known=known.part(first, source.dim or 0), commands=commands,
            problems=problems, clocks=clocks,
        )  # fmt: skip
        own = [source.type] if source.type not in (None, LEROBOT) else []
        types = dict.fromkeys([*own, *DEFAULT_FIELDS])

        def take(msg: Any, kind: str, *, name: str = name, intake: ActionIntake = intake) -> None:
            intake.take(msg, kind, found[name].source.topic)

        found[name] = Input(
            node, name, topics=[source.topic] if action_topic else variants(node, name, source.topic),
            types=list(types), depth=ACTION_DEPTH, callback=take, rate=statistics.inputs[name], problems=problems,
            single=[kind for kind in types if kind not in NAMED],
        )  # fmt: skip
        first += source.dim or 0
    return found


class NodeTime:
    """The node's clock, as ``live.clocks.Time`` wants it."""

    def __init__(self, node: Node):
        self._node = node

    def now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def simulated(self) -> bool:
        return bool(self._node.get_parameter("use_sim_time").value)


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
        self, node: Node, config: CheckpointConfig, settings: PredictorParameters, *, commands: Commands,
        worker: Worker, publishers: Publishers, statistics: Statistics, problems: Problems,
    ):  # fmt: skip
        self.settings = settings
        self._node, self._commands, self._publishers = node, commands, publishers
        self._statistics, self._problems = statistics, problems
        self._rate_hz, self._step_ns = config.streams.rate_hz, round(1e9 / config.streams.rate_hz)
        self._matched = self._unmatched = 0
        self._cure = f"start the camera driver with {profile_variable()}={shared_file('config/fastdds.xml')}"
        self._time = NodeTime(node)
        self._clocks = Clocks(self._time, problems)
        self.images = ImageIntake(
            rate_hz=self._rate_hz, worker=worker, commands=commands, problems=problems, statistics=statistics,
            clocks=self._clocks,
        )  # fmt: skip
        topics = variants(node, "image", config.streams.image_topic)
        if settings.image_transport == "compressed":
            topics = [variant for topic in topics for variant in (topic, f"{topic}/compressed")]
        self._inputs = {"image": self._image_input(topics)}
        actions = action_inputs(
            node, config, action_topic=settings.action_topic, commands=commands, clocks=self._clocks,
            statistics=statistics, problems=problems,
        )  # fmt: skip
        self._actions = list(actions)
        self._inputs |= actions
        sources = action_sources(settings.action_topic, config)
        self._inputs["plan"] = self._plan_input(config, TrainedRange.of(config.action, sources))
        siblings = dict.fromkeys(topic.removesuffix("/compressed").rpartition("/")[0] for topic in topics)
        self._camera_info = Input(
            node, "camera_info", topics=[f"{sibling}/camera_info" for sibling in siblings],
            types=["sensor_msgs/msg/CameraInfo"], depth=1, callback=self._calibration, rate=Rate(), problems=problems,
            optional=True,
        )  # fmt: skip

    def _image_input(self, topics: list[str]) -> Input:
        """Subscription to the camera on one of ``topics``."""
        types = [TRANSPORT_TYPES[self.settings.image_transport]]
        return Input(
            self._node, "image", topics=topics, types=types, depth=1,
            callback=lambda msg, kind: self.images.take(msg), rate=self._statistics.inputs["image"],
            problems=self._problems, lost=lambda count: self._statistics.add("lost_images", count),
            single=types,
        )  # fmt: skip

    def _plan_input(self, config: CheckpointConfig, known: TrainedRange) -> Input:
        """Subscription to the plan, which need not be there."""
        intake = PlanIntake(
            config=config, known=known, commands=self._commands, problems=self._problems,
            next_ns=lambda: (self.images.newest_ns or self._time.now_ns()) + self._step_ns,
        )  # fmt: skip
        return Input(
            self._node, "plan", topics=["plan"], types=PLAN_TYPES, depth=1,
            callback=lambda msg, kind: intake.take(msg, kind, self._topic("plan")),
            rate=self._statistics.inputs["plan"], problems=self._problems, optional=True, single=PLAN_TYPES,
        )  # fmt: skip

    def _topic(self, name: str) -> str:
        """The topic that the input ``name`` listens to now."""
        return self._inputs[name].source.topic

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
        rate = self._rate_hz
        self._inputs["image"].watch(
            timeout, f"images at {rate:g} Hz or more", f"; if they are large, {self._cure}"
        )
        for name in self._actions:
            self._inputs[name].watch(timeout, "actions")
        self._inputs["plan"].watch(timeout, "plans")
        self._camera_info.watch(timeout, "calibrations")
        if (self._statistics.inputs["plan"].silence() or 0.0) > timeout:
            for name in ("plan", "plan range", "plan time", "plan callback"):
                self._problems.solved(name)  # optional: a bad plan that nobody repeats is history
        self._check_rate(rate)
        self._check_matches()

    def _check_rate(self, wanted: float) -> None:
        got = self._statistics.inputs["image"].hz()
        if 0.0 < got < 0.75 * wanted:
            self._problems.report(
                "image rate",
                f"expected images at {wanted:g} Hz or more, got {got:.1f} Hz"
                + (f"; large ones get lost: {self._cure}" if self.images.bytes >= LARGE_IMAGE else ""),
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
        silent = self._commands.silent(self.images.newest_ns or 0)
        for number, name in enumerate(self._actions):
            if matched != self._matched or number not in silent:
                self._problems.solved(f"{name} yet")
            elif self._unmatched:  # a first image may well come before the first command
                topic = self._inputs[name].source.topic
                text = f"expected a command before the images on {topic}, got none that old yet"
                self._problems.report(f"{name} yet", text)
        self._matched, self._unmatched = matched, unmatched

    def _calibration(self, msg: CameraInfo, kind: str) -> None:
        if np.all(np.isfinite(msg.k)):
            self._publishers.camera_info = msg
