# SPDX-License-Identifier: Apache-2.0
"""A camera driver in its own process, best effort, 20 Hz.

python camera.py TOPIC WIDTH HEIGHT SUBSCRIBERS COUNT: starts once that many listen.
"""

from __future__ import annotations

import sys
import time

import rclpy
from harness import image_message
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main(topic: str, width: int, height: int, subscribers: int, count: int) -> None:
    rclpy.init()
    node = rclpy.create_node("camera")
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(Image, topic, qos)
    while publisher.get_subscription_count() < subscribers:
        time.sleep(0.05)
    time.sleep(0.5)  # the other side has to find this publisher, too
    for _ in range(count):
        if not rclpy.ok():
            return
        publisher.publish(image_message(time.time_ns(), width, height))
        time.sleep(0.05)
    while rclpy.ok():  # stay until the last image was fetched
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
