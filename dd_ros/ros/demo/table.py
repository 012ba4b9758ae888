# SPDX-License-Identifier: Apache-2.0
"""The node ``pusht_table``: the simulated robot as one that is told what to do, and the goals it is given.

It executes the newest plan by its time stamps, as a trajectory controller does, and never waits for one: where a plan is
over it holds the last command.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

from collections.abc import Sequence

import numpy as np
from dd_ros_msgs.msg import ActionSequence
from numpy.typing import NDArray
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray

from dd_ros.data.commands import Commands
from dd_ros.data.images import rgb_to_image
from dd_ros.data.plans import sequence_actions, sequence_stamps
from dd_ros.demo.goals import reached
from dd_ros.demo.pusht import World
from dd_ros.demo.simulate import (
    CAMERA_FRAME,
    COMMAND_DELAY_NS,
    COMMAND_TOPIC,
    IMAGE_TOPIC,
    JOINTS,
    PLAN_TOPIC,
    STATE_NAMES,
    STATE_TOPIC,
    STEP_NS,
)
from dd_ros.demo.tasks import next_goal
from dd_ros.errors import InputError
from dd_ros.ros.demo.threaded import RELIABLE, ThreadedNode, run_node
from dd_ros.ros.messages import header_at

KEPT = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
GOAL_STATE, GOAL_IMAGE = "planner/goal_state", "pusher/goal_image"


class PushtTable(ThreadedNode):
    """Simulates on a thread of its own, at 10 steps per second of real time.

    Topics (relative to its namespace): ``camera/image_raw`` (Image), ``pusher/command`` (JointState, as executed),
    ``pusht/state`` (JointState, the truth, for whoever judges), ``planner/goal_state`` (Float64MultiArray: pusher x, y, block
    x, y, cosine and sine of its angle) and ``pusher/goal_image`` (Image); in: ``pusher/plan`` (ActionSequence).
    A goal that is reached, or not within ``budget`` steps, is followed by the next one.
    """

    def __init__(self) -> None:
        super().__init__("pusht_table")
        seed = self._declare("seed", 1, "Decides start and goals.", low=0, high=2**31 - 1)
        self._offset = self._declare(
            "offset", 25, "Steps a scripted pusher takes to a goal.", low=1, high=1000
        )
        self._budget = self._declare(
            "budget", 100, "Steps after which a goal is given up.", low=1, high=100_000
        )
        self._world, self._random = World(seed), np.random.default_rng([seed, 2])
        self._told = Commands([len(JOINTS)])
        self._goal: NDArray[np.float64] | None = None
        self._left = self.goals = self.solved = 0
        self._images = self.create_publisher(Image, IMAGE_TOPIC.lstrip("/"), RELIABLE)
        self._commands = self.create_publisher(JointState, COMMAND_TOPIC.lstrip("/"), RELIABLE)
        self._states = self.create_publisher(JointState, STATE_TOPIC.lstrip("/"), RELIABLE)
        self._goal_states = self.create_publisher(Float64MultiArray, GOAL_STATE, KEPT)
        self._goal_images = self.create_publisher(Image, GOAL_IMAGE, KEPT)
        self.create_subscription(ActionSequence, PLAN_TOPIC.lstrip("/"), self._take_plan, RELIABLE)

    def _declare(self, name: str, default: int, text: str, *, low: int, high: int) -> int:
        limits = [IntegerRange(from_value=low, to_value=high, step=1)]
        descriptor = ParameterDescriptor(description=text, read_only=True, integer_range=limits)
        return int(self.declare_parameter(name, default, descriptor).value)

    def _take_plan(self, message: ActionSequence) -> None:
        try:
            values = sequence_actions(message, len(JOINTS), "plan")
            now = self.get_clock().now().nanoseconds
            self._told.set_plan(sequence_stamps(message, now, STEP_NS, name="plan"), values)
        except InputError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=10.0)

    def work(self) -> None:
        """Simulate in real time."""
        stamp = self.get_clock().now().nanoseconds
        self._execute(stamp - STEP_NS, self._world.pusher)
        while not self.stopping.wait(max(0, stamp - self.get_clock().now().nanoseconds) / 1e9):
            # A robot's time does not stand still when its computer is busy: only images are missed.
            late = self.get_clock().now().nanoseconds - stamp >= STEP_NS
            self._step(stamp, with_image=not late)
            stamp += STEP_NS

    def _step(self, stamp: int, with_image: bool) -> None:
        self._see_to_goal(stamp)
        # The command from this image to the next is the one in force just after this one.
        told = self._told.ahead(stamp + COMMAND_DELAY_NS - STEP_NS, STEP_NS, 1, hold=True)
        command = self._world.pusher if told is None else told[0].astype(np.float64)
        if with_image:
            header = header_at(stamp, CAMERA_FRAME)
            self._states.publish(self._joints(stamp, STATE_NAMES, read_out(self._world.state)))
            self._images.publish(rgb_to_image(self._world.image(), header, Image))
        self._execute(stamp, command)
        self._world.step(command)

    def _execute(self, stamp: int, command: NDArray[np.float64]) -> None:
        """Say that a command acts from just after ``stamp`` on."""
        self._told.push(stamp + COMMAND_DELAY_NS, command)
        self._commands.publish(self._joints(stamp + COMMAND_DELAY_NS, JOINTS, command))

    def _joints(self, stamp: int, names: Sequence[str], values: NDArray[np.float64]) -> JointState:
        return JointState(header=header_at(stamp, ""), name=list(names), position=values.tolist())

    def _see_to_goal(self, stamp: int) -> None:
        """The next goal where this one is reached or given up; a block that is lost is put back first."""
        done = self._goal is not None and bool(reached(self._world.state, self._goal)[0])
        self._left -= 1
        if self._goal is not None and not done and self._left > 0:
            return
        self.solved += done
        if self._goal is not None:
            word = "reached" if done else "given up"
            self.get_logger().info(f"goal {self.goals} {word} with {max(self._left, 0)} steps left")
        if self._world.lost:
            self._world.reset(int(self._random.integers(2**31)))
        self._goal, twin = next_goal(self._world.state, self._random, self._offset)
        self.goals, self._left = self.goals + 1, self._budget
        self._goal_states.publish(Float64MultiArray(data=read_out(self._goal).tolist()))
        self._goal_images.publish(rgb_to_image(twin.image(), header_at(stamp, CAMERA_FRAME), Image))


def read_out(state: NDArray[np.float64]) -> NDArray[np.float64]:
    """A state as ``STATE_NAMES`` has it."""
    return np.array([*state[:4], np.cos(state[4]), np.sin(state[4])])


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node("pusht_table", PushtTable, args)


if __name__ == "__main__":
    leave(main())
