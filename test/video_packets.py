# SPDX-License-Identifier: Apache-2.0
"""Bags whose camera sends packets of a video, as drivers and republishers do."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
from bag_writer import COMPRESSED, JOINTS, SPEC, START, STEP, TYPES, header, joints, make
from rosbags.typesys import get_types_from_msg

FFMPEG = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
FOXGLOVE = "foxglove_msgs/msg/CompressedVideo"
DEFINITIONS = {
    FFMPEG: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data\n",
    FOXGLOVE: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
}
for name, text in DEFINITIONS.items():
    TYPES.register(get_types_from_msg(text, name))

LIVE = {"tune": "zerolatency", "g": "10", "sc_threshold": "0"}  # as drivers encode
WIDTH, HEIGHT = SPEC.width, SPEC.height


def drawn_frame(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A grey that says the number of the frame, which no codec loses."""
    return np.full((height, width, 3), 16 + 4 * number, np.uint8)


def number_in(rgb: np.ndarray) -> int:
    """The number of the frame that ``drawn_frame`` made."""
    assert rgb.std() < 3.0, "not whole"
    return round((float(rgb.mean()) - 16) / 4)


def encoded(
    count: int, codec: str = "libx264", *, size: tuple[int, int] | None = None, **options: str
) -> list[SimpleNamespace]:
    """``count`` frames as packets in the order of sending: ``data``, and ``number`` of the frame in it."""
    # libsvtav1 refuses smaller ones, and libx265 writes beyond its own memory.
    size = size or ((64, 64) if codec in ("libsvtav1", "libx265") else (WIDTH, HEIGHT))
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 10), 1
    encoder.bit_rate = 2_000_000
    encoder.options = options or LIVE
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(drawn_frame(number, *size), format="rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [SimpleNamespace(data=bytes(packet), number=int(packet.pts or 0)) for packet in packets]


def video_message(kind: str, packet: Any, stamp: int, codec: str) -> Any:
    """A packet as a message of type ``kind``."""
    data = np.frombuffer(packet.data, np.uint8)
    if kind == COMPRESSED:
        return make(COMPRESSED, header=header(stamp), format=codec, data=data)
    if kind == FFMPEG:
        return make(
            FFMPEG, header=header(stamp), width=WIDTH, height=HEIGHT, encoding=codec, pts=packet.number, flags=0,
            is_bigendian=False, data=data,
        )  # fmt: skip
    time = header(stamp).stamp
    return make(FOXGLOVE, timestamp=time, frame_id="camera", format=codec, data=data)


def video_messages(
    packets: Sequence[Any], kind: str = COMPRESSED, codec: str = "h264", topic: str = SPEC.image_topic
) -> list[tuple[str, str, int, Any]]:
    """The packets, each frame with the stamp of its number and sent when the encoder has all that it needs; and commands."""
    found: list[tuple[str, str, int, Any]] = []
    newest = 0
    for place, packet in enumerate(packets):
        newest = max(newest, packet.number)
        sent, stamp = START + newest * STEP + place, START + packet.number * STEP
        found.append(("/action", JOINTS, sent - 1000, joints(stamp - 1000, (0.1 * place, -0.1 * place))))
        found.append((topic, kind, sent, video_message(kind, packet, stamp, codec)))
    return found
