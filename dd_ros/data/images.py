# SPDX-License-Identifier: Apache-2.0
"""Bytes and messages <-> pixels, the one place for it. Works on rclpy's messages and on those of bags.

Whoever feeds a model, live, from bags, from data sets or in training, gets its images from ``decode_rgb``
(``decode_bytes`` where there is no message, ``resize`` where there are pixels already), and so sees the same
ones to the bit.

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

from dd_ros.data.headers import encoded_size, jpeg_size
from dd_ros.data.odd_images import why_dark, why_odd
from dd_ros.errors import InputError

RgbImage = NDArray[np.uint8]

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
# A jpeg decodes to a half, a quarter or an eighth of its sides in less time. That is taken only where it
# shows what all pixels would show: where a reduced side is a whole multiple of the model's, for then
# averaging in two steps averages what one would; or is at least so many times as long. In between pixels
# would be smeared over their neighbours (32 instead of 41 dB on a textured 640x480 image at 1.25 times).
LEAST_REDUCED = 2.0
REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
# Most pixels of an encoded image: twice those of a 16-megapixel camera, 100 MB once decoded. OpenCV's own limit is
# 2**30, at which a header of 69 bytes takes 3 GB.
MOST_PIXELS = 2 * 4096 * 4096
# encoding -> (channels, bytes of a channel); the 4:2:2 encodings have two bytes per pixel.
ENCODINGS: dict[str, tuple[int, int]] = {
    "rgb8": (3, 1), "bgr8": (3, 1), "8UC3": (3, 1), "mono8": (1, 1), "8UC1": (1, 1),
    "rgba8": (4, 1), "bgra8": (4, 1), "8UC4": (4, 1), "mono16": (1, 2),
    "rgb16": (3, 2), "bgr16": (3, 2), "16UC3": (3, 2), "rgba16": (4, 2), "bgra16": (4, 2), "16UC4": (4, 2),
    "bayer_rggb8": (1, 1), "bayer_bggr8": (1, 1), "bayer_gbrg8": (1, 1), "bayer_grbg8": (1, 1),
    "bayer_rggb16": (1, 2), "bayer_bggr16": (1, 2), "bayer_gbrg16": (1, 2), "bayer_grbg16": (1, 2),
    "yuv422": (2, 1), "uyvy": (2, 1), "yuv422_yuy2": (2, 1), "yuyv": (2, 1),
}  # fmt: skip
# 8-bit name of what is left once 16-bit samples are scaled; OpenCV's own type names are BGR(A).
EIGHT_BIT = {
    "mono16": "mono8", "8UC1": "mono8", "rgb16": "rgb8", "bgr16": "bgr8", "16UC3": "bgr8",
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


def decode_rgb(message: Any, width: int, height: int, *, most_pixels: int = MOST_PIXELS) -> RgbImage:
    """Pixels of an Image or CompressedImage message at the model's size: what every model is fed with.

    Args:
        message: rclpy's or a bag library's.
        width, height: of the model.
        most_pixels: a CompressedImage of more is refused by its header, before it is decoded.

    Returns:
        uint8 RGB [height, width, 3], contiguous, the caller's own. It is stretched to that size; an
        orientation that EXIF data ask for is ignored.

    Raises:
        InputError: as ``image_to_rgb``.
    """
    if hasattr(message, "encoding"):
        return resize(_raw(message), width, height)
    return _compressed(message, (width, height), most_pixels)


def image_to_rgb(message: Any) -> RgbImage:
    """All pixels of an Image or CompressedImage message, uint8 RGB [height, width, 3] at its own size.

    For looking at an image as it came; what a model is to see comes from ``decode_rgb``. The result may be
    a read-only or strided view of the message: copy it before changing it.

    Raises:
        InputError: unknown encoding, no pixels, data whose length does not fit, or that does not
            decode.
    """
    return _raw(message) if hasattr(message, "encoding") else _compressed(message, None, MOST_PIXELS)


def image_size(message: Any) -> tuple[int, int]:
    """Width and height of the image in an Image or CompressedImage message, as it came.

    Of a compressed one its header tells; whether the rest decodes is for ``decode_rgb`` to find out.

    Raises:
        InputError: the header tells no size.
    """
    if hasattr(message, "encoding"):
        return int(message.width), int(message.height)
    found = encoded_size(memoryview(message.data))
    if found is None:
        raise InputError(does_not_decode(message))
    return found


def decode_bytes(
    data: Any, size: tuple[int, int] | None = None, *, most_pixels: int = MOST_PIXELS
) -> RgbImage | None:
    """Pixels of a jpeg, png, webp, bmp or tiff, uint8 RGB [height, width, 3], contiguous.

    Args:
        data: the encoded image, bytes or an array of them.
        size: width and height to stretch it to; None leaves it as it came.
        most_pixels: an image whose header says that it has more is not decoded.

    Returns:
        None if the data do not decode.
    """
    raw = np.frombuffer(data, np.uint8)
    there = encoded_size(raw.data)
    if there is None or there[0] * there[1] > most_pixels:
        return None
    whole = jpeg_size(raw.data) if size else None
    flag = REDUCED.get(reduction(whole, size), cv2.IMREAD_COLOR) if whole and size else cv2.IMREAD_COLOR
    try:
        pixels = cv2.imdecode(raw, flag | cv2.IMREAD_IGNORE_ORIENTATION) if len(raw) else None
    except cv2.error:  # a header that asks for more pixels than there can be
        pixels = None
    if pixels is None:
        return None
    if size:
        pixels = resize(np.asarray(pixels, np.uint8), *size)
    return np.ascontiguousarray(pixels[..., ::-1], np.uint8)


def resize(image: RgbImage, width: int, height: int) -> RgbImage:
    """Stretch uint8 RGB [h, w, 3] to a new, contiguous [height, width, 3]."""
    if image.shape[:2] == (height, width):
        return np.array(image, order="C")  # a copy: the input may be a message's own memory
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def reduction(whole: tuple[int, int], size: tuple[int, int]) -> int:
    """By how much (1, 2, 4 or 8) a jpeg of ``whole`` pixels is decoded smaller that is then stretched to ``size``."""

    def shows_all(side: int, wanted: int, factor: int) -> bool:
        reduced, rest = divmod(side, factor)
        return not rest and (not reduced % wanted or reduced >= LEAST_REDUCED * wanted)

    for factor in REDUCED:
        if all(shows_all(side, wanted, factor) for side, wanted in zip(whole, size, strict=True)):
            return factor
    return 1


def rgb_to_image(image: RgbImage, header: Any, image_type: type) -> Any:
    """Image message of type ``image_type`` (rclpy's or a bag library's) for uint8 RGB [h, w, 3]."""
    height, width, _ = image.shape
    data: Any = np.ascontiguousarray(image).reshape(-1)
    if hasattr(image_type, "get_fields_and_field_types"):  # rclpy: only array.array is quick there
        data = array("B", data.tobytes())
    return image_type(
        header=header, height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width, data=data
    )


def _raw(msg: Any) -> RgbImage:
    """Pixels of an Image message, as a view of it where that is possible."""
    odd = why_odd(msg)
    if odd:
        raise InputError(odd)
    samples = _samples(msg)
    encoding = EIGHT_BIT.get(msg.encoding, msg.encoding)
    if samples.dtype != np.uint8:
        odd = why_dark(samples)
        if odd:
            raise InputError(odd)
        samples = _to_eight_bit(samples)
    if encoding == "rgb8":
        return samples
    if encoding == "bgr8":
        return samples[..., ::-1]
    if encoding == "mono8":
        return np.broadcast_to(samples, (*samples.shape[:2], 3))
    return _to_rgb(np.ascontiguousarray(samples), encoding)


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


def _compressed(msg: Any, size: tuple[int, int] | None, most_pixels: int) -> RgbImage:
    """Pixels of a CompressedImage; by OpenCV, since PyPI's cv_bridge fails on grey images."""
    there = encoded_size(memoryview(msg.data))
    if there and there[0] * there[1] > most_pixels:
        raise InputError(
            f"compressed image: expected at most {most_pixels} pixels (max_image_pixels), "
            f"got {len(msg.data)} bytes of format {msg.format!r} whose header says {there[0]}x{there[1]}"
        )
    odd = why_odd(msg)
    if odd:
        raise InputError(odd)
    pixels = decode_bytes(msg.data, size, most_pixels=most_pixels)
    if pixels is None:
        raise InputError(does_not_decode(msg))
    return pixels


def does_not_decode(msg: Any) -> str:
    """What is wrong with a CompressedImage without readable pixels."""
    return (
        f"compressed image: expected a whole jpeg or png, got {len(msg.data)} bytes of format {msg.format!r} "
        "that do not decode"
    )


def check_image(image: NDArray[np.uint8]) -> None:
    """InputError unless ``image`` is uint8 RGB [height, width, 3]."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"image: expected uint8 [height, width, 3], got {image.dtype} {list(image.shape)}")
