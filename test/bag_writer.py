# SPDX-License-Identifier: Apache-2.0
"""Writes small real bags for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dd_ros.streams import ActionSource, StreamSpec

TYPES = get_typestore(Stores.ROS2_JAZZY)
STEP = 100_000_000  # ns; all test cameras run at 10 Hz
START = 1_700_000_000_000_000_000
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINTS = "sensor_msgs/msg/JointState"
# The streams of ``robot_messages``, and the kinds of bags that ``bag_of`` makes.
SPEC = StreamSpec(
    image_topic="/camera/image_raw",
    actions=(ActionSource(topic="/action"),),
    rate_hz=10.0,
    width=48,
    height=32,
)
KINDS = ["mcap", "zstd mcap", "sqlite3", "zstd sqlite3", "cut mcap", "cut sqlite3", "no end"]


def make(kind: str, /, **fields: Any) -> Any:
    return TYPES.types[kind](**fields)


def header(stamp: int) -> Any:
    time = make("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return make("std_msgs/msg/Header", stamp=time, frame_id="camera")


def make_frame(number: int, width: int = 48, height: int = 32) -> np.ndarray:
    """A smooth image that differs from number to number, so that jpeg keeps it."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(3 * x + 5 * number) % 256, (4 * y + 2 * number) % 256, 0 * x + number], -1).astype(
        np.uint8
    )


def image(stamp: int, rgb: np.ndarray, encoding: str = "rgb8") -> Any:
    pixels = {"rgb8": rgb, "bgr8": rgb[..., ::-1], "mono8": cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)}[encoding]
    height, width = rgb.shape[:2]
    data = np.ascontiguousarray(pixels).reshape(-1)
    return make(
        IMAGE, header=header(stamp), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=len(data) // height, data=data,
    )  # fmt: skip


def compressed(stamp: int, rgb: np.ndarray, kind: str = "png") -> Any:
    data = cv2.imencode(f".{kind}", rgb[..., ::-1])[1].reshape(-1)
    return make(COMPRESSED, header=header(stamp), format=kind, data=data)


def joints(stamp: int, position: Iterable[float]) -> Any:
    none = np.zeros(0)
    return make(
        JOINTS,
        header=header(stamp),
        name=["x", "y"],
        position=np.array(list(position), float),
        velocity=none,
        effort=none,
    )


def write_bag(
    path: Path,
    messages: Iterable[tuple[str, str, int, Any]],
    storage: str = "mcap",
    zstd: bool = False,
) -> Path:
    """Write (topic, type, receive time, message) to a new bag."""
    bag = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if zstd:
        mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.FILE
        bag.set_compression(mode, CompressionFormat.ZSTD)
    with bag:
        connections: dict[str, Any] = {}
        for topic, kind, received, message in messages:
            if topic not in connections:
                connections[topic] = bag.add_connection(topic, kind, typestore=TYPES)
            bag.write(connections[topic], received, TYPES.serialize_cdr(message, kind))
    return path


def robot_messages(
    count: int = 30, topic: str = "/camera/image_raw", width: int = 48, height: int = 32
) -> list[tuple[str, str, int, Any]]:
    """``count`` rgb8 images at 10 Hz, each just after the command in force at it."""
    found = []
    for number in range(count):
        stamp = START + number * STEP
        found.append(("/action", JOINTS, stamp - 1000, joints(stamp - 1000, (0.1 * number, -0.1 * number))))
        found.append((topic, IMAGE, stamp, image(stamp, make_frame(number, width, height))))
    return found


def bag_of(folder: Path, kind: str, messages: Iterable[tuple[str, str, int, Any]]) -> Path:
    """A bag of one of ``KINDS``: whole, with its end cut off, or only without what mcap files have behind their data."""
    storage = "sqlite3" if "sqlite3" in kind else "mcap"
    bag = write_bag(folder, messages, storage, kind.startswith("zstd"))
    (file,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    whole = file.read_bytes()
    if kind.startswith("cut"):
        file.write_bytes(whole[: 3 * len(whole) // 4])
    elif kind == "no end":
        file.write_bytes(whole[:-8])
    return bag
