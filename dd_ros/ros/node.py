# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``predictor``: camera and commands in, predicted frames out."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

import gc
import warnings
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockChange, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.parameter import Parameter

from dd_ros.data.commands import Commands
from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.live.problems import Level, Problems
from dd_ros.live.settings import PredictorParameters, violation
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Worker
from dd_ros.predictor import Predictor
from dd_ros.ros.diagnostics import Condition, diagnostic_array, diagnostic_statuses
from dd_ros.ros.guard import Guard, reason_of
from dd_ros.ros.inputs import Inputs, action_sources
from dd_ros.ros.lifecycle import ManagedNode
from dd_ros.ros.parameters import declare, read
from dd_ros.ros.publishers import Publishers
from dd_ros.ros.service import RolloutService
from dd_ros.ros.spin import run_until_signalled
from dd_ros.ros.topics import namesakes

WATCH_PERIOD = 0.2  # s; how soon new publishers are noticed
DIAGNOSTICS_PERIOD = 1.0  # s


class PredictorNode(ManagedNode):
    """Wires topics, parameters and services to the worker; does no inference itself."""

    def __init__(self, **kwargs: Any):
        super().__init__("predictor", **kwargs)
        self.settings = declare(self, PredictorParameters)
        for name in ("device", "image_transport", "image_leads", "keep"):
            reason = violation(PredictorParameters, name, getattr(self.settings, name))
            if reason:
                raise InputError(reason)
        self.statistics = Statistics()
        self.problems = Problems(self._log)
        self.predictor: Predictor | None = None
        self.outputs: Publishers | None = None
        self.inputs: Inputs | None = None
        self.worker: Worker | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.guard = guard = Guard(self.context, self.problems)
        self._watchers = [
            self.create_timer(WATCH_PERIOD, guard("prediction watch", self._watch), clock=steady),
            self.create_timer(
                DIAGNOSTICS_PERIOD, guard("prediction diagnostics", self.publish_diagnostics), clock=steady
            ),
        ]
        self.add_on_set_parameters_callback(
            guard("prediction parameters", self._check_parameters, refused=parameters_refused)
        )
        self.add_post_set_parameters_callback(guard("prediction parameters", self._apply_parameters))
        backward = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(
            backward, post_callback=guard("image clock", self._clock_jumped)
        )
        self.rollouts = RolloutService(
            self, guard=guard, active=self._at_work, max_candidates=self.settings.max_candidates
        )

    def configure(self) -> None:
        """Load the checkpoint and run it once, so that the first prediction is as fast as any."""
        settings = self.settings
        predictor = Predictor.load(
            settings.checkpoint, settings.device, settings.seed, batches=settings.rollout_batches,
            compiled=settings.compile,
        )  # fmt: skip
        self.predictor = predictor
        self._set_schedule(predictor, self.settings.schedule)
        with warnings.catch_warnings(record=True) as warned:
            predictor.warm_up(all_batches=True)
        for warning in warned:  # such as batches that do not fit into the device's memory
            self.get_logger().warning(str(warning.message))
        streams = predictor.config.streams
        self.get_logger().info(
            f"{predictor.config.name} on {predictor.device}: {streams.width}x{streams.height} at "
            f"{streams.rate_hz:g} Hz, {predictor.horizon} steps ahead, {predictor.action_dim} action values"
        )
        self.outputs = Publishers(
            self, predictor=predictor, statistics=self.statistics, settings=self.settings
        )

    def activate(self) -> None:
        """Subscribe and start the inference thread."""
        if self.predictor is None or self.outputs is None:
            raise InputError("activate: the node is not configured")
        self.statistics.clear()
        self.problems.clear()
        config = self.predictor.config
        dims = [source.dim or 0 for source in action_sources(self.settings.action_topic, config)]
        commands = Commands(dims, config.streams.action_mode, lag_ns=config.streams.action_lag_ns)
        self._set_schedule(self.predictor, self.settings.schedule)
        self.predictor.seed(self.settings.seed)
        self.worker = Worker(
            self.predictor,
            commands,
            self.outputs,
            problems=self.problems,
            statistics=self.statistics,
            settings=self.settings,
            now_ns=self._now_ns,
        )
        self.worker.start()
        self.inputs = Inputs(
            self, config, self.settings, commands=commands, worker=self.worker, publishers=self.outputs,
            statistics=self.statistics, problems=self.problems,
        )  # fmt: skip

    def deactivate(self) -> None:
        """Stop listening and predicting; the weights stay."""
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def cleanup(self) -> None:
        """Let go of the weights and take the topics back."""
        if self.outputs is not None:
            self.outputs.destroy()
            self.outputs = None
        self.predictor = None
        gc.collect()  # a graphics card's memory must be free for whoever is configured next

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _watch(self) -> None:
        if self.worker is not None and self.worker.device_error:
            text = (
                f"expected a working {self.settings.device} device, got {self.worker.device_error!r}: the node goes back to "
                "unconfigured; configure it again, or where that fails start it again"
            )
            self.problems.report("prediction device", text)
            self.trigger_deactivate()
            self.trigger_cleanup()
        if self.inputs is not None:
            self.inputs.watch()
        if self.get_parameter("use_sim_time").value and self.get_clock().now().nanoseconds == 0:
            self.problems.report(
                "prediction clock", "expected simulated time on /clock (use_sim_time is true), got none yet"
            )
        else:
            self.problems.solved("prediction clock")
        same = namesakes(self)
        if same > 1:
            text = (
                f"expected one node {self.get_fully_qualified_name()}, got {same} (one that was killed counts for "
                "some 20 s more): requests and diagnostics are mixed; give each its own with -r __node:=NAME or __ns:=/NAME"
            )
            self.problems.report("prediction name", text, Level.WARN)
        else:
            self.problems.solved("prediction name")

    def publish_diagnostics(self) -> None:
        """Publish the state of the node."""
        predictor = self.predictor
        condition = Condition(
            node=self.get_fully_qualified_name(),
            phase=self.phase,
            failure=self.failure,
            device="" if predictor is None else str(predictor.device),
            checkpoint="" if predictor is None else predictor.config.name,
            topics={} if self.inputs is None else self.inputs.topics(),
            dropped=0 if self.worker is None else self.worker.mailbox.dropped,
            waiting=0 if self.worker is None else len(self.worker.requests),
        )
        statuses = diagnostic_statuses(condition, self.statistics, self.problems)
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), statuses))

    def _clock_jumped(self, jump: TimeJump) -> None:
        if self.inputs is None:
            return
        now = self.get_clock().now().nanoseconds
        if jump.clock_change != ClockChange.ROS_TIME_NO_CHANGE:
            self.inputs.images.on_time_jump(now, "the node changed between simulated and real time")
        else:
            self.inputs.images.on_time_jump(now, f"/clock went back by {-jump.delta.nanoseconds / 1e9:.1f} s")

    def _set_schedule(self, predictor: Predictor, name: str) -> None:
        config = predictor.config
        predictor.set_schedule(
            preset(name, predictor.chunk_frames, predictor.horizon) if name else config.schedule
        )

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for item in parameters:
            reason = violation(PredictorParameters, item.name, item.value)
            if item.name == "schedule" and item.value:
                reason = self._schedule_violation(item.value)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _schedule_violation(self, name: str) -> str | None:
        chunk_frames, horizon = (
            (2, 8) if self.predictor is None else (self.predictor.chunk_frames, self.predictor.horizon)
        )
        try:
            schedule = preset(name, chunk_frames, horizon)
        except InputError as error:
            return str(error)
        if schedule.chunk_frames != chunk_frames:
            return f"schedule {name!r}: expected chunks of {chunk_frames} frames, got {schedule.chunk_frames}"
        return None

    def _apply_parameters(self, parameters: list[Parameter]) -> None:
        self.settings = settings = read(self, PredictorParameters)
        for part in (self.inputs, self.worker, self.outputs):
            if part is not None:
                part.settings = settings
        predictor, changed = self.predictor, {item.name for item in parameters}
        if predictor is None or self.worker is None:
            return  # activation takes them over
        if "schedule" in changed:
            self.worker.submit(lambda: self._set_schedule(predictor, settings.schedule))
        if "seed" in changed:
            self.worker.submit(lambda: predictor.seed(settings.seed))

    def _at_work(self) -> tuple[Worker, Predictor]:
        if self.worker is None or self.predictor is None:
            raise InputError(f"{self.get_name()}: expected an active node, got {self.phase}")
        return self.worker, self.predictor


def parameters_refused(error: Exception) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason_of(error))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop; 2 after a failed start, with one line saying why."""

    def start(node: PredictorNode) -> None:
        if node.settings.autostart:
            node.start()

    def stop(node: PredictorNode) -> int:
        node.stop()
        return 0

    def failed(node: PredictorNode, error: Exception) -> None:
        node.guard.passed("prediction executor", error)

    return run_until_signalled("predictor", PredictorNode, args, start=start, stop=stop, failed=failed)


if __name__ == "__main__":
    leave(main())
