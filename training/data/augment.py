# SPDX-License-Identifier: Apache-2.0
"""Clips in other light and colours, and shifted. The meaning of actions stays: no flips, no turns.

The same draws change a clip in a loader's process, by OpenCV, and a batch of clips where a store of frames lies.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

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


class Changes(NamedTuple):
    """How each of N clips is changed.

    Attributes:
        colours: float32 [N, 3, 4], affine maps of RGB in 0..255.
        moves: int64 [N, 2], pixels to the right and down.
    """

    colours: NDArray[np.float32]
    moves: NDArray[np.int64]


def draw_changes(
    settings: Augment, random: np.random.Generator, count: int, *, height: int, width: int
) -> Changes:
    """Changes of ``count`` clips of ``height`` x ``width`` pixels, within ``settings``."""
    contrast, saturation, brightness = (
        most * random.uniform(-1.0, 1.0, size=(count, 1, 1))
        for most in (settings.contrast, settings.saturation, 255.0 * settings.brightness)
    )
    colours = 1.0 + settings.hue * random.uniform(-1.0, 1.0, size=(count, 3, 1))
    saturate = (1.0 + saturation) * np.eye(3) - saturation * GREY
    linear = (1.0 + contrast) * colours * saturate
    offset = brightness - 127.5 * contrast  # contrast turns about middle grey
    matrices = np.concatenate((linear, np.broadcast_to(offset, (count, 3, 1))), axis=2)
    moves = np.rint(settings.shift * np.array([width, height]) * random.uniform(-1.0, 1.0, size=(count, 2)))
    return Changes(matrices.astype(np.float32), moves.astype(np.int64))


def augmented(frames: NDArray[np.uint8], settings: Augment, random: np.random.Generator) -> NDArray[np.uint8]:
    """A clip, uint8 RGB [L, H, W, 3], changed within ``settings``: the same shape, each frame alike."""
    height, width = frames.shape[1:3]
    (matrix,), (move,) = draw_changes(settings, random, 1, height=height, width=width)
    return changed(frames, matrix, move)


def changed(
    frames: NDArray[np.uint8], matrix: NDArray[np.float32], move: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """A clip, uint8 RGB [L, H, W, 3], by one row of ``Changes``: the same shape. On a CPU three times as fast as
    ``recoloured`` and ``cut_and_moved``.
    """
    length, height, width, _ = frames.shape
    coloured = cv2.transform(frames.reshape(length * height, width, 3), matrix).reshape(frames.shape)
    right, down = move.tolist()
    if right or down:
        rows = np.clip(np.arange(height) - down, 0, height - 1)
        columns = np.clip(np.arange(width) - right, 0, width - 1)
        coloured = coloured[:, rows[:, None], columns]
    return np.asarray(coloured, np.uint8)


def cut_and_moved(frames: Tensor, rows: Tensor, moves: Tensor) -> Tensor:
    """Clips of a store: uint8 [S, H, W, 3], its ``rows`` int64 [B, T] and ``moves`` int64 [B, 2] -> [B, T, H, W, 3].

    Moved to the right and down, border pixels repeated; all in one gather.
    """
    height, width = frames.shape[1:3]
    x = (torch.arange(width, device=rows.device) - moves[:, :1]).clamp(0, width - 1)
    y = (torch.arange(height, device=rows.device) - moves[:, 1:]).clamp(0, height - 1)
    return frames[rows[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]


def recoloured(frames: Tensor, colours: Tensor) -> Tensor:
    """Clips uint8 RGB [B, T, H, W, 3], each by its map of ``colours`` float32 [B, 3, 4]; the same shape.

    Written out instead of as a product of matrices, which a GPU would take in TF32: grey levels would be off.
    """
    maps = colours[:, None, None, None]
    values, coloured = frames.float(), maps[..., 3]
    for channel in range(3):
        coloured = torch.addcmul(coloured, values[..., channel : channel + 1], maps[..., channel])
    return coloured.round_().clamp_(0.0, 255.0).to(torch.uint8)
