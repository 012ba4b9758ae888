# SPDX-License-Identifier: Apache-2.0
"""Image messages -> images at the model's size, as fast as that goes."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dd_ros.data.images import image_to_rgb
from dd_ros.data.steps import resize
from dd_ros.errors import InputError

# Side of a decoded jpeg as a part of the whole -> OpenCV's flag for it; the smallest first.
REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


def read_image(msg: Any, width: int, height: int) -> NDArray[np.uint8]:
    """Pixels of an Image or CompressedImage message, uint8 RGB [height, width, 3].

    A jpeg is decoded at a half, a quarter or an eighth of its size where that is enough.

    Raises:
        InputError: it does not decode.
    """
    pixels = None
    if is_jpeg(msg):
        whole_width, whole_height = jpeg_size(msg)
        for factor, flag in REDUCED.items():
            if whole_width >= factor * width and whole_height >= factor * height:
                pixels = decode(msg, flag)
                break
    return resize(image_to_rgb(msg) if pixels is None else pixels, width, height)


def check_image(msg: Any) -> tuple[int, int]:
    """Width and height of the image in a message, of a jpeg at little cost; InputError if it does not decode."""
    if is_jpeg(msg) and decode(msg, cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None:
        return jpeg_size(msg)
    height, width, _ = image_to_rgb(msg).shape
    return width, height


def is_jpeg(msg: Any) -> bool:
    return not hasattr(msg, "encoding") and bytes(msg.data[:3]) == b"\xff\xd8\xff"


def jpeg_size(msg: Any) -> tuple[int, int]:
    """Width and height that the header of a jpeg tells."""
    try:
        return Image.open(io.BytesIO(msg.data)).size
    except OSError as error:
        raise InputError(f"compressed image: expected a jpeg, got {len(msg.data)} bytes ({error})") from error


def decode(msg: Any, flag: int) -> NDArray[np.uint8] | None:
    """Pixels of a jpeg as ``flag`` asks for them, RGB if in colour; None if it does not decode."""
    pixels = cv2.imdecode(np.frombuffer(msg.data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else np.asarray(pixels, np.uint8)[..., ::-1]
