# SPDX-License-Identifier: Apache-2.0
"""Bags of a robot nobody has trained on: a small car that looks down on the ground it drives over.

jpeg images at 20 Hz, TwistStamped commands at 10 Hz, both with header stamps, in sqlite3 bags. The
image is the ground around the car, so it moves as the commands say.

Example:
    python test/camera_car.py OUT --bags 8 --seconds 60
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from bag_writer import COMPRESSED, START, compressed, header, make, write_bag
from numpy.typing import NDArray

IMAGE_TOPIC, ACTION_TOPIC, STATUS_TOPIC = "/car/camera/compressed", "/car/cmd_vel", "/car/status"
TWIST, STRING = "geometry_msgs/msg/TwistStamped", "std_msgs/msg/String"
CAMERA_HZ, COMMAND_HZ = 20, 10
WIDTH, HEIGHT = 160, 120
PIXELS_PER_METRE = 100.0
WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
SECOND = 1_000_000_000
COMMAND_DELAY = 4_000_000  # ns from the stamp of a command to the recorder
CAMERA_DELAY = 30_000_000


class Pose(NamedTuple):
    """Where the car is: metres and radians."""

    x: float = 0.0
    y: float = 0.0
    heading: float = 0.0

    def driven(self, speed: float, turn: float, seconds: float) -> Pose:
        """The pose after ``seconds`` at ``speed`` (m/s) and ``turn`` (rad/s)."""
        heading = self.heading + turn * seconds / 2
        ahead = speed * seconds
        return Pose(
            self.x + ahead * np.cos(heading), self.y + ahead * np.sin(heading), self.heading + turn * seconds
        )


def ground(seed: int, side: int = 1024) -> NDArray[np.uint8]:
    """A floor of coloured blobs, uint8 RGB [side, side, 3], that goes on at its edges."""
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    for axis in (0, 1):
        kernel = np.exp(-0.5 * (np.fft.fftfreq(side, 1 / side) / 9.0) ** 2)
        shape = [1, 1, 1]
        shape[axis] = side
        spectrum = np.fft.fft(noise, axis=axis) * np.fft.fft(kernel).reshape(shape)
        noise = np.fft.ifft(spectrum, axis=axis).real
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def placed(pose: Pose) -> NDArray[np.float64]:
    """Affine [2, 3] from a pixel of the image to one of the floor, of which (0, 0) is the image's corner."""
    cos, sin = np.cos(pose.heading), np.sin(pose.heading)
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    return np.column_stack([turn, middle + np.array([pose.x, pose.y]) * PIXELS_PER_METRE - turn @ middle])


def view(floor: NDArray[np.uint8], pose: Pose) -> NDArray[np.uint8]:
    """What the car sees, uint8 RGB [HEIGHT, WIDTH, 3]: the floor around it, its nose to the right."""
    image = cv2.warpAffine(floor, placed(pose), (WIDTH, HEIGHT), flags=WARP, borderMode=cv2.BORDER_WRAP)
    return np.asarray(image, np.uint8)


def commands(seconds: float, seed: int) -> NDArray[np.float64]:
    """Speed (m/s) and turn (rad/s) of each command, [n, 2]: some new wish every second or so, followed smoothly."""
    random = np.random.default_rng(seed)
    wish, now, found = np.zeros(2), np.zeros(2), []
    for _ in range(round(seconds * COMMAND_HZ)):
        if random.random() < 1.0 / COMMAND_HZ:
            wish = np.array([random.uniform(-0.2, 0.8), random.uniform(-1.2, 1.2)])
        now = now + 0.3 * (wish - now)
        found.append(now)
    return np.array(found)


def twist(stamp: int, speed: float, turn: float) -> Any:
    vector = "geometry_msgs/msg/Vector3"
    linear, angular = make(vector, x=speed, y=0.0, z=0.0), make(vector, x=0.0, y=0.0, z=turn)
    return make(
        TWIST, header=header(stamp), twist=make("geometry_msgs/msg/Twist", linear=linear, angular=angular)
    )


def drive(seconds: float, seed: int = 0, start: int = START) -> list[tuple[str, str, int, Any]]:
    """(topic, type, receive time, message) of one drive, in the order of their arrival."""
    wanted, floor, pose = commands(seconds, seed), ground(seed), Pose()
    found: list[tuple[str, str, int, Any]] = []
    for number, (speed, turn) in enumerate(wanted):
        stamp = start + number * SECOND // COMMAND_HZ
        found.append((ACTION_TOPIC, TWIST, stamp + COMMAND_DELAY, twist(stamp, speed, turn)))
        if number % COMMAND_HZ == 0:
            found.append((STATUS_TOPIC, STRING, stamp, make(STRING, data="driving")))
    for number in range(round(seconds * CAMERA_HZ)):
        stamp = start + number * SECOND // CAMERA_HZ
        message = compressed(stamp, view(floor, pose), "jpeg")
        found.append((IMAGE_TOPIC, COMPRESSED, stamp + CAMERA_DELAY, message))
        speed, turn = wanted[number * COMMAND_HZ // CAMERA_HZ]
        pose = pose.driven(speed, turn, 1.0 / CAMERA_HZ)
    return sorted(found, key=lambda message: message[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the bags")
    parser.add_argument("--bags", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(options.bags):
        start = START + number * 3600 * SECOND
        write_bag(options.out / f"drive_{number:03d}", drive(options.seconds, number, start), "sqlite3")


if __name__ == "__main__":
    main()
