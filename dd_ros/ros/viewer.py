# SPDX-License-Identifier: Apache-2.0
"""The node ``viewer``: looks on at a predictor, its camera and its commands, and shows them with rerun.

ros2 run dd_ros viewer --ros-args -p node:=predictor -p web:=true

It takes what it gets and slows nobody: all its subscriptions are best effort with short queues, and what comes while
it is busy is dropped.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from dd_ros_msgs.msg import PredictedVideo
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from dd_ros.config import CheckpointConfig
from dd_ros.data.action_reader import ActionReader
from dd_ros.data.actions import DEFAULT_FIELDS, stamp_ns
from dd_ros.data.images import IMAGE_TYPES, decode_rgb, image_size
from dd_ros.data.plans import to_ns
from dd_ros.live.problems import Level, Problems
from dd_ros.live.statistics import Rate
from dd_ros.resources import read_config
from dd_ros.ros.diagnostics import COUNTS, OBSERVED_FRAMES, STEPS_SKIPPED
from dd_ros.ros.guard import Guard
from dd_ros.ros.messages import video_frames
from dd_ros.ros.parameters import declare
from dd_ros.ros.spin import run_until_signalled
from dd_ros.ros.topics import Input
from dd_ros.streams import ActionSource, parse_actions
from dd_ros.view.log import ViewLog
from dd_ros.view.seen import Predicted
from dd_ros.view.settings import ViewerParameters
from dd_ros.view.sinks import opened

WATCH_PERIOD = 0.2  # s
SILENCE = 5.0  # s without a message that are worth a line in the log
# Chunks of a prediction come in a burst, of which none should be missed; the rest is dropped while this node is busy.
PREDICTION_DEPTH, ACTION_DEPTH = 8, 10
# Nobody sees more images, or more points of a curve.
IMAGE_PERIOD_NS, ACTION_PERIOD_NS = 25_000_000, 20_000_000
UNKNOWN_WIDTH = 320  # of the camera's images until a prediction tells the model's size
SHOWN_COUNTS = (
    STEPS_SKIPPED,
    *(name for name in COUNTS if name not in (OBSERVED_FRAMES, "published chunks")),
)


class Viewer(Node):
    """Fills a ``ViewLog`` from topics.

    Attributes:
        settings: parameters.
        view: what is filled; None before ``start``.
    """

    def __init__(self) -> None:
        super().__init__("viewer")
        self.settings = declare(self, ViewerParameters)
        self.view: ViewLog | None = None
        self._open = ExitStack()
        self._name = self.resolve_topic_name(self.settings.node)
        self.problems = Problems(self._log)
        self.guard = guard = Guard(self.context, self.problems)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._began = self._steady.now()
        self._inputs: dict[str, tuple[str, Input]] = {}
        self._last: dict[str, int] = {}
        config = read_config(self.settings.checkpoint) if self.settings.checkpoint else None
        self._names = config.action.names if config else ()
        self._sources = action_sources(self.settings.action_topic, config)
        self._chosen: dict[str, str] = {}  # input -> topic that a parameter names
        if self.settings.image_topic:
            self._chosen["image"] = self.resolve_topic_name(self.settings.image_topic)
        for number, source in enumerate(self._sources if self.settings.action_topic else ()):
            name = f"action_{number + 1}" if number else "action"
            self._chosen[name] = self.resolve_topic_name(source.topic)
        qos = QoSProfile(depth=PREDICTION_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        heard = guard("prediction callback", self._prediction)
        self.create_subscription(PredictedVideo, f"{self._name}/prediction", heard, qos)
        told = guard("diagnostics callback", self._diagnostics)
        self.create_subscription(DiagnosticArray, "/diagnostics", told, qos)
        self.create_timer(WATCH_PERIOD, guard("viewer watch", self._watch), clock=self._steady)

    def start(self) -> None:
        """Open the recording, and listen to the topics that were named."""
        settings = self.settings
        leads = settings.lead_seconds
        self.view = ViewLog(self._open.enter_context(opened(settings.sink)), leads=leads, live=True)
        for name, topic in self._chosen.items():
            self._follow(name, topic)

    def stop(self) -> int:
        """Close the recording; 0."""
        self._open.close()
        return 0

    def over(self) -> bool:
        """Whether the time to look on is over."""
        passed = (self._steady.now() - self._began).nanoseconds / 1e9
        return bool(self.settings.seconds) and passed >= self.settings.seconds

    def _follow(self, name: str, topic: str) -> None:
        """Listen to ``topic`` as the predictor's input ``name``."""
        if name in self._inputs:
            known, listening = self._inputs[name]
            if known == topic:
                return
            listening.destroy()
        if name == "image":
            types, depth, callback = list(IMAGE_TYPES), 1, self._image
        else:
            number = int(name.partition("_")[2] or 1) - 1
            source = self._sources[number] if number < len(self._sources) else ActionSource(topic=topic)
            reader = ActionReader(source)
            types, depth = list(DEFAULT_FIELDS), ACTION_DEPTH

            def callback(msg: Any, kind: str) -> None:
                self._action(name, reader, msg, kind)

        found = Input(
            self, name, topics=[topic], types=types, depth=depth, callback=callback, rate=Rate(),
            problems=self.problems, best_effort=True,
        )  # fmt: skip
        self._inputs[name] = (topic, found)

    def _due(self, name: str, stamp: int, period_ns: int) -> bool:
        """Whether something of this time is worth showing after what was shown last."""
        if 0 <= stamp - self._last.get(name, -period_ns) < period_ns:
            return False
        self._last[name] = stamp
        return True

    def _image(self, msg: Any, kind: str) -> None:
        stamp = stamp_ns(msg) or self._now()
        if self.view is None or not self._due("image", stamp, IMAGE_PERIOD_NS):
            return
        self.view.camera(stamp, decode_rgb(msg, *(self.view.size or fitting(*image_size(msg)))))

    def _action(self, name: str, reader: ActionReader, msg: Any, kind: str) -> None:
        stamp = stamp_ns(msg) or self._now()
        if self.view is None or not self._due(name, stamp, ACTION_PERIOD_NS):
            return
        values = reader.read(msg, kind).values[0]
        joints = next((known for known in (self._names, reader.joints) if len(known) == len(values)), ())
        self.view.commands(name, stamp, values, joints=joints)

    def _prediction(self, msg: PredictedVideo) -> None:
        if self.view is None or not msg.count or not msg.first_step:
            return
        stamp, target = to_ns(msg.header.stamp), to_ns(msg.target_stamps[0])
        self.view.predicted(
            Predicted(
                stamp_ns=stamp, step_ns=(target - stamp) // msg.first_step, horizon=msg.chunks * msg.count,
                first_step=msg.first_step, frames=video_frames(msg), uncertainty=np.frombuffer(msg.uncertainty, np.float32),
                actions=np.frombuffer(msg.actions, np.float32).reshape(msg.count, msg.action_dim), late=sum(msg.late),
                age_ns=self._now() - stamp,
            )
        )  # fmt: skip

    def _diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            node, _, part = status.name.partition(": ")
            if node != self._name or self.view is None:
                continue
            self.view.words(part, status.level[0], status.message)
            values = {item.key: item.value for item in status.values}
            if part == "prediction":
                counts = {name: values.get(name, "") for name in SHOWN_COUNTS}
                self.view.counts({name: int(text) for name, text in counts.items() if text.isdecimal()})
            elif part == "image" or part.partition("_")[0] == "action":
                self._follow(part, self._chosen.get(part) or topic_of(values))

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _watch(self) -> None:
        for name, (_, listening) in self._inputs.items():
            listening.watch(SILENCE, f"messages for the input {name}")

    def _log(self, level: Level, text: str) -> None:
        if level is Level.OK:  # one line of code per severity: rclpy ties them together
            self.get_logger().info(text)
        else:
            self.get_logger().warning(text)


def action_sources(chosen: str, config: CheckpointConfig | None) -> tuple[ActionSource, ...]:
    """Which fields are commands: those that ``chosen`` names or else the checkpoint's; of no checkpoint none are known.

    Raises:
        InputError: ``chosen`` cannot be read.
    """
    if config is not None:
        return config.streams.with_topics(actions=chosen.split()).actions
    return parse_actions(chosen.split()) if chosen else ()


def topic_of(values: dict[str, str]) -> str:
    """The topic in the diagnostics of an input, which say type and reliability after it."""
    return values["topic"].partition(" ")[0]


def fitting(width: int, height: int) -> tuple[int, int]:
    """Width and height of an image, made smaller to UNKNOWN_WIDTH where it is larger."""
    scale = min(1.0, UNKNOWN_WIDTH / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def main(args: Sequence[str] | None = None) -> int:
    """Look on until told to stop; 2 where the recording cannot be opened, with one line saying why."""

    def failed(node: Viewer, error: Exception) -> None:
        node.guard.passed("viewer executor", error)

    return run_until_signalled(
        "viewer", Viewer, args, start=Viewer.start, stop=Viewer.stop, over=Viewer.over, failed=failed
    )


if __name__ == "__main__":
    leave(main())
