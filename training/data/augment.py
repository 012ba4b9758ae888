# SPDX-License-Identifier: Apache-2.0
"""A clip in other light and colours, and shifted. The meaning of actions stays: no flips, no turns."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dd_ros.settings import Settings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
GREY = np.array([0.299, 0.587, 0.114])  # brightness of R, G and B


class Augment(Settings):
    """How far a clip may be changed; all its frames are changed alike. Zero leaves a thing as it is.

    Attributes:
        brightness: added at most, as a share of the full range.
        contrast, saturation: most change of the factor, 0.1 for 0.9 to 1.1.
        hue: most change of the factor of each of R, G and B.
        shift: share of height and width that images may be moved by, at most; set it to 0 where actions
            are positions in the image. Border pixels are repeated. Against overfitting to few bags nothing
            helps as much (docs/results.md).
    """

    brightness: Share = 0.05
    contrast: Share = 0.05
    saturation: Share = 0.05
    hue: Share = 0.02
    shift: Share = 0.05


def augmented(frames: NDArray[np.uint8], settings: Augment, random: np.random.Generator) -> NDArray[np.uint8]:
    """A clip, uint8 RGB [L, H, W, 3], changed within ``settings``: the same shape, each frame alike."""
    length, height, width, _ = frames.shape
    matrix = colour_matrix(settings, random)
    changed = cv2.transform(frames.reshape(length * height, width, 3), matrix).reshape(frames.shape)
    right, down = (round(side * settings.shift * random.uniform(-1.0, 1.0)) for side in (width, height))
    if right or down:
        rows = np.clip(np.arange(height) - down, 0, height - 1)
        columns = np.clip(np.arange(width) - right, 0, width - 1)
        changed = changed[:, rows[:, None], columns]
    return np.asarray(changed, np.uint8)


def colour_matrix(settings: Augment, random: np.random.Generator) -> NDArray[np.float64]:
    """A random affine map of RGB in 0..255, float64 [3, 4]."""
    contrast = 1.0 + settings.contrast * random.uniform(-1.0, 1.0)
    saturation = 1.0 + settings.saturation * random.uniform(-1.0, 1.0)
    colours = 1.0 + settings.hue * random.uniform(-1.0, 1.0, size=3)
    brightness = 255.0 * settings.brightness * random.uniform(-1.0, 1.0)
    saturate = saturation * np.eye(3) + (1.0 - saturation) * GREY
    linear = contrast * colours[:, None] * saturate
    offset = 127.5 * (1.0 - contrast) + brightness  # contrast turns about middle grey
    return np.hstack([linear, np.full((3, 1), offset)])
