# SPDX-License-Identifier: Apache-2.0
"""The node ``delay``: passes a topic on as it came, a fixed time later, as a slow link does.

Messages keep their stamps: they say when the image was taken, however late it arrives.

python -m dd_ros.ros.demo.delay --ros-args -p topic:=/camera/image_raw -p type:=sensor_msgs/msg/Image -p seconds:=0.2
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor

from dd_ros.ros.demo.threaded import RELIABLE, ThreadedNode, run_node
from dd_ros.ros.topics import message_class

POLL = 0.05  # s without a message after which the thread looks whether to end
LONGEST = 60.0  # s


class Delay(ThreadedNode):
    """Holds each message for ``seconds`` on a thread of its own; what it holds is not decoded."""

    def __init__(self) -> None:
        super().__init__("delay")
        topic = self._declare("topic", "", "Topic to pass on, to the same name with /delayed behind it.")
        kind = self._declare("type", "sensor_msgs/msg/Image", "Its message type.")
        limits = FloatingPointRange(from_value=0.0, to_value=LONGEST)
        descriptor = ParameterDescriptor(
            description="How long messages are held.", read_only=True, floating_point_range=[limits]
        )
        self._seconds = float(self.declare_parameter("seconds", 0.2, descriptor).value)
        self._held: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        message = message_class(kind)
        self._output = self.create_publisher(message, f"{topic}/delayed", RELIABLE)
        self.create_subscription(message, topic, self._hold, RELIABLE, raw=True)

    def _declare(self, name: str, default: str, text: str) -> str:
        return str(
            self.declare_parameter(name, default, ParameterDescriptor(description=text, read_only=True)).value
        )

    def _hold(self, message: bytes) -> None:
        self._held.put((time.monotonic() + self._seconds, message))

    def work(self) -> None:
        """Publish what is due."""
        while not self.stopping.is_set():
            try:
                due, message = self._held.get(timeout=POLL)
            except Empty:
                continue
            if self.stopping.wait(max(0.0, due - time.monotonic())):
                return
            self._output.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node("delay", Delay, args)


if __name__ == "__main__":
    leave(main())
