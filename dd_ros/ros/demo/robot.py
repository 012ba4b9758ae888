# SPDX-License-Identifier: Apache-2.0
"""The node ``pusht_robot``: the simulated robot in real time on real topics.

It publishes what a robot publishes: images with stamps, commands as executed, and the commands it
means to take. Stamps follow ``dd_ros.demo.simulate``, so that bags and the live robot agree.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

from array import array
from collections.abc import Sequence

import numpy as np
from dd_ros_msgs.msg import ActionSequence
from numpy.typing import NDArray
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from sensor_msgs.msg import Image, JointState

from dd_ros.data.images import rgb_to_image
from dd_ros.demo.pusht import Robot
from dd_ros.demo.simulate import (
    CAMERA_FRAME,
    COMMAND_DELAY_NS,
    COMMAND_TOPIC,
    IMAGE_TOPIC,
    JOINTS,
    PLAN_TOPIC,
    STEP_NS,
)
from dd_ros.ros.demo.threaded import RELIABLE, ThreadedNode, run_node
from dd_ros.ros.messages import header_at


class PushtRobot(ThreadedNode):
    """Simulates on a thread of its own, at 10 steps per second of real time.

    Topics (relative to its namespace): ``camera/image_raw`` (Image), ``pusher/command`` (JointState
    with joints x and y: where the pusher shall go, 0 to 512) and ``pusher/plan`` (ActionSequence).
    """

    def __init__(self) -> None:
        super().__init__("pusht_robot")
        seed = self._declare("seed", 1, "Decides what happens.", low=0, high=2**31 - 1)
        steps = self._declare("plan_steps", 32, "Commands known in advance, 10 per second.", low=1, high=1000)
        self._robot = Robot(seed, steps)
        self._images = self.create_publisher(Image, IMAGE_TOPIC.lstrip("/"), RELIABLE)
        self._commands = self.create_publisher(JointState, COMMAND_TOPIC.lstrip("/"), RELIABLE)
        self._plans = self.create_publisher(ActionSequence, PLAN_TOPIC.lstrip("/"), RELIABLE)

    def _declare(self, name: str, default: int, text: str, *, low: int, high: int) -> int:
        limits = [IntegerRange(from_value=low, to_value=high, step=1)]
        descriptor = ParameterDescriptor(description=text, read_only=True, integer_range=limits)
        return int(self.declare_parameter(name, default, descriptor).value)

    def work(self) -> None:
        """Simulate in real time."""
        now = self.get_clock().now().nanoseconds
        self._publish_command(now - STEP_NS + COMMAND_DELAY_NS, self._robot.world.pusher)
        stamp = now
        while not self.stopping.wait(max(0, stamp - self.get_clock().now().nanoseconds) / 1e9):
            # A robot's time does not stand still when its computer is busy: only images are missed.
            late = self.get_clock().now().nanoseconds - stamp >= STEP_NS
            self._step(stamp, with_image=not late)
            stamp += STEP_NS

    def _step(self, stamp: int, with_image: bool) -> None:
        """Publish plan and command before the image: whoever predicts from it needs them."""
        plan = self._robot.plan()
        self._publish_plan(stamp + COMMAND_DELAY_NS, plan)
        self._publish_command(stamp + COMMAND_DELAY_NS, plan[0])
        if with_image:
            header = header_at(stamp, CAMERA_FRAME)
            self._images.publish(rgb_to_image(self._robot.world.image(), header, Image))
        self._robot.step()

    def _publish_command(self, stamp: int, position: NDArray[np.float64]) -> None:
        message = JointState(header=header_at(stamp, ""), name=list(JOINTS), position=position.tolist())
        self._commands.publish(message)

    def _publish_plan(self, stamp: int, plan: NDArray[np.float64]) -> None:
        message = ActionSequence(header=header_at(stamp, ""), step=STEP_NS / 1e9)
        message.count, message.dim = plan.shape
        message.data = array("f", plan.astype(np.float32).tobytes())
        self._plans.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node("pusht_robot", PushtRobot, args)


if __name__ == "__main__":
    leave(main())
