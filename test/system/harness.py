# SPDX-License-Identifier: Apache-2.0
"""A real node in its own process, and a client that talks to it over real topics."""

from __future__ import annotations

import os
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from dd_ros_msgs.msg import ActionSequence, PredictedVideo
from dd_ros_msgs.srv import PredictRollouts
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

from dd_ros.processes import Process, free_domain, started
from dd_ros.ros.shared_memory import clear_dead_segments
from dd_ros.ros.transport import node_environment

RCLError = rclpy_implementation.RCLError
ROOT = Path(__file__).resolve().parents[2]
STEP_NS = 100_000_000  # of the tiny checkpoint
PATIENCE = 150.0  # s; a limit for broken code, not a measure of speed
STOP_TIME = 20.0  # s for a program to end when asked to
# As `ros2 launch FILE NAME:=VALUE...`, which is not to be had as wheels.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService(argv=[])
arguments = [argument.split(":=") for argument in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)]))
sys.exit(service.run())
"""
needs_launch = pytest.mark.skipif(
    find_spec("launch_ros") is None or not os.environ.get("AMENT_PREFIX_PATH"),
    reason="needs launch_ros, which is not on PyPI, and AMENT_PREFIX_PATH, as a sourced ROS 2 has both",
)


def environment(domain: int) -> dict[str, str]:
    """Environment of nodes that only see each other, on one thread each."""
    return node_environment(domain) | {"OMP_NUM_THREADS": "1"}


@contextmanager
def running(command: list[str], log: Path, env: dict[str, str]) -> Iterator[Process]:
    """A program that is gone afterwards, whatever happens, with what Fast DDS may have left of it."""
    try:
        with started({log.stem: command}, log.parent, env, patience=STOP_TIME) as processes:
            yield processes[log.stem]
    finally:
        clear_dead_segments()


def predictor_command(checkpoint: Path, *extra: str, **parameters: object) -> list[str]:
    """Command line of the node with a checkpoint and parameters; predictions are whole, however busy the machine is."""
    command = [sys.executable, "-m", "dd_ros.ros.node", "--ros-args", "-r", "image:=/camera/image_raw"]
    command += ["-r", "action:=/action", "-r", "plan:=/plan", "-p", "device:=cpu", *extra]
    for name, value in {"checkpoint": checkpoint, "keep": "all", **parameters}.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        command += ["-p", f"{name}:={text}"]
    return command


class Robot:
    """The other side: publishes camera and commands, and keeps what the node sends.

    Args:
        domain: ROS domain.
        log: file with the node's output.
        node_name: full name of the predictor.
    """

    def __init__(self, domain: int, log: Path, node_name: str = "/predictor"):
        self.log, self.name = log, node_name
        self.domain = domain
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.predictions: list[PredictedVideo] = []
        self.statuses: dict[str, DiagnosticStatus] = {}
        self._publishers: dict[tuple[str, type, bool], Any] = {}
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self.node.create_subscription(
            PredictedVideo, f"{node_name}/prediction", self.predictions.append, reliable
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.stamp, self.offset = time.time_ns(), 0

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def _diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            node, _, part = status.name.partition(": ")
            if node == self.name:
                self.statuses[part] = status

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def output(self) -> str:
        """What the node has written so far."""
        return self.log.read_text(errors="replace")

    def until(self, condition: Callable[[], Any], what: str, doing: Callable[[], Any] | None = None) -> Any:
        """Wait until ``condition`` holds, calling ``doing`` at 10 Hz or less; its value."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            if doing is not None:
                doing()
            time.sleep(0.02 if doing is None else 0.1)
        raise AssertionError(
            f"waited {PATIENCE} s in vain for {what}; diagnostics {self.shown()}; log:\n{self.output()}"
        )

    def says(self, part: str, *words: str, doing: Callable[[], Any] | None = None) -> str:
        """Wait until the diagnostics of ``part`` hold all ``words``; the message with its level."""

        def found() -> str | None:
            text = self.shown().get(part, "")
            return text if all(word in text for word in words) else None

        return self.until(found, f"{words} in the diagnostics of {part}", doing)

    def shown(self) -> dict[str, str]:
        """Diagnostics: part -> level and message."""
        return {part: f"{status.level[0]} {status.message}" for part, status in self.statuses.items()}

    def publisher(self, topic: str, kind: type, reliable: bool = True) -> Any:
        """A publisher, made at first use."""
        key = (topic, kind, reliable)
        if key not in self._publishers:
            reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            self._publishers[key] = self.node.create_publisher(
                kind, topic, QoSProfile(depth=5, reliability=reliability)
            )
        return self._publishers[key]

    def publisher_once_free(self, topic: str, kind: type) -> Any:
        """A publisher on a topic that had another type: Fast DDS lets go of the old one a bit later."""

        def attempt() -> Any:
            with suppress(RCLError):
                return self.publisher(topic, kind)

        return self.until(attempt, f"{topic} to be free for {kind.__name__}")

    def drop_publisher(self, topic: str, kind: type, reliable: bool = True) -> None:
        publisher = self._publishers.pop((topic, kind, reliable), None)
        if publisher is not None:
            self.node.destroy_publisher(publisher)

    def next_stamp(self) -> int:
        """The next camera time: one model step on, and never far from now (plus ``offset``)."""
        self.stamp = max(self.stamp + STEP_NS, time.time_ns() + self.offset)
        return self.stamp

    def act(self, stamp: int, values: list[float] | None = None) -> None:
        """Publish one command."""
        msg = JointState(position=[0.5, -0.5] if values is None else values)
        set_stamp(msg, stamp)
        self.publisher("/action", JointState).publish(msg)

    def step(self, **image_changes: Any) -> int:
        """One good model step: a command and then an image, with changes to the image's message."""
        stamp = self.next_stamp()
        self.act(stamp)
        self.publisher("/camera/image_raw", Image).publish(image_message(stamp, **image_changes))
        return stamp

    def recovers(self) -> None:
        """Good input leads to predictions again, and the diagnostics show nothing else."""
        self.predictions.clear()
        self.until(lambda: len(self.predictions) >= 8, "predictions from good input", self.step)
        good = {"image": "0 ok", "action": "0 ok", "plan": "0 ok", "prediction": "0 ok"}
        self.until(lambda: self.shown() == good, "good diagnostics", self.step)

    def call(self, kind: type, name: str, request: Any) -> Any:
        """Result of a service of the predictor."""
        client = self.node.create_client(kind, f"{self.name}/{name}")
        try:
            self.until(client.service_is_ready, f"service {name}")
            future = client.call_async(request)
            self.until(future.done, f"answer of {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def call_rollouts(self, candidates: Sequence[Sequence[float]] = ((0.0, 0.0),), **fields: Any) -> Any:
        """Answer of predict_rollouts for candidates that each hold one action."""
        sequences = [ActionSequence(count=1, dim=len(row), data=array("f", row)) for row in candidates]
        request = PredictRollouts.Request(candidates=sequences, **fields)
        return self.call(PredictRollouts, "predict_rollouts", request)

    def value(self, part: str, key: str) -> str:
        """One value of the diagnostics; empty before there are any."""
        status = self.statuses.get(part)
        return next((v.value for v in status.values if v.key == key), "") if status else ""

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def change_state(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.id = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}[label]
        return self.call(ChangeState, "change_state", request).success

    def set_parameter(self, name: str, value: Any) -> Any:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "set_parameters", request).results[0]

    def get_parameter(self, name: str) -> Any:
        return self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name])).values[0]

    def describe(self, name: str) -> Any:
        request = DescribeParameters.Request(names=[name])
        return self.call(DescribeParameters, "describe_parameters", request).descriptors[0]


@contextmanager
def robot_with_predictor(log: Path, *command: str, node_name: str = "/predictor") -> Iterator[Robot]:
    """A running predictor, started by ``command``, and the robot that talks to it.

    At the end the node must go quietly and leave no traceback in its log.
    """
    domain = free_domain()
    with running(list(command), log, environment(domain)) as process:
        robot = Robot(domain, log, node_name)
        try:
            robot.until(lambda: robot.statuses, "first diagnostics")
            yield robot
        finally:
            robot.close()
    assert process.status == 0, robot.output()
    assert "Traceback" not in robot.output(), robot.output()


def set_stamp(msg: Any, stamp: int) -> None:
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 1_000_000_000)


def pixels(stamp: int, width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """An image that depends on the stamp alone."""
    rng = np.random.default_rng(stamp % 2**32)
    coarse = rng.integers(0, 256, (4, 6, 3), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((height // 4, width // 6, 1), np.uint8)))


def image_message(stamp: int, width: int = 48, height: int = 32, **changes: Any) -> Image:
    """An rgb8 Image of that image; ``changes`` replace fields of the message."""
    data = array("B", pixels(stamp, width, height).tobytes())
    fields = {"height": height, "width": width, "encoding": "rgb8", "step": 3 * width, "data": data}
    msg = Image(**(fields | changes))
    msg.header.frame_id = "camera_optical"
    set_stamp(msg, stamp)
    return msg
