# SPDX-License-Identifier: Apache-2.0
"""Images and videos for people: labelled tiles side by side, mp4."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import imageio.v2 as imageio
import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError

Image = NDArray[np.uint8]
TILE_WIDTH = 256  # pixels a tile is enlarged to at least
LABEL_HEIGHT = 20


def tile(image: Image, label: str) -> Image:
    """uint8 RGB [H, W, 3] enlarged by a whole factor, with its label above."""
    scale = max(1, -(-TILE_WIDTH // image.shape[1]))
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    band = np.full((LABEL_HEIGHT, large.shape[1], 3), 255, np.uint8)
    cv2.putText(band, label, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([band, large])


def side_by_side(tiles: Sequence[Image]) -> Image:
    """Tiles of one size in a row, with a white gap."""
    gap = np.full((tiles[0].shape[0], 4, 3), 255, np.uint8)
    parts = [part for one in tiles for part in (gap, one)][1:]
    return np.concatenate(parts, axis=1)


def write_video(path: Path, frames: Iterable[Image], rate_hz: float) -> None:
    """Write ``frames`` as an H.264 mp4; InputError where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer: Any = imageio.get_writer(path, fps=rate_hz, codec="libx264", quality=8, macro_block_size=2)
        with writer as video:
            for frame in frames:
                cast(Any, video).append_data(even(frame))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def even(image: Image) -> Image:
    """H.264 wants even sizes: repeat the last row or column where needed."""
    height, width = image.shape[:2]
    return np.pad(image, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge").astype(np.uint8, copy=False)
