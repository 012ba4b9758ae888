# SPDX-License-Identifier: Apache-2.0
"""Image messages <-> arrays, the one place for it. Works on rclpy's messages and on those of bags.

rgb8, bgr8 and mono8 go by a NumPy view without a copy. Every other encoding goes through cv_bridge,
after padding and byte order were put right here: the distribution's cv_bridge and PyPI's differ in
both.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError

PLAIN = {"rgb8": 3, "bgr8": 3, "mono8": 1, "8UC3": 3, "8UC1": 1}
BYTES_PER_PIXEL = {
    "rgba8": 4, "bgra8": 4, "8UC4": 4,
    "mono16": 2, "16UC1": 2, "rgb16": 6, "bgr16": 6,
    "bayer_rggb8": 1, "bayer_bggr8": 1, "bayer_gbrg8": 1, "bayer_grbg8": 1,
    "yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2,
}  # fmt: skip
WIDE = {"mono16", "16UC1", "rgb16", "bgr16"}
YUV = {"yuv422": cv2.COLOR_YUV2RGB_UYVY, "uyvy": cv2.COLOR_YUV2RGB_UYVY,
       "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2, "yuyv": cv2.COLOR_YUV2RGB_YUY2}  # fmt: skip


def image_to_rgb(msg: Any) -> NDArray[np.uint8]:
    """Image or CompressedImage message -> uint8 RGB [H, W, 3].

    For rgb8 without padding the result is a read-only view of the message's own memory.

    Raises:
        InputError: unknown encoding, wrong amount of data, an image without pixels, or data that
            does not decode.
    """
    if hasattr(msg, "format"):
        return decode(msg)
    encoding = msg.encoding
    pixels = PLAIN.get(encoding) or BYTES_PER_PIXEL.get(encoding)
    if pixels is None:
        known = ", ".join(sorted({*PLAIN, *BYTES_PER_PIXEL}))
        raise InputError(f"image encoding {encoding!r}: expected one of {known}")
    rows = unpadded(msg, pixels)
    if encoding in PLAIN:
        image = rows.reshape(msg.height, msg.width, pixels)
        if pixels == 1:
            return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        return image if encoding == "rgb8" else image[..., ::-1]
    return through_cv_bridge(rows, msg, encoding)


def unpadded(msg: Any, pixels: int) -> NDArray[np.uint8]:
    """Rows of an Image without their padding, uint8 [H, W * bytes per pixel], a view where possible."""
    height, width, step = msg.height, msg.width, msg.step or msg.width * pixels
    if height == 0 or width == 0:
        raise InputError(f"image: expected at least one pixel, got {width}x{height}")
    data = np.frombuffer(msg.data, np.uint8)
    if step < width * pixels or len(data) < (height - 1) * step + width * pixels:
        raise InputError(
            f"image: {width}x{height} {msg.encoding} needs rows of at least {width * pixels} bytes, "
            f"got step {step} and {len(data)} bytes in all"
        )
    return np.lib.stride_tricks.as_strided(data, (height, width * pixels), (step, 1), writeable=False)


def through_cv_bridge(rows: NDArray[np.uint8], msg: Any, encoding: str) -> NDArray[np.uint8]:
    """Decode a less usual encoding from unpadded rows."""
    rows = np.ascontiguousarray(rows)
    if encoding in YUV:  # PyPI's cv_bridge has no yuv422_yuy2, and yuv of the distribution's is UYVY too
        return cv2.cvtColor(rows.reshape(msg.height, msg.width, 2), YUV[encoding])
    if encoding in WIDE:
        if bool(msg.is_bigendian) != (sys.byteorder == "big"):
            rows = rows.view(np.uint16).byteswap().view(np.uint8)
        rows = (rows.view(np.uint16) >> 8).astype(np.uint8)  # the upper byte is the 8-bit picture
        encoding = {"mono16": "mono8", "16UC1": "mono8", "rgb16": "rgb8", "bgr16": "bgr8"}[encoding]
    encoding = {"8UC4": "bgra8"}.get(encoding, encoding)
    plain = SimpleNamespace(
        height=msg.height, width=msg.width, encoding=encoding, is_bigendian=0,
        step=rows.shape[1], data=rows.tobytes(), header=msg.header,
    )  # fmt: skip
    return bridge().imgmsg_to_cv2(plain, "rgb8")


def bridge() -> Any:
    """The machine's cv_bridge, imported only when an encoding needs it."""
    from cv_bridge import CvBridge

    return CvBridge()


def decode(msg: Any) -> NDArray[np.uint8]:
    """CompressedImage -> uint8 RGB [H, W, 3]."""
    data = np.frombuffer(msg.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise InputError(f"compressed image: expected jpeg or png data, got {len(data)} bytes of format {msg.format!r}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def rgb_to_image(image: NDArray[np.uint8], header: Any, image_type: type) -> Any:
    """uint8 RGB [H, W, 3] -> sensor_msgs Image (``image_type``) with ``header``."""
    height, width, _ = image.shape
    message = image_type(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data.frombytes(np.ascontiguousarray(image).data)  # assigning bytes costs a hundred times this
    return message
