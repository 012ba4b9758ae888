# SPDX-License-Identifier: Apache-2.0
"""The programs around the node in a soak: a camera, a commander and a subscriber that takes its time.

``python -m dd_ros.ros.soak ROLE CHECKPOINT SEED``. Camera and commander do what the last word on ``/soak/fault`` says; a
word that is not one of theirs means good data. The scene stands still, so what is to be predicted is known.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave, leave_at_once_when_signalled

    leave_at_once_when_signalled()

import random
import time
from array import array
from collections.abc import Sequence

import cv2
import rclpy
from dd_ros_msgs.msg import ActionSequence, PredictedVideo
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from dd_ros.config import CheckpointConfig
from dd_ros.data.images import resize
from dd_ros.demo.scene import ACTION_TOPIC, FAULT_TOPIC, IMAGE_TOPIC, PLAN_TOPIC, Scene
from dd_ros.resources import read_config
from dd_ros.ros.messages import header_at
from dd_ros.ros.signals import noted

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
DAY_NS = 86_400 * 10**9
SLOW = 0.5  # s that the slow subscriber takes for a chunk


class Actor(Node):
    """Does something periodically, as the fault says."""

    def __init__(self, role: str, config: CheckpointConfig, seed: int):
        super().__init__(f"soak_{role}")
        self.fault, self.chance = "", random.Random(seed)
        self.scene = Scene(config)
        self.period = 1.0 / config.streams.rate_hz
        self.create_subscription(String, FAULT_TOPIC, self._told, RELIABLE)

    def _told(self, message: String) -> None:
        self.fault = message.data

    def act(self) -> float:
        """One turn; seconds until the next one."""
        return self.period


class Camera(Actor):
    """Publishes the scene, raw and as png, at the model's rate."""

    def __init__(self, config: CheckpointConfig, seed: int):
        super().__init__("camera", config, seed)
        self._raw = self.create_publisher(Image, IMAGE_TOPIC, RELIABLE)
        self._packed = self.create_publisher(CompressedImage, f"{IMAGE_TOPIC}/compressed", RELIABLE)
        self._stuck = time.time_ns()

    def act(self) -> float:
        fault, now = self.fault, time.time_ns()
        if fault != "stamps stuck":
            self._stuck = now
        if fault == "camera gone" or (fault == "camera drops" and self.chance.random() < 0.8):
            return self.period
        stamp = {"stamps back": now - DAY_NS, "stamps ahead": now + DAY_NS}.get(fault, self._stuck)
        for _ in range(10 if fault == "burst" else 1):
            self._publish(max(0, stamp))
        return 1 / 120 if fault == "120 Hz" else self.period

    def _publish(self, stamp: int) -> None:
        pixels, chance, fault = self.scene.image, self.chance, self.fault
        if fault == "resized images":
            pixels = resize(pixels, chance.randint(1, 700), chance.randint(1, 500))
        height, width = pixels.shape[:2]
        data, packed = pixels.tobytes(), cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
        encoding, form = "rgb8", "rgb8; png compressed bgr8"
        if fault == "cut images":
            data, packed = data[: chance.randrange(len(data))], packed[: chance.randrange(len(packed))]
        elif fault == "garbage images":
            data = packed = chance.randbytes(chance.randrange(1, 5000))
        elif fault == "odd encodings":
            encoding = chance.choice(["32FC9", "", "bayer_rggb8", "yuv422", "16UC1", "\N{SNOWMAN}"])
            form = chance.choice(["h264", "", "jpeg", "compressedDepth"])
        header = header_at(stamp, "camera")
        self._raw.publish(
            Image(
                header=header, height=height, width=width, encoding=encoding, step=3 * width,
                data=array("B", data),
            )
        )  # fmt: skip
        self._packed.publish(CompressedImage(header=header, format=form, data=array("B", packed)))


class Commander(Actor):
    """Publishes the scene's command at twice the model's rate; plans only bad ones."""

    def __init__(self, config: CheckpointConfig, seed: int):
        super().__init__("commander", config, seed)
        self._commands = self.create_publisher(JointState, ACTION_TOPIC, RELIABLE)
        self._plans = self.create_publisher(ActionSequence, PLAN_TOPIC, RELIABLE)

    def act(self) -> float:
        fault, values = self.fault, list(self.scene.command)
        if fault == "commands of NaN":
            values[self.chance.randrange(len(values))] = float("nan")
        elif fault == "absurd commands":
            values = [self.chance.choice([-1.0, 1.0]) * 10.0 ** self.chance.randint(3, 300) for _ in values]
        elif fault == "short commands":
            values = values[1:]
        elif fault == "bad plans":
            self._plan()
        if fault != "no commands":
            self._commands.publish(JointState(header=header_at(time.time_ns(), ""), position=values))
        return self.period / 2

    def _plan(self) -> None:
        """The scene's command again and again, at absurd times."""
        count, dim = self.chance.choice([1, 8, 5000]), len(self.scene.command)
        step = self.chance.choice([1e300, -0.001, 0.0, float("nan"), 1e-300, 0.1])
        message = ActionSequence(header=header_at(time.time_ns(), ""), step=step, count=count, dim=dim)
        message.data = array("f", self.scene.command * count)
        self._plans.publish(message)


class Subscriber(Actor):
    """Reads predictions, slowly."""

    def __init__(self, config: CheckpointConfig, seed: int):
        super().__init__("subscriber", config, seed)
        self.create_subscription(PredictedVideo, "/predictor/prediction", self._prediction, RELIABLE)

    def _prediction(self, message: PredictedVideo) -> None:
        if self.fault == "slow subscriber":
            time.sleep(SLOW)


ROLES: dict[str, type[Camera] | type[Commander] | type[Subscriber]] = {
    "camera": Camera,
    "commander": Commander,
    "subscriber": Subscriber,
}


def main(arguments: Sequence[str]) -> int:
    """Run one of the programs until a signal comes."""
    role, checkpoint, seed = arguments
    with noted() as ending:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        actor, executor = ROLES[role](read_config(checkpoint), int(seed)), SingleThreadedExecutor()
        executor.add_node(actor)
        due = time.monotonic()
        while not ending.asked:
            due = max(due + actor.act(), time.monotonic() - 1.0)
            while not ending.asked and (left := due - time.monotonic()) > 0.0:
                executor.spin_once(timeout_sec=left)
            executor.spin_once(timeout_sec=0.0)
        executor.shutdown()
        actor.destroy_node()
        rclpy.shutdown()
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
