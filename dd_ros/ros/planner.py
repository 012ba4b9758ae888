# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``planner``: a goal in, plans out, made by asking a predictor for the futures of candidates."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

import threading
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dd_ros_msgs.msg import ActionSequence
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray

from dd_ros.config import CheckpointConfig
from dd_ros.data.commands import Commands
from dd_ros.data.images import decode_rgb
from dd_ros.data.numbers import for_people
from dd_ros.errors import InputError
from dd_ros.live.clocks import Clocks
from dd_ros.live.pilot import DELAY_NS, Actions, Pilot, Plan, Rated, Task
from dd_ros.live.planner_settings import PlannerParameters, bounds_of, numbers
from dd_ros.live.problems import Level, Problems
from dd_ros.live.settings import violation
from dd_ros.live.statistics import Statistics
from dd_ros.planning.solvers import CEM, ICEM
from dd_ros.resources import read_config
from dd_ros.ros.client import PredictionClient, RolloutAsker
from dd_ros.ros.diagnostics import diagnostic_array
from dd_ros.ros.guard import Guard
from dd_ros.ros.inputs import NodeTime, action_inputs
from dd_ros.ros.lifecycle import ManagedNode
from dd_ros.ros.messages import header_at
from dd_ros.ros.parameters import declare, read
from dd_ros.ros.planner_diagnostics import planner_status
from dd_ros.ros.spin import run_until_signalled
from dd_ros.ros.topics import Input

if TYPE_CHECKING:
    from dd_ros.ros.node import PredictorNode

# Who comes later still gets goal and plan.
KEPT = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
WATCH_PERIOD, DIAGNOSTICS_PERIOD = 0.2, 1.0  # s
ANSWER = 2.0  # s beyond its deadline that an answer is waited for
GOAL_FAR = 4.0  # deviations from the mean of training within which a goal lies


class Goal:
    """Where to get to, one way or the other.

    Attributes:
        state: float32 [D], as the checkpoint's read-outs; NaN for any value.
        image: uint8 RGB [H, W, 3].
    """

    def __init__(self, state: NDArray[np.float32] | None = None, image: NDArray[np.uint8] | None = None):
        self.state, self.image = state, image


class PlannerNode(ManagedNode):
    """Wires goal, commands and predictor to a pilot; does no search itself.

    Topics under its name: ``~/goal_state`` (Float64MultiArray, as the checkpoint's read-outs; empty: no goal any more) and
    ``~/goal_image`` (Image); ``action`` (commands as executed); it publishes ``plan`` (ActionSequence).
    """

    def __init__(self, **kwargs: Any):
        super().__init__("planner", **kwargs)
        self.settings = declare(self, PlannerParameters)
        reason = violation(PlannerParameters, "solver", self.settings.solver)
        if reason:
            raise InputError(reason)
        self.statistics, self.problems = Statistics(), Problems(self._log)
        self._config: CheckpointConfig | None = None
        self._commands: Commands | None = None
        self.nearby: PredictorNode | None = self._own_predictor() if self.settings.in_process else None
        self._client: RolloutAsker | None = None
        self._pilot: Pilot | None = None
        self._goal: Goal | None = None
        self._inputs: dict[str, Input] = {}
        self._still = False
        self._lock = threading.Lock()
        self._plans = self.create_publisher(ActionSequence, "plan", KEPT)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.guard = guard = Guard(self.context, self.problems)
        self.create_subscription(
            Float64MultiArray, "~/goal_state", guard("goal state", self._take_state), KEPT
        )
        self.create_subscription(Image, "~/goal_image", guard("goal image", self._take_image), KEPT)
        self.add_post_set_parameters_callback(guard("planner parameters", self._apply_parameters))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            self.create_timer(WATCH_PERIOD, guard("planner watch", self._watch), clock=steady),
            self.create_timer(DIAGNOSTICS_PERIOD, guard("planner diagnostics", self._diagnose), clock=steady),
        ]

    def configure(self) -> None:
        """Read what the checkpoint says of actions and read-outs; its weights are the predictor's."""
        config = read_config(self.settings.checkpoint)
        self._task(config)  # or InputError
        numbers(self.settings.stop_action, config.action.dim, name="stop_action")
        self._config = config

    def activate(self) -> None:
        """Listen, and plan from now on."""
        config = self._config
        if config is None:
            raise InputError("activate: the node is not configured")
        self.statistics.clear()
        self.problems.clear()
        dims = [source.dim or config.action.dim for source in config.streams.actions]
        self._commands = commands = Commands(
            dims, config.streams.action_mode, lag_ns=config.streams.action_lag_ns
        )
        self._inputs = action_inputs(
            self, config, action_topic=self.settings.action_topic, commands=commands,
            clocks=Clocks(NodeTime(self), self.problems), statistics=self.statistics, problems=self.problems,
        )  # fmt: skip
        self._client = self._asker()
        self._pilot = Pilot(
            self._task(config), rate=self._rate, commands=commands, now_ns=self._now_ns, take=self._take_plan,
            fail=self._hold_still, seed=self.settings.seed,
        )  # fmt: skip
        self._pilot.start()

    def deactivate(self) -> None:
        """Stop planning and hold the robot still."""
        if self._pilot is not None:
            self._pilot.stop()
            self._pilot = None
            self._publish_stop()
        if self._client is not None:
            self._client.close()
            self._client = None
        for listener in self._inputs.values():
            listener.destroy()
        self._inputs = {}
        self._commands = None

    def cleanup(self) -> None:
        """Forget the checkpoint's settings."""
        self._config = None

    def _own_predictor(self) -> PredictorNode:
        """A predictor in this process: what it must have in common with the planner, and what the command line says of it."""
        from dd_ros.ros.node import PredictorNode  # it takes seconds to import

        shared = ("checkpoint", "action_topic")
        return PredictorNode(
            context=self.context,
            cli_args=["--ros-args", "-r", f"__node:={self.settings.predictor}"],
            parameter_overrides=[Parameter(name, value=getattr(self.settings, name)) for name in shared],
        )

    def _asker(self) -> RolloutAsker:
        """Who is asked for the futures of candidates."""
        if self.nearby is None:
            name = self.resolve_topic_name(self.settings.predictor)
            return PredictionClient(name, node=self, predictions=False)
        return RolloutAsker(
            self.nearby.get_fully_qualified_name(), call=self.nearby.rollouts.begin, there=lambda seconds: True,
            now_ns=self._now_ns,
        )  # fmt: skip

    def _task(self, config: CheckpointConfig) -> Task:
        settings = self.settings
        kind = ICEM if settings.solver == "icem" else CEM
        return Task(
            step_ns=round(1e9 / config.streams.rate_hz),
            horizon=config.horizon,
            bounds=bounds_of(settings, config.action),
            settings=replace(
                kind, samples=settings.samples, iterations=settings.iterations, elites=settings.elites,
                repeat=settings.block,
            ),
            period=settings.period,
        )  # fmt: skip

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _rate(self, candidates: Actions, *, first_ns: int, seconds: float) -> Rated:
        """Ask the predictor; called from the pilot's thread."""
        with self._lock:
            client, goal, cost = self._client, self._goal, self.settings.cost
        if client is None:
            raise InputError("the node is not active")
        if goal is None:
            raise InputError("goal: expected one on ~/goal_state or ~/goal_image, got none yet")
        found = client.rollouts(
            candidates, cost=cost, goal_image=goal.image, goal_state=goal.state, deadline=max(seconds, 0.0),
            start_ns=first_ns, timeout=max(seconds, 0.0) + ANSWER,
        )  # fmt: skip
        if found.message:
            self.problems.report("plan candidates", found.message, Level.WARN)
        else:
            self.problems.solved("plan candidates")
        return Rated(found.costs, found.stamp_ns)

    def _take_plan(self, plan: Plan) -> None:
        """Publish a plan, unless its goal is gone; called from the pilot's thread."""
        if self._goal is None:
            return
        message = ActionSequence(header=header_at(plan.first_ns, ""))
        message.step = 1.0 / self._config.streams.rate_hz if self._config else 0.0
        message.count, message.dim = plan.actions.shape
        message.data = array("f", np.ascontiguousarray(plan.actions, np.float32).tobytes())
        self._plans.publish(message)
        self._still = False
        self.statistics.predictions.count()
        self.statistics.sample("plan", 1e3 * plan.seconds)
        self.statistics.add("late_plans", int(plan.late))
        self.statistics.add("iterations", plan.iterations)
        self.problems.solved("plan")

    def _hold_still(self, why: str) -> None:
        """There is no plan: the robot must not go on with an old one. Called from the pilot's thread."""
        self.problems.report("plan", f"{why}; the robot is held still", kind="none")
        if not self._still:
            self._publish_stop()

    def _publish_stop(self) -> None:
        """A plan of one action from now on, that of standing still; without a command known there is nothing to stop."""
        config, commands = self._config, self._commands
        if config is None or commands is None or not self.context.ok():
            return
        still = numbers(self.settings.stop_action, config.action.dim, name="stop_action")
        still = commands.at(self._now_ns() + commands.lag_ns) if still is None else still
        if still is None:
            return
        self._still = True
        message = ActionSequence(
            header=header_at(self._now_ns() + DELAY_NS, ""), count=1, dim=config.action.dim
        )
        message.data = array("f", np.asarray(still, np.float32).tobytes())
        self._plans.publish(message)

    def _take_state(self, message: Float64MultiArray) -> None:
        config = self._config or read_config(self.settings.checkpoint)
        values = np.asarray(message.data, np.float32)
        if not len(values):
            self._set_goal(None)
            return
        spec = config.readouts
        if spec is None:
            raise self._refused(
                f"checkpoint {config.name} reads nothing off its frames, so that a state is no goal; see dd_ros readout --help"
            )
        if len(values) != len(spec.names):
            raise self._refused(
                f"expected {len(spec.names)} values ({', '.join(for_people(spec.names))}), got {len(values)}"
            )
        if np.isinf(values).any() or np.isnan(values).all():
            raise self._refused("expected finite numbers, or NaN for any value, but not all NaN")
        far = np.abs(values - np.asarray(spec.mean)) / np.asarray(spec.std)
        worst = int(np.nanargmax(far))
        if far[worst] > GOAL_FAR:
            raise self._refused(
                f"expected a goal in the workspace, within {GOAL_FAR:g} deviations of training, got {for_people(spec.names)[worst]} = "
                f"{values[worst]:g}, {far[worst]:.3g} deviations from {spec.mean[worst]:.3g}"
            )
        self._set_goal(Goal(state=values))

    def _take_image(self, message: Image) -> None:
        config = self._config or read_config(self.settings.checkpoint)
        try:
            self._set_goal(Goal(image=decode_rgb(message, config.streams.width, config.streams.height)))
        except InputError as error:
            raise self._refused(str(error)) from error

    def _refused(self, why: str) -> InputError:
        """A goal that cannot be: there is none now, and the robot is held still."""
        self._set_goal(None)
        return InputError(f"goal: {why}")

    def _set_goal(self, goal: Goal | None) -> None:
        with self._lock:
            self._goal = goal
        if goal is None and self._pilot is not None:
            self._publish_stop()

    def _apply_parameters(self, parameters: Sequence[Any]) -> None:
        with self._lock:
            self.settings = read(self, PlannerParameters)

    def _watch(self) -> None:
        for listener in self._inputs.values():
            listener.watch(2.0, "commands as executed")

    def _diagnose(self) -> None:
        status = planner_status(
            self.get_fully_qualified_name(),
            self.phase,
            self.failure,
            statistics=self.statistics,
            problems=self.problems,
        )
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), [status]))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop; 2 after a failed start, with one line saying why."""

    def start(node: PlannerNode) -> None:
        for one in (*beside(node), node):
            if node.settings.autostart:
                one.start()

    def stop(node: PlannerNode) -> int:
        for one in (node, *beside(node)):
            one.stop()
        return 0

    def beside(node: PlannerNode) -> list[PredictorNode]:
        return [node.nearby] if node.nearby else []

    def failed(node: PlannerNode, error: Exception) -> None:
        node.guard.passed("planner executor", error)

    return run_until_signalled(
        "planner", PlannerNode, args, start=start, stop=stop, failed=failed, beside=beside
    )


if __name__ == "__main__":
    leave(main())
