# SPDX-License-Identifier: Apache-2.0
"""Messages with fields of any value that their types allow: what a robot's worst day may bring."""

from __future__ import annotations

import random
from array import array
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Duration, Time
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from geometry_msgs.msg import Twist, TwistStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray, Float64MultiArray, Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

NUMBERS = (
    0.0,
    -0.0,
    0.5,
    -1.0,
    1e-300,
    1e-12,
    1e20,
    3.4e38,
    -3.4e38,
    1e39,
    1e300,
    float("inf"),
    float("nan"),
)
COUNTS = (0, 1, 2, 3, 7, 32, 48, 144, 2**16, 2**31, 2**32 - 1)
SECONDS = (0, 1, -1, -5, 1_700_000_000, 2**31 - 1, -(2**31))
NANOSECONDS = (0, 1, 999_999_999, 10**9, 2**32 - 1)
WORDS = (
    "",
    "x",
    "left hip",
    "rgb8",
    "bgr8",
    "mono16",
    "bayer_rggb8",
    "yuv422",
    "32FC1",
    "jpeg",
    "png",
    "\u00e9\u4e2d",
    "a" * 300,
)


class RandomMessages:
    """Random messages of the kinds that a predictor takes.

    Args:
        seed: the same seed makes the same messages.
        now: seconds; stamps are around it as often as not.
    """

    def __init__(self, seed: int, now: int):
        self._random, self._now = random.Random(seed), now

    def number(self) -> float:
        return self._random.choice((*NUMBERS, self._random.uniform(-3, 3), self._random.uniform(-3, 3)))

    def float32(self) -> float:
        return float(np.clip(self.number(), -3.4e38, 3.4e38)) if self._random.random() < 0.9 else float("inf")

    def numbers(self, single: bool = False) -> list[float]:
        one = self.float32 if single else self.number
        return [one() for _ in range(self._random.choice((0, 1, 2, 2, 2, 3, 40)))]

    def stamp(self) -> Time:
        if self._random.random() < 0.5:
            return Time(sec=self._now + self._random.randint(-3, 3), nanosec=self._random.randrange(10**9))
        return Time(sec=self._random.choice(SECONDS), nanosec=self._random.choice(NANOSECONDS))

    def header(self) -> Header:
        return Header(stamp=self.stamp(), frame_id=self._random.choice(WORDS))

    def image(self) -> Image:
        """Mostly wrong in one field or another."""
        pick = self._random.choice
        width, height = pick((48, 48, pick(COUNTS))), pick((32, 32, pick(COUNTS)))
        length = pick((48 * 32 * 3, 48 * 32, 0, 1, 100, 4609))
        return Image(
            header=self.header(), width=width, height=height, encoding=pick(("rgb8", *WORDS)),
            is_bigendian=pick((0, 1, 255)), step=pick((0, 144, 48, pick(COUNTS))),
            data=array("B", self._random.randbytes(length)),
        )  # fmt: skip

    def compressed(self) -> CompressedImage:
        """A jpeg or png that is cut, changed or nonsense."""
        pixels = np.frombuffer(self._random.randbytes(48 * 32 * 3), np.uint8).reshape(32, 48, 3)
        data = bytearray(cv2.imencode(self._random.choice((".jpg", ".png")), pixels)[1].tobytes())
        for _ in range(self._random.randrange(4)):
            data[self._random.randrange(min(len(data), 200))] = self._random.randrange(256)
        data = data[: self._random.choice((len(data), len(data), 0, 10, 30, len(data) // 2))]
        return CompressedImage(
            header=self.header(), format=self._random.choice(WORDS), data=array("B", bytes(data))
        )

    def sequence(self) -> ActionSequence:
        """A plan or a candidate."""
        data = array("f", self.numbers(single=True) * self._random.choice((1, 1, 8)))
        if self._random.random() < 0.5:  # a good one, but for its values
            return ActionSequence(count=len(data) // 2, dim=2, data=data[: len(data) // 2 * 2])
        dim = self._random.choice((2, 2, 2, 2, self._random.choice(COUNTS)))
        count = self._random.choice((len(data) // 2, len(data) // 2, self._random.choice(COUNTS)))
        step = self._random.choice((0.0, 0.0, 0.1, self.number()))
        return ActionSequence(header=self.header(), count=count, dim=dim, step=step, data=data)

    def trajectory(self) -> JointTrajectory:
        points = []
        for _ in range(self._random.choice((0, 1, 2, 5))):
            after = Duration(sec=self._random.choice(SECONDS), nanosec=self._random.choice(NANOSECONDS))
            points.append(JointTrajectoryPoint(positions=self.numbers(), time_from_start=after))
        names = self._random.sample(("x", "y", "z", ""), self._random.randrange(4))
        return JointTrajectory(header=self.header(), joint_names=names, points=points)

    def action(self) -> Any:
        """A command of one of the types that have default fields."""
        kind = self._random.choice(
            (JointState, JointState, Twist, TwistStamped, Float32MultiArray, Float64MultiArray)
        )
        if kind is JointState:
            names = self._random.sample(("x", "y", "z"), self._random.randrange(4))
            return JointState(header=self.header(), name=names, position=self.numbers())
        if kind in (Float32MultiArray, Float64MultiArray):
            return kind(data=self.numbers(single=kind is Float32MultiArray))
        msg = kind() if kind is Twist else kind(header=self.header())
        twist = msg if kind is Twist else msg.twist
        for vector in (twist.linear, twist.angular):
            vector.x, vector.y, vector.z = self.number(), self.number(), self.number()
        return msg

    def calibration(self) -> CameraInfo:
        size = {"width": self._random.choice(COUNTS), "height": self._random.choice(COUNTS)}
        k, p = ([self.number() for _ in range(count)] for count in (9, 12))
        return CameraInfo(header=self.header(), k=k, p=p, d=self.numbers(), **size)

    def request(self) -> PredictRollouts.Request:
        candidates = [self.sequence() for _ in range(self._random.choice((0, 1, 1, 1, 2, 9)))]
        goal = self.image() if self._random.random() < 0.3 else Image()
        deadline = self.stamp() if self._random.random() < 0.3 else Time()
        return PredictRollouts.Request(
            candidates=candidates, return_frames=self._random.random() < 0.5, goal=goal, deadline=deadline
        )


def type_name(msg: Any) -> str:
    """Name of a message's type, such as ``sensor_msgs/msg/Image``."""
    package, kind = type(msg).__module__.split(".")[0], type(msg).__name__
    return f"{package}/msg/{kind}"
