# SPDX-License-Identifier: Apache-2.0
"""The other side of nodes under test: keeps what they publish, and calls their services."""

from __future__ import annotations

import threading
from array import array
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any

import rclpy
from dd_ros_msgs.msg import ActionSequence, PredictedVideo
from dd_ros_msgs.srv import PredictRollouts
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import MessageInfo
from rclpy.task import Future
from std_msgs.msg import String

from dd_ros.data.plans import to_ns
from dd_ros.demo.scene import FAULT_TOPIC
from dd_ros.live.bench import Received
from dd_ros.ros.messages import video_frames

RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
REMEMBERED = 1000  # chunks
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}


class Operator:
    """A participant in a ROS domain with a thread that takes what comes."""

    def __init__(self, domain: int):
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("operator", context=self._context)
        self._word = self._node.create_publisher(String, FAULT_TOPIC, RELIABLE)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="operator", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def tell(self, word: str) -> None:
        """Tell the programs of a soak what to do."""
        self._word.publish(String(data=word))

    def node(self, name: str) -> Remote:
        """A predictor by its full name."""
        return Remote(self._node, name)


class Remote:
    """A predictor, seen from outside.

    Attributes:
        predictions: its newest chunks as they came; whoever reads them may take them out.
        values: name -> value of its last diagnostics of predictions.
        statuses: part -> level and message of its last diagnostics.
    """

    def __init__(self, node: rclpy.node.Node, name: str):
        self.name = name
        self.predictions: deque[Received] = deque(maxlen=REMEMBERED)
        self.values: dict[str, str] = {}
        self.statuses: dict[str, tuple[int, str]] = {}
        self._clients: dict[type, Any] = {
            kind: node.create_client(kind, f"{name}/{service}")
            for kind, service in (
                (PredictRollouts, "predict_rollouts"),
                (ChangeState, "change_state"),
                (SetParameters, "set_parameters"),
            )
        }
        node.create_subscription(PredictedVideo, f"{name}/prediction", self._prediction, RELIABLE)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)

    def _prediction(self, message: PredictedVideo, info: MessageInfo) -> None:
        targets = tuple(to_ns(stamp) for stamp in message.target_stamps)
        self.predictions.append(
            Received(
                to_ns(message.header.stamp), info["source_timestamp"], message.chunk, message.chunks,
                message.first_step, targets, tuple(message.late), video_frames(message),
            )
        )  # fmt: skip

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node, _, part = status.name.partition(": ")
            if node == self.name:
                self.statuses[part] = status.level[0], status.message
                if part == "prediction":
                    self.values = {item.key: item.value for item in status.values}

    def there(self) -> bool:
        """Whether the node exists; it may be configuring."""
        return bool(self._clients[ChangeState].service_is_ready())

    def ask(self, candidates: int, dim: int) -> Future[Any]:
        """Request that many rollouts of one command of ``dim`` values each, held over the horizon, without frames."""
        sequence = ActionSequence(count=1, dim=dim, data=array("f", [0.0] * dim))
        return self._call(PredictRollouts, PredictRollouts.Request(candidates=[sequence] * candidates))

    def change(self, transition: str) -> Future[Any]:
        """Request a lifecycle transition by its name."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        return self._call(ChangeState, request)

    def set(self, name: str, value: Any) -> Future[Any]:
        """Request a change of a parameter."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self._call(SetParameters, request)

    def _call(self, kind: type, request: Any) -> Future[Any]:
        return self._clients[kind].call_async(request)
