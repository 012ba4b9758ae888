# SPDX-License-Identifier: Apache-2.0
"""Images for tests of their decoding."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 24, 32


def smooth() -> NDArray[np.uint8]:
    """An image whose colours change slowly, so that a Bayer or 4:2:2 image tells nearly all of it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 4 * x, 60 + 5 * y, 200 - 3 * x - y], axis=-1).astype(np.uint8)


def textured(width: int, height: int) -> NDArray[np.uint8]:
    """Detail of every size down to single pixels, like a camera's: more in brightness than in colour."""
    random = np.random.default_rng(width)
    image = 128 + random.normal(0, 8, (height, width, 1)).repeat(3, axis=-1)
    for cells in (4, 16, 64):
        coarse = random.normal(0, 25, (cells, cells, 1)) + random.normal(0, 8, (cells, cells, 3))
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


PNG = cv2.imencode(".png", smooth())[1].tobytes()
