# SPDX-License-Identifier: Apache-2.0
"""The node ``bag_player``: a recorded robot in real time on real topics, in place of the simulated one.

Camera and commands are published as recorded, on their own topics, with the stamps moved to now;
the commands to come are published as the plan (``plan``, ActionSequence), one per image.

ros2 run dd_ros bag_player --ros-args -p bag:=recordings/run_1 -p checkpoint:=g1_pick
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from dd_ros_msgs.msg import ActionSequence
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.serialization import deserialize_message

from dd_ros.config import CheckpointConfig
from dd_ros.data.actions import stamp_ns
from dd_ros.data.bags import find_bags, read_actions
from dd_ros.data.commands import JoinedActions
from dd_ros.data.rosbag import Record, records
from dd_ros.report import Report
from dd_ros.resources import read_config
from dd_ros.ros.demo.threaded import RELIABLE, ThreadedNode, run_node
from dd_ros.ros.messages import header_at, to_time
from dd_ros.ros.topics import message_class

# Horizons between two bags, or two rounds of one, so that nothing is predicted across.
PAUSE = 1.5


class TimedImage(NamedTuple):
    """Where an image stands among the actions of its bag: its own time, and all of them."""

    stamp_ns: int
    actions: JoinedActions


class BagPlayer(ThreadedNode):
    """Plays bags on a thread of its own, round after round."""

    def __init__(self) -> None:
        super().__init__("bag_player")
        bag = self._text("bag", "", "A rosbag2 bag, or a folder of bags.")
        checkpoint = self._text("checkpoint", "g1_pick", "Checkpoint whose topics are played.")
        self._config: CheckpointConfig = read_config(checkpoint)
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
                for record, offset, image in self._timed(bag, problems):
                    self._play(record, offset, image)
                for problem in problems:
                    self.get_logger().warning(problem)
                if self.stopping.wait(PAUSE * self._config.horizon * self._step / 1e9):
                    return

    def _timed(self, bag: Path, problems: Report) -> Iterator[tuple[Record, int, TimedImage | None]]:
        """Records when their time has come, with what to add to their stamps; images with their place in time."""
        streams = self._config.streams
        timeline = read_actions(bag, streams, problems)
        images = zip(timeline.image_stamps, timeline.image_resets, strict=True)
        offset: int | None = None
        for record in records(bag, streams.topics, problems):
            now = self.get_clock().now().nanoseconds
            if offset is None:
                offset = now - record.received_ns
            if self.stopping.wait(max(0, record.received_ns + offset - now) / 1e9):
                return
            stamp, resets = next(images) if record.topic == streams.image_topic else (None, 0)
            yield record, offset, None if stamp is None else TimedImage(stamp, timeline.actions[resets])

    def _play(self, record: Record, offset: int, image: TimedImage | None) -> None:
        kind = message_class(record.msgtype)
        message = deserialize_message(bytes(record.raw), kind)
        stamp = stamp_ns(message)
        if stamp is not None:
            message.header.stamp = to_time(stamp + offset)
        if image is not None:
            self._publish_plan(image, (stamp or record.received_ns) + offset)
        self._output(record.topic, kind).publish(message)

    def _publish_plan(self, image: TimedImage, stamp: int) -> None:
        """The commands after an image, before the image: recorded at one time, played at another."""
        # One more than the horizon: then it still suffices where the next image overtakes its plan.
        steps = range(1, self._config.horizon + 2)
        wanted = [image.actions.at(image.stamp_ns + k * self._step) for k in steps]
        plan = np.array([action for action in wanted if action is not None], np.float32)
        if len(plan) < len(wanted):
            return  # before the first command
        message = ActionSequence(header=header_at(stamp + self._step, ""), step=self._step / 1e9)
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
