# SPDX-License-Identifier: Apache-2.0
"""The node ``recorder``: listens to a camera and to predictions of it, and reports how well they fit.

ros2 run dd_ros recorder --ros-args -r image:=/camera/image_raw -p seconds:=30.0 -p out:=out/demo
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dd_ros_msgs.msg import PredictedVideo
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import MessageInfo
from rclpy.task import Future
from std_srvs.srv import Trigger

from dd_ros.data.images import IMAGE_TYPES
from dd_ros.data.plans import to_ns
from dd_ros.demo.recording import Piece, Recording
from dd_ros.demo.report import summary, write_report
from dd_ros.errors import InputError
from dd_ros.live.problems import Level, Problems
from dd_ros.live.statistics import Rate
from dd_ros.ros.messages import video_frames
from dd_ros.ros.spin import run_until_signalled
from dd_ros.ros.topics import Input

DEPTH = 50  # messages that may wait while this process is busy
PROGRESS_PERIOD = 5.0  # s
SILENCE = 5.0  # s without a camera frame that are worth a line in the log


class Recorder(Node):
    """Fills a ``Recording`` from the topics ``image`` and ``prediction``.

    Attributes:
        done: set once ``seconds`` are over, or when no prediction came within ``patience``.
        recording: what came.
    """

    def __init__(self) -> None:
        super().__init__("recorder")
        self.out = Path(str(self._declare("out", "out/demo", "Folder for video, images and report.")))
        self.seconds = self._seconds(
            "seconds", 0.0, "Time to record from the first prediction on; 0: no end."
        )
        self.patience = self._seconds("patience", 120.0, "Longest wait for the first prediction; 0: no end.")
        keep = self._seconds("keep_seconds", 60.0, "How much of the end goes into the video.")
        self.recording = Recording(keep)
        self.checkpoint = ""
        self.node_values: dict[str, str] = {}
        self.done: Future[bool] = Future()
        # Follows the camera's publishers: type, and reliability, so that no frame is lost on the way.
        self._camera = Input(
            self, "image", topics=["image"], types=list(IMAGE_TYPES), depth=DEPTH, callback=self._image, rate=Rate(),
            problems=Problems(self._log),
        )  # fmt: skip
        reliable = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(PredictedVideo, "prediction", self._prediction, reliable)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        self.create_service(Trigger, "~/write", self._write_now)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._began = steady.now()
        self._steady = steady
        self._first: Any = None
        self._told = 0.0
        self._writing: threading.Thread | None = None
        self.create_timer(0.1, self._watch, clock=steady)

    def write(self) -> dict[str, Any]:
        """Write the report and return its figures; InputError where it cannot be written."""
        if self._writing is not None:
            self._writing.join()
        return write_report(self.recording, self.out, checkpoint=self.checkpoint, node=self.node_values)

    def _declare(self, name: str, default: object, text: str, **more: Any) -> object:
        return self.declare_parameter(
            name, default, ParameterDescriptor(description=text, read_only=True, **more)
        ).value  # type: ignore[arg-type]

    def _seconds(self, name: str, default: float, text: str) -> float:
        limits = [FloatingPointRange(from_value=0.0, to_value=1e6)]
        return float(self._declare(name, default, text, floating_point_range=limits))  # type: ignore[arg-type]

    def _image(self, msg: Any, _: str) -> None:
        try:
            self.recording.frame(to_ns(msg.header.stamp), msg)
        except InputError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=10.0)

    def _prediction(self, msg: PredictedVideo, info: MessageInfo) -> None:
        stamp, target = to_ns(msg.header.stamp), to_ns(msg.target_stamps[0])
        self.checkpoint = msg.checkpoint
        self._first = self._first or self._steady.now()
        self.recording.piece(
            Piece(
                stamp_ns=stamp, step_ns=(target - stamp) // msg.first_step, first_step=msg.first_step,
                chunk=msg.chunk, chunks=msg.chunks, frames=video_frames(msg), late=tuple(msg.late),
                published_ns=info["source_timestamp"],
            )
        )  # fmt: skip

    def _diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name.endswith(": prediction"):
                self.node_values = {"message": status.message} | {v.key: v.value for v in status.values}

    def _write_now(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Write what there is, on a thread, for the video takes a while and recording goes on."""
        if self._writing is not None and self._writing.is_alive():
            response.message = "expected one report at a time, one is being written"
            return response
        self._writing = threading.Thread(target=self._write_copy, args=(self.recording.copy(),))
        self._writing.start()
        response.success = True
        response.message = f"writing {self.recording.predictions} predictions to {self.out}"
        return response

    def _write_copy(self, recording: Recording) -> None:
        try:
            result = write_report(
                recording, self.out, checkpoint=self.checkpoint, node=dict(self.node_values)
            )
            self.get_logger().info(f"{self.out / 'report.md'} written: {summary(result)}")
        except InputError as error:
            self.get_logger().error(str(error))

    def _log(self, level: Level, text: str) -> None:
        if level is Level.OK:  # one line of code per severity: rclpy ties them together
            self.get_logger().info(text)
        else:
            self.get_logger().warning(text)

    def _watch(self) -> None:
        self._camera.watch(SILENCE, "camera frames")
        now = self._steady.now()
        if self._first is None:
            if self.patience and (now - self._began).nanoseconds > self.patience * 1e9:
                self.done.set_result(False)
            return
        passed = (now - self._first).nanoseconds / 1e9
        if passed >= self._told + PROGRESS_PERIOD:
            self._told = passed
            age = self.recording.first_chunk_ages[-1] / 1e6
            self.get_logger().info(
                f"{passed:.0f} s: {self.recording.predictions} predictions, the newest {age:.0f} ms old when published"
            )
        if self.seconds and passed >= self.seconds and not self.done.done():
            self.done.set_result(True)


def main(args: Sequence[str] | None = None) -> int:
    """Record, then write the report; 1 when no prediction came, 2 when it cannot be written."""
    said: list[str] = []
    status = run_until_signalled(
        "recorder", Recorder, args, start=lambda node: None, stop=lambda node: _finish(node, said),
        over=lambda node: node.done.done(),
    )  # fmt: skip
    for (
        line
    ) in said:  # last of all, whatever the log has to say meanwhile: `dd_ros demo` shows these two lines
        print(line, flush=True)
    if said and status:
        print("recorder: expected predictions on the topic prediction, got none", file=sys.stderr)
    return status


def _finish(node: Recorder, said: list[str]) -> int:
    """Write what was recorded, and add what there is to say of it to ``said``."""
    result = node.write()
    said += [summary(result), f"report in {node.out / 'report.md'}"]
    return 0 if result["predictions"] else 1


if __name__ == "__main__":
    leave(main())
