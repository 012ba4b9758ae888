# SPDX-License-Identifier: Apache-2.0
"""The node ``display``: what a viewer of a delayed camera sees, with and without prediction, and a report on it.

It listens to the camera (``image``), to the same late (``delayed``), and to predicted frames of now (``predicted_image``).
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image

from dd_ros.data.plans import to_ns
from dd_ros.demo.display import Display
from dd_ros.demo.display_report import summary, write_report
from dd_ros.ros.demo.threaded import RELIABLE
from dd_ros.ros.spin import run_until_signalled
from dd_ros.ros.topics import message_class

PROGRESS_PERIOD = 5.0  # s


class DisplayRecorder(Node):
    """Fills a ``Display`` from three topics.

    Attributes:
        over: ``seconds`` have passed since the first moment, or ``patience`` without one.
        display: what came.
    """

    def __init__(self) -> None:
        super().__init__("display")
        self.out = Path(str(self._declare("out", "out/demo", "Folder for video, images and report.")))
        self.checkpoint = str(self._declare("checkpoint", "", "Name of the weights, for the report."))
        self.delay = float(self._declare("delay", 0.0, "How late the camera is, for the report."))
        self.seconds = float(
            self._declare("seconds", 0.0, "Time to record from the first moment on; 0: no end.")
        )
        self.patience = float(
            self._declare("patience", 120.0, "Longest wait for the first moment; 0: no end.")
        )
        kind = message_class(
            str(self._declare("type", "sensor_msgs/msg/Image", "Message type of the camera."))
        )
        self.over = False
        self.display = Display()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._began, self._told = self._steady.now(), 0.0
        self._first: Time | None = None
        self.create_subscription(kind, "image", self._frame, RELIABLE)
        self.create_subscription(kind, "delayed", self._arrival(self.display.show_stale), RELIABLE)
        self.create_subscription(
            Image, "predicted_image", self._arrival(self.display.show_predicted), RELIABLE
        )
        self.create_timer(0.1, self._watch, clock=self._steady)

    def _declare(self, name: str, default: Any, text: str) -> Any:
        descriptor = ParameterDescriptor(description=text, read_only=True)
        return self.declare_parameter(name, default, descriptor).value

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _arrival(self, show: Callable[[int, int, Any], None]) -> Callable[[Any, Any], None]:
        """A callback that puts what arrives on a screen, at the time when the transport had it."""

        def arrived(message: Any, info: Any) -> None:
            show(info["received_timestamp"], to_ns(message.header.stamp), message)

        return arrived

    def _frame(self, message: Any) -> None:
        self.display.frame(to_ns(message.header.stamp), message, now_ns=self._now())

    def _watch(self) -> None:
        now = self._steady.now()
        if not self.display.errors:
            self.over = bool(self.patience) and (now - self._began).nanoseconds > self.patience * 1e9
            return
        self._first = self._first or now
        passed = (now - self._first).nanoseconds / 1e9
        if passed >= self._told + PROGRESS_PERIOD:
            self._told = passed
            stale, predicted = self.display.errors[-1]
            self.get_logger().info(
                f"{passed:.0f} s: {len(self.display.errors)} moments, error {stale:.1f} delayed, {predicted:.1f} predicted"
            )
        self.over = bool(self.seconds) and passed >= self.seconds


def main(args: Sequence[str] | None = None) -> int:
    """Record, then write the report; 1 where there was no moment to compare, 2 when it cannot be written."""
    said: list[str] = []

    def finish(node: DisplayRecorder) -> int:
        result = write_report(node.display, node.out, checkpoint=node.checkpoint, delay=node.delay)
        said.extend([summary(result), f"report in {node.out / 'report.md'}"])
        return 0 if result["moments"] else 1

    status = run_until_signalled(
        "display", DisplayRecorder, args, start=lambda node: None, stop=finish, over=lambda node: node.over
    )
    for line in said:  # last of all, whatever the log has to say: `dd_ros demo` shows these two lines
        print(line, flush=True)
    if said and status:
        print("display: expected predicted frames on the topic predicted_image, got none", file=sys.stderr)
    return status


if __name__ == "__main__":
    leave(main())
