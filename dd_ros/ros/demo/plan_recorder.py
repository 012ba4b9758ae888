# SPDX-License-Identifier: Apache-2.0
"""The node ``plan_recorder``: watches a planner at a PushT table; video, goals reached, time of plans."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from dd_ros_msgs.msg import ActionSequence, PredictedVideo
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray

from dd_ros.data.images import decode_rgb
from dd_ros.demo.goals import away, reached
from dd_ros.demo.simulate import IMAGE_TOPIC, PLAN_TOPIC, RATE_HZ, STATE_TOPIC
from dd_ros.errors import InputError
from dd_ros.evaluation.video import side_by_side, tile, write_video
from dd_ros.ros.demo.table import GOAL_IMAGE, GOAL_STATE, KEPT
from dd_ros.ros.demo.threaded import RELIABLE
from dd_ros.ros.messages import video_frames
from dd_ros.ros.spin import run_until_signalled

KEEP = 1200  # images at the end that go into the video
SIDE = 96


class Moment(NamedTuple):
    """What was to be seen at one image: uint8 RGB [96, 96, 3] of camera, prediction and goal."""

    camera: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    goal: NDArray[np.uint8]


class Outcome(NamedTuple):
    """A goal that is over: whether it was reached, after how many steps, and how far it was at first and in the end, as
    distance of pusher and block together (units) and turn of the block (rad)."""

    reached: bool
    steps: int
    first: tuple[float, float]
    last: tuple[float, float]


class PlanRecorder(Node):
    """Watches until ``seconds`` after the first plan are over.

    Attributes:
        done: set then, or with False where no plan came within ``patience``.
        outcomes: of goals.
    """

    def __init__(self) -> None:
        super().__init__("plan_recorder")
        self.out = Path(str(self._declare("out", "out/plan", "Folder for video and report.")))
        self.seconds = self._seconds("seconds", 60.0, "Time to record from the first plan on.")
        self.patience = self._seconds("patience", 180.0, "Longest wait for the first plan.")
        self.done: Future[bool] = Future()
        self.outcomes: list[Outcome] = []
        self.plans = 0
        self.values: dict[str, str] = {}
        self._moments: deque[Moment] = deque(maxlen=KEEP)
        blank: NDArray[np.uint8] = np.zeros((SIDE, SIDE, 3), np.uint8)
        self._predicted, self._goal_image = blank, blank
        self._goal: NDArray[np.float64] | None = None
        self._steps, self._first, self._last = 0, (0.0, 0.0), (0.0, 0.0)
        self._latched = False
        self.create_subscription(Image, IMAGE_TOPIC.lstrip("/"), self._image, RELIABLE)
        self.create_subscription(Image, GOAL_IMAGE, self._take_goal_image, KEPT)
        self.create_subscription(Float64MultiArray, GOAL_STATE, self._take_goal, KEPT)
        self.create_subscription(JointState, STATE_TOPIC.lstrip("/"), self._state, RELIABLE)
        self.create_subscription(ActionSequence, PLAN_TOPIC.lstrip("/"), self._plan, RELIABLE)
        self.create_subscription(PredictedVideo, "predictor/prediction", self._prediction, RELIABLE)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._began = self._steady.now()
        self._planned_at: Time | None = None
        self.create_timer(0.1, self._watch, clock=self._steady)

    def write(self) -> dict[str, Any]:
        """Write ``plan.mp4`` and ``plan.json``; gives the figures. InputError where they cannot be written."""
        found = {
            "goals": len(self.outcomes),
            "reached": sum(outcome.reached for outcome in self.outcomes),
            "plans": self.plans,
            "outcomes": [outcome._asdict() for outcome in self.outcomes],
            "planner": self.values,
        }
        if self._moments:
            write_video(self.out / "plan.mp4", self._frames(), RATE_HZ)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "plan.json").write_text(json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise InputError(
                f"{self.out}: cannot be written ({error.strerror}); choose another folder"
            ) from error
        return found

    def _frames(self) -> Iterator[NDArray[np.uint8]]:
        for moment in self._moments:
            labels = ("camera", "predicted under the plan", "goal")
            yield side_by_side([tile(image, label) for image, label in zip(moment, labels, strict=True)])

    def _declare(self, name: str, default: object, text: str, **more: Any) -> object:
        descriptor = ParameterDescriptor(description=text, read_only=True, **more)
        return self.declare_parameter(name, default, descriptor).value  # type: ignore[arg-type]

    def _seconds(self, name: str, default: float, text: str) -> float:
        limits = [FloatingPointRange(from_value=0.0, to_value=1e6)]
        return float(self._declare(name, default, text, floating_point_range=limits))  # type: ignore[arg-type]

    def _image(self, message: Image) -> None:
        if self._planned_at is not None:
            self._moments.append(Moment(decode_rgb(message, SIDE, SIDE), self._predicted, self._goal_image))

    def _take_goal_image(self, message: Image) -> None:
        self._goal_image = decode_rgb(message, SIDE, SIDE)

    def _prediction(self, message: PredictedVideo) -> None:
        if message.chunk == message.chunks - 1:
            self._predicted = video_frames(message)[-1].copy()

    def _take_goal(self, message: Float64MultiArray) -> None:
        """The goal before it is over."""
        if self._goal is not None and self._planned_at is not None and self._steps:
            self.outcomes.append(Outcome(self._latched, self._steps, self._first, self._last))
        self._goal = state_of(message.data)
        self._steps, self._latched = 0, False

    def _state(self, message: JointState) -> None:
        if self._goal is None:
            return
        state = state_of(message.position)
        places, _, turn = away(state, self._goal)
        self._last = float(places), float(turn)
        if self._steps == 0:
            self._first = self._last
        self._steps += 1
        self._latched = self._latched or bool(reached(state, self._goal)[0])

    def _plan(self, message: ActionSequence) -> None:
        if message.count > 1:  # one action alone holds the robot still
            self.plans += 1
            self._planned_at = self._planned_at or self._steady.now()

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": planner"):
                self.values = {"message": status.message} | {item.key: item.value for item in status.values}

    def _watch(self) -> None:
        since = self._planned_at or self._began
        passed = (self._steady.now() - since).nanoseconds / 1e9
        if self._planned_at is None and passed > self.patience and not self.done.done():
            self.done.set_result(False)
        elif self._planned_at is not None and passed > self.seconds and not self.done.done():
            self.done.set_result(True)


def state_of(values: Sequence[float]) -> NDArray[np.float64]:
    """A state [5] from pusher x, y, block x, y, cosine and sine of its angle."""
    return np.array([*values[:4], np.arctan2(values[5], values[4])])


def main(args: Sequence[str] | None = None) -> int:
    """Watch, then write; 1 where no plan came."""
    said: list[str] = []

    def finish(node: PlanRecorder) -> int:
        found = node.write()
        took = found["planner"].get("plan p50/p99 (ms)", "none")
        said.append(
            f"{found['reached']} of {found['goals']} goals reached, {found['plans']} plans, p50/p99 {took} ms"
        )
        said.append(f"video and report in {node.out}")
        return 0 if found["plans"] else 1

    status = run_until_signalled(
        "plan_recorder",
        PlanRecorder,
        args,
        start=lambda node: None,
        stop=finish,
        over=lambda node: node.done.done(),
    )
    for line in said:
        print(line, flush=True)
    if said and status:
        print("plan_recorder: expected plans on the topic pusher/plan, got none", file=sys.stderr)
    return status


if __name__ == "__main__":
    leave(main())
