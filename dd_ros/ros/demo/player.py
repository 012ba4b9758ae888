# SPDX-License-Identifier: Apache-2.0
"""The node ``bag_player``: a recorded robot in real time on real topics, in place of the simulated one.

Camera and commands of bags are published as recorded, on their own topics, with the stamps moved to now;
those of a LeRobot data set as Image and JointState, on topics as ``ros.topics.ros_name`` makes of their names.
The commands to come are published as the plan (``plan``, ActionSequence), one per image.

ros2 run dd_ros bag_player --ros-args -p bag:=recordings/run_1 -p checkpoint:=g1_pick
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dd_ros_msgs.msg import ActionSequence
from rcl_interfaces.msg import ParameterDescriptor

from dd_ros.config import CheckpointConfig
from dd_ros.data.actions import stamp_ns
from dd_ros.data.bags import find_bags
from dd_ros.report import Report
from dd_ros.resources import read_config
from dd_ros.ros.demo.recorded import Recorded, TimedImage, messages
from dd_ros.ros.demo.threaded import RELIABLE, ThreadedNode, run_node
from dd_ros.ros.messages import header_at, to_time
from dd_ros.ros.topics import message_class

# Horizons between two bags, or two rounds of one, so that nothing is predicted across.
PAUSE = 1.5


class BagPlayer(ThreadedNode):
    """Plays bags on a thread of its own, round after round."""

    def __init__(self) -> None:
        super().__init__("bag_player")
        bag = self._text("bag", "", "A rosbag2 bag, a folder of bags, or a LeRobot data set.")
        checkpoint = self._text("checkpoint", "g1_pick", "Checkpoint whose topics are played.")
        image = self._text("image_topic", "", "Camera topic of the bag; empty takes the checkpoint's.")
        action = self._text(
            "action_topic", "", "Topics of the commands, with spaces between; empty takes the checkpoint's."
        )
        self._config: CheckpointConfig = read_config(checkpoint)
        self._streams = self._config.streams.with_topics(image or None, action.split())
        self._step = round(1e9 / self._config.streams.rate_hz)
        self._bags = find_bags([Path(bag)])
        self._outputs: dict[str, Any] = {}
        self._plans = self.create_publisher(ActionSequence, "plan", RELIABLE)

    def _text(self, name: str, default: str, text: str) -> str:
        descriptor = ParameterDescriptor(description=text, read_only=True)
        return str(self.declare_parameter(name, default, descriptor).value)

    def work(self) -> None:
        """Play all bags, again and again."""
        while True:
            for bag in self._bags:
                self.get_logger().info(f"playing {bag}")
                problems = Report()
                for recorded, offset in self._timed(messages(bag, self._streams, problems)):
                    self._play(recorded, offset)
                for problem in problems:
                    self.get_logger().warning(problem)
                if self.stopping.wait(PAUSE * self._config.horizon * self._step / 1e9):
                    return

    def _timed(self, played: Iterator[Recorded]) -> Iterator[tuple[Recorded, int]]:
        """Messages when their time has come, with what to add to their stamps."""
        offset: int | None = None
        for recorded in played:
            now = self.get_clock().now().nanoseconds
            if offset is None:
                offset = now - recorded.received_ns
            if self.stopping.wait(max(0, recorded.received_ns + offset - now) / 1e9):
                return
            yield recorded, offset

    def _play(self, recorded: Recorded, offset: int) -> None:
        message, stamp = recorded.message, stamp_ns(recorded.message)
        if stamp is not None:
            message.header.stamp = to_time(stamp + offset)
        if recorded.image is not None:
            self._publish_plan(recorded.image, (stamp or recorded.received_ns) + offset)
        self._output(recorded.topic, message_class(recorded.type)).publish(message)

    def _publish_plan(self, image: TimedImage, stamp: int) -> None:
        """The commands after an image, before the image: recorded at one time, played at another."""
        # One more than the horizon: then it still suffices where the next image overtakes its plan.
        steps = range(1, self._config.horizon + 2)
        wanted = [image.actions.at(image.stamp_ns + k * self._step) for k in steps]
        plan = np.array([action for action in wanted if action is not None], np.float32)
        if len(plan) < len(wanted):
            return  # before the first command
        first = stamp + self._step - image.actions.lag_ns  # when it was commanded
        message = ActionSequence(header=header_at(first, ""), step=self._step / 1e9)
        message.count, message.dim = plan.shape
        message.data = array("f", plan.tobytes())
        self._plans.publish(message)

    def _output(self, topic: str, kind: Any) -> Any:
        if topic not in self._outputs:
            self._outputs[topic] = self.create_publisher(kind, topic.lstrip("/"), RELIABLE)
        return self._outputs[topic]


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop; 2 for a bag or checkpoint that cannot be used."""
    return run_node("bag_player", BagPlayer, args)


if __name__ == "__main__":
    leave(main())
