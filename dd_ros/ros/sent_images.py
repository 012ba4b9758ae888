# SPDX-License-Identifier: Apache-2.0
"""Two programs that find out whether images arrive: a camera, and a listener that counts.

``python -m dd_ros.ros.sent_images send WIDTH HEIGHT COUNT`` is the camera, best effort as most drivers are, until
interrupted. ``... receive COUNT`` prints JSON once no more will come: how many ``arrived``, and whether it ``met`` the camera.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave_at_once_when_signalled

    leave_at_once_when_signalled()

import json
import time
from array import array
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import UInt32

from dd_ros.ros.signals import noted

IMAGES, SENT = "doctor/image_raw", "doctor/sent"
CAMERA = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
WORD = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
PERIOD = 0.05  # s between two images
MEETING = 15.0  # s for the two to find each other
SETTLE = 0.5  # s for the other side to find out as well
LAST = 1.0  # s for the last images, once all are sent
POLL = 0.02  # s


def send(node: Node, width: int, height: int, count: int, *, stopped: Callable[[], bool]) -> None:
    """Publish ``count`` images once somebody listens, then how many these were; stay until ``stopped``."""
    images, sent = node.create_publisher(Image, IMAGES, CAMERA), node.create_publisher(UInt32, SENT, WORD)
    data = array("B", bytes(3 * width * height))
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width, data=data)
    while not (images.get_subscription_count() and sent.get_subscription_count()) and not stopped():
        time.sleep(POLL)
    time.sleep(SETTLE)
    for number in range(count):
        if stopped():
            return
        image.header.frame_id = str(number)
        images.publish(image)
        time.sleep(PERIOD)
    sent.publish(UInt32(data=count))
    while not stopped():  # images of a process that has ended would be lost
        time.sleep(POLL)


def receive(
    node: Node, count: int, *, turn: Callable[[], object], stopped: Callable[[], bool]
) -> dict[str, int]:
    """Count images until all are there, or no more will come; ``turn`` takes a message that is there."""
    arrived: set[str] = set()
    told: list[int] = []
    node.create_subscription(Image, IMAGES, lambda image: arrived.add(image.header.frame_id), CAMERA)
    node.create_subscription(UInt32, SENT, lambda number: told.append(number.data), WORD)
    met, end = False, time.monotonic() + MEETING
    while len(arrived) < count and time.monotonic() < end and not stopped():
        turn()
        if not met and node.count_publishers(IMAGES):
            met, end = True, time.monotonic() + SETTLE + count * PERIOD + MEETING
        if told:
            end = min(end, time.monotonic() + LAST)
            told.clear()
    return {"arrived": len(arrived), "met": int(met)}


def main(role: str, *numbers: str) -> None:
    with noted() as ending:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node(f"doctor_{role}")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            if role == "send":
                send(node, *map(int, numbers), stopped=lambda: ending.asked)
            else:
                found = receive(
                    node, *map(int, numbers), turn=lambda: executor.spin_once(timeout_sec=POLL),
                    stopped=lambda: ending.asked,
                )  # fmt: skip
                print(json.dumps(found), flush=True)
        finally:
            executor.shutdown()
            node.destroy_node()
            rclpy.try_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
