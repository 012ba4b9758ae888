# SPDX-License-Identifier: Apache-2.0
"""Messages of a camera topic that are no images for a model: depth, and packets of a video. What to do instead.

Packets of a video in a bag are decoded by ``video``; on a topic a running node meets them, and refuses them.
"""

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
UNNAMED = "h264 or h265, not named"  # packets whose message does not say what they are
PNG_BITS = 24  # where the header of a png has the bits of a sample
DARK = 4096  # 16-bit samples below that, scaled to 8 bits, would be all but black

DEPTH_CURE = "use the colour camera's topic, or republish the depth as mono8 over the range that matters"
SCALE_CURE = "scale them to all 16 bits, or publish 8-bit images"
VIDEO_CURE = "decode them first, as with `ros2 run image_transport republish ffmpeg raw`, and use the images"


def cure_of(msgtype: str) -> str:
    """What to do about a camera topic of a type that holds no images, with what leads to it; empty where nothing helps."""
    return (
        f"; {VIDEO_CURE.replace('ffmpeg', 'theora')}" if msgtype.startswith("theora_image_transport/") else ""
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
    if start.startswith(b"\x89PNG") and start[PNG_BITS : PNG_BITS + 1] == b"\x10":
        found = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_UNCHANGED)
        return "" if found is None else why_dark(found)
    video = video_format(msg)
    if video:
        return (
            f"compressed image: expected a whole jpeg or png, got packets of a video ({video}); {VIDEO_CURE}"
        )
    return ""


def video_format(msg: Any) -> str:
    """What a message with a packet of a video calls its format or encoder; empty if it is none.

    Args:
        msg: a CompressedImage, FFMPEGPacket or CompressedVideo message.
    """
    if hasattr(msg, "encoding"):  # FFMPEGPacket
        return str(msg.encoding) or UNNAMED
    kind = str(msg.format).strip()
    if hasattr(msg, "timestamp"):  # CompressedVideo
        return kind or UNNAMED
    if kind.lower().startswith(VIDEO):
        return kind
    named_still = any(still in kind.lower() for still in STILL)
    return UNNAMED if bytes(msg.data[:4]).startswith(PACKETS) and not named_still else ""


def why_dark(samples: NDArray[Any]) -> str:
    """What is wrong with 16-bit samples that fill so little of their range that an image of them is black."""
    brightest = int((samples[..., :3] if samples.ndim == 3 else samples).max(initial=0))  # without opacity
    if not 0 < brightest < DARK:
        return ""
    cure = DEPTH_CURE if samples.ndim == 2 or samples.shape[2] == 1 else SCALE_CURE
    return f"16-bit image: expected samples up to 65535, got {brightest} at most, which is black; {cure}"
