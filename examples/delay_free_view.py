# SPDX-License-Identifier: Apache-2.0
"""A node that cancels delay: it shows the predicted frame that is for *now*, however old the camera's last image is.

python examples/delay_free_view.py --ros-args -r prediction:=/predictor/prediction   # beside a running predictor
ros2 run rqt_image_view rqt_image_view /delay_free_view/image

Camera, network and model take their time; a prediction made from an old image still has a frame for the present. Each
frame is stamped with the time it is for. Where nothing was predicted for about now, nothing is published.
"""

from array import array

import numpy as np
import rclpy
from dd_ros_msgs.msg import PredictedVideo
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image

RATE_HZ = 30.0
NEAR_NS = 150_000_000  # a frame for a time further from now than this is not shown


class DelayFreeView(Node):
    """Publishes ``~/image``, RATE_HZ times a second."""

    def __init__(self) -> None:
        super().__init__("delay_free_view")
        self._frames: dict[int, np.ndarray] = {}  # by the time they are for, ns
        reliable = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(PredictedVideo, "prediction", self._chunk, reliable)
        self._images = self.create_publisher(Image, "~/image", 1)
        self.create_timer(1.0 / RATE_HZ, self._show)

    def _chunk(self, msg: PredictedVideo) -> None:
        """A chunk replaces what older predictions said of its time and later ones."""
        times = [Time.from_msg(stamp).nanoseconds for stamp in msg.target_stamps]
        frames = np.frombuffer(msg.data, np.uint8).reshape(msg.count, msg.height, msg.width, 3)
        known = {time: frame for time, frame in self._frames.items() if times[0] - 2e9 < time < times[0]}
        self._frames = known | dict(zip(times, frames, strict=True))

    def _show(self) -> None:
        now = self.get_clock().now().nanoseconds
        time = min(self._frames, key=lambda time: abs(time - now), default=None)
        if time is None or abs(time - now) > NEAR_NS:
            return
        height, width, _ = self._frames[time].shape
        image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        image.data = array("B", self._frames[time].tobytes())
        image.header.stamp = Time(nanoseconds=time).to_msg()
        self._images.publish(image)


def main() -> None:
    rclpy.init()
    try:
        rclpy.spin(DelayFreeView())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
