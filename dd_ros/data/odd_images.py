# SPDX-License-Identifier: Apache-2.0
"""Messages of a camera topic that are no images for a model: depth, and packets of a video. What to do instead."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

DEPTH = ("16UC1", "32FC1")  # by REP 118: millimetres and metres
VIDEO = ("h264", "h265", "hevc", "avc", "av1", "vp8", "vp9", "mpeg", "x264", "x265")
VIDEO_NAMES = ("FFMPEGPacket", "CompressedVideo")  # of types, in whatever package
# Starts of a packet of H.264 or H.265, whatever its format says.
PACKETS = (b"\x00\x00\x00\x01", b"\x00\x00\x01")
STILL = ("jpeg", "jpg", "png")
PNG_GREY16 = bytes([16, 0])  # bits of a sample and colour type, at the bytes 24 and 25 of a png
DARK = 4096  # 16-bit samples below that, scaled to 8 bits, would be all but black

DEPTH_CURE = "use the colour camera's topic, or republish the depth as mono8 over the range that matters"
VIDEO_CURE = (
    "decode them first, as with `ros2 run image_transport republish ffmpeg raw`, and record the images"
)


def is_video(msgtype: str) -> bool:
    """Whether messages of a type are packets of a video."""
    return msgtype.rpartition("/")[2] in VIDEO_NAMES


def why_odd(msg: Any) -> str:
    """What a message holds that is no image for a model, with the cure; empty if it may well be one.

    Args:
        msg: an Image or CompressedImage message.
    """
    encoding = getattr(msg, "encoding", None)
    if encoding is not None:
        return (
            f"image encoding: expected colours or greys such as rgb8, got depth {encoding!r}; {DEPTH_CURE}"
            if encoding in DEPTH
            else ""
        )
    kind, start = str(msg.format), bytes(msg.data[:26])
    if kind.startswith(DEPTH) or "compressedDepth" in kind:
        return f"compressed image: expected colours or greys, got depth ({kind.strip()}); {DEPTH_CURE}"
    if start.startswith(b"\x89PNG") and start[24:26] == PNG_GREY16:
        found = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_UNCHANGED)
        return "" if found is None else why_dark(found)
    named_still = any(still in kind.lower() for still in STILL)
    if kind.lower().startswith(VIDEO) or (start.startswith(PACKETS) and not named_still):
        return (
            f"compressed image: expected a whole jpeg or png, got packets of a video ({kind}); {VIDEO_CURE}"
        )
    return ""


def why_dark(samples: NDArray[Any]) -> str:
    """What is wrong with 16-bit samples that fill so little of their range that an image of them is black."""
    brightest = int(samples.max(initial=0))
    if not 0 < brightest < DARK:
        return ""
    return (
        f"16-bit image: expected samples up to 65535, got {brightest} at most, which is black; {DEPTH_CURE}"
    )
