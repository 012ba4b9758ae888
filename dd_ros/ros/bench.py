# SPDX-License-Identifier: Apache-2.0
"""The two ends of ``dd_ros bench --node`` that speak ROS: a camera, and a listener that keeps what the node publishes.

``python -m dd_ros.ros.bench RATE DIM`` is the camera, at RATE Hz and with commands of DIM values, until interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave_at_once_when_signalled

    leave_at_once_when_signalled()

import time
from array import array
from collections.abc import Mapping, Sequence

import numpy as np
import rclpy
from dd_ros_msgs.msg import PredictedVideo
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from dd_ros.data.plans import to_ns
from dd_ros.errors import InputError
from dd_ros.live.bench import ACTION_TOPIC, ACTIONS_PER_IMAGE, CAMERA, IMAGE_TOPIC, Arrival, Counters
from dd_ros.ros.diagnostics import LOST_IMAGES, OBSERVED_FRAMES, STEPS_SKIPPED
from dd_ros.ros.messages import to_time
from dd_ros.ros.signals import Ending, noted


class Listener:
    """Keeps what the node publishes.

    Args:
        domain: the ROS domain that it is in.

    Attributes:
        arrivals: every chunk.
    """

    def __init__(self, domain: int):
        self.arrivals: list[Arrival] = []
        self._values: dict[str, str] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("bench_listener", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        reliable = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self._node.create_subscription(PredictedVideo, "/predictor/prediction", self._chunk, reliable)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)

    def _chunk(self, message: PredictedVideo) -> None:
        now = time.time_ns()
        stamp = to_ns(message.header.stamp)
        self.arrivals.append(Arrival(now, stamp, message.chunk, message.chunks, tuple(message.late)))

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": prediction"):
                self._values = {item.key: item.value for item in status.values}

    def listen(self, seconds: float) -> None:
        """Wait for a message, ``seconds`` at most, and take it."""
        self._executor.spin_once(timeout_sec=seconds)

    def counters(self) -> Counters:
        """The node's newest counters; InputError where it has published none."""
        return counters(self._values)

    def value(self, key: str) -> str:
        """A value of the node's newest diagnostics of predictions; empty where there is none."""
        return self._values.get(key, "")

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def counters(values: Mapping[str, str]) -> Counters:
    """The counters in diagnostics of the predictions.

    Raises:
        InputError: one is not there; the message lists those that are.
    """
    try:
        observed, dropped, lost = (int(values[key]) for key in (OBSERVED_FRAMES, STEPS_SKIPPED, LOST_IMAGES))
    except KeyError as error:
        there = ", ".join(sorted(values)) or "nothing"
        raise InputError(f"--node: expected {error} in the node's diagnostics, got {there}") from error
    return Counters(observed, dropped, lost)


def camera(rate: float, dim: int, ending: Ending) -> None:
    """Publish VGA images at ``rate`` Hz and commands of ``dim`` values more often, until a signal comes."""
    node = rclpy.create_node("bench_camera")
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(Image, IMAGE_TOPIC, reliable)
    actions = node.create_publisher(JointState, ACTION_TOPIC, reliable)
    width, height = CAMERA
    pixels = np.random.default_rng(0).integers(0, 256, (2, height * width * 3), np.uint8)
    shots = [
        Image(height=height, width=width, encoding="rgb8", step=3 * width, data=array("B", shot.tobytes()))
        for shot in pixels
    ]
    command = JointState(position=[0.0] * dim)
    period, start, count = 1.0 / (rate * ACTIONS_PER_IMAGE), time.monotonic(), 0
    while not ending.asked:
        stamp = time.time_ns()
        command.header.stamp = to_time(stamp)
        actions.publish(command)
        if count % ACTIONS_PER_IMAGE == 0:
            shot = shots[count // ACTIONS_PER_IMAGE % 2]
            shot.header.stamp = command.header.stamp
            shot.header.frame_id = "camera"
            images.publish(shot)
        count += 1
        time.sleep(max(0.0, start + count * period - time.monotonic()))


def main(arguments: Sequence[str]) -> None:
    """The camera as a program: rate in Hz and action dimension."""
    with noted() as ending:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        camera(float(arguments[0]), int(arguments[1]), ending)
        rclpy.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
