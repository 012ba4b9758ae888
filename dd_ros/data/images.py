# SPDX-License-Identifier: Apache-2.0
"""Image messages <-> arrays, the one place for it. Works on rclpy's messages and on those of bags.

Plain rgb8, bgr8 and mono8 images are NumPy views of the message. Everything else becomes tight,
8-bit rows first, because the distribution's cv_bridge and PyPI's differ on padded rows, byte order
and 16-bit images (PyPI's gets them wrong), and then goes through cv_bridge.
"""

from __future__ import annotations

from array import array
from functools import cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from dd_ros.errors import InputError

RgbImage = NDArray[np.uint8]

# encoding -> (channels, bytes of a channel); the 4:2:2 encodings have two bytes per pixel.
ENCODINGS: dict[str, tuple[int, int]] = {
    "rgb8": (3, 1), "bgr8": (3, 1), "8UC3": (3, 1), "mono8": (1, 1), "8UC1": (1, 1),
    "rgba8": (4, 1), "bgra8": (4, 1), "8UC4": (4, 1), "mono16": (1, 2), "16UC1": (1, 2),
    "rgb16": (3, 2), "bgr16": (3, 2), "16UC3": (3, 2), "rgba16": (4, 2), "bgra16": (4, 2), "16UC4": (4, 2),
    "bayer_rggb8": (1, 1), "bayer_bggr8": (1, 1), "bayer_gbrg8": (1, 1), "bayer_grbg8": (1, 1),
    "bayer_rggb16": (1, 2), "bayer_bggr16": (1, 2), "bayer_gbrg16": (1, 2), "bayer_grbg16": (1, 2),
    "yuv422": (2, 1), "uyvy": (2, 1), "yuv422_yuy2": (2, 1), "yuyv": (2, 1),
}  # fmt: skip
# 8-bit name of what is left once 16-bit samples are scaled; OpenCV's own type names are BGR(A).
EIGHT_BIT = {
    "mono16": "mono8", "16UC1": "mono8", "8UC1": "mono8", "rgb16": "rgb8", "bgr16": "bgr8", "16UC3": "bgr8",
    "8UC3": "bgr8", "rgba16": "rgba8", "bgra16": "bgra8", "16UC4": "bgra8", "8UC4": "bgra8",
    "bayer_rggb16": "bayer_rggb8", "bayer_bggr16": "bayer_bggr8",
    "bayer_gbrg16": "bayer_gbrg8", "bayer_grbg16": "bayer_grbg8",
}  # fmt: skip
# PyPI's cv_bridge lacks these; the distribution's makes the very same OpenCV call.
OPENCV_CODES = {
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}


def image_to_rgb(msg: Any) -> RgbImage:
    """Pixels of an Image or CompressedImage message, uint8 RGB [height, width, 3].

    The result may be a read-only or strided view of the message: copy it before changing it.

    Raises:
        InputError: unknown encoding, no pixels, data whose length does not fit, or that does not
            decode.
    """
    if not hasattr(msg, "encoding"):
        return _decode(msg)
    samples = _samples(msg)
    encoding = EIGHT_BIT.get(msg.encoding, msg.encoding)
    if samples.dtype != np.uint8:
        samples = _to_eight_bit(samples)
    if encoding == "rgb8":
        return samples
    if encoding == "bgr8":
        return samples[..., ::-1]
    if encoding == "mono8":
        return np.broadcast_to(samples, (*samples.shape[:2], 3))
    return _to_rgb(np.ascontiguousarray(samples), encoding)


def rgb_to_image(image: RgbImage, header: Any, image_type: type) -> Any:
    """Image message of type ``image_type`` (rclpy's or a bag library's) for uint8 RGB [h, w, 3]."""
    height, width, _ = image.shape
    data: Any = np.ascontiguousarray(image).reshape(-1)
    if hasattr(image_type, "get_fields_and_field_types"):  # rclpy: only array.array is quick there
        data = array("B", data.tobytes())
    return image_type(
        header=header, height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width, data=data
    )


def _samples(msg: Any) -> NDArray[Any]:
    """View of an Image's samples [height, width, channels], padding left out, byte order declared."""
    if msg.encoding not in ENCODINGS:
        raise InputError(f"image encoding: expected one of {', '.join(ENCODINGS)}, got {msg.encoding!r}")
    channels, size = ENCODINGS[msg.encoding]
    height, width = int(msg.height), int(msg.width)
    if height <= 0 or width <= 0:
        raise InputError(f"image size: expected at least 1x1 pixels, got {width}x{height}")
    used = width * channels * size
    step = int(msg.step) or used  # some drivers leave the step at 0
    if step < used:
        raise InputError(
            f"image step: expected at least {used} bytes for {width} pixels of {msg.encoding}, got {step}"
        )
    raw = np.frombuffer(msg.data, np.uint8)
    if len(raw) not in (step * height, step * (height - 1) + used):  # the last row may lack its padding
        raise InputError(
            f"image data: expected {step * height} bytes ({height} rows of {step}), got {len(raw)}"
        )
    rows = as_strided(raw, (height, used), (step, 1))
    if size == 1:
        return rows.reshape(height, width, channels)
    order = ">u2" if msg.is_bigendian else "<u2"
    return np.ascontiguousarray(rows).view(order).reshape(height, width, channels)


def _to_eight_bit(samples: NDArray[np.uint16]) -> RgbImage:
    """0..65535 -> 0..255, rounded."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_rgb(samples: RgbImage, encoding: str) -> RgbImage:
    height, width, channels = samples.shape
    if (encoding.startswith("bayer") and (height % 2 or width % 2)) or (channels == 2 and width % 2):
        raise InputError(f"image size: {encoding} needs whole groups of pixels, got {width}x{height}")
    pixels = samples[..., 0] if channels == 1 else samples
    if encoding in OPENCV_CODES:
        return np.asarray(cv2.cvtColor(pixels, OPENCV_CODES[encoding]), np.uint8)
    message = SimpleNamespace(
        encoding=encoding,
        height=height,
        width=width,
        is_bigendian=0,
        step=samples.strides[0],
        data=samples.tobytes(),
    )
    return _bridge().imgmsg_to_cv2(message, "rgb8")


@cache
def _bridge() -> Any:
    """cv_bridge, imported when the first image needs it."""
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError) as error:  # AttributeError: built for another NumPy
        raise InputError(
            f"image encoding: this one needs cv_bridge, which cannot be imported ({error}); "
            "install it, or publish rgb8, bgr8 or mono8"
        ) from error
    return CvBridge()


def _decode(msg: Any) -> RgbImage:
    """Pixels of a CompressedImage; by OpenCV, since PyPI's cv_bridge fails on grey images."""
    raw = np.frombuffer(msg.data, np.uint8)
    pixels = None
    if len(raw) and "compressedDepth" not in msg.format:
        pixels = cv2.imdecode(raw, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise InputError(
            f"compressed image: expected a whole jpeg or png, got {len(raw)} bytes of format {msg.format!r} "
            "that do not decode"
        )
    return np.asarray(pixels, np.uint8)[..., ::-1]
