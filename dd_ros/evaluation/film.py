# SPDX-License-Identifier: Apache-2.0
"""Frames as a picture that a notebook shows: ``dd_ros.show(predictor.predict(actions))``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros.errors import InputError
from dd_ros.evaluation.video import Image, side_by_side, tile


class FilmStrip:
    """A picture of frames. A notebook shows it where it is the last value of a cell, ``save`` writes it.

    Attributes:
        image: uint8 RGB [H, W, 3].
        shape: of the frames it was made from.
    """

    def __init__(self, image: Image, shape: tuple[int, ...]):
        self.image, self.shape = image, shape

    def save(self, path: str | Path) -> Path:
        """Write it as png or jpeg, by the ending of ``path``; InputError where that is impossible."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            written = cv2.imwrite(str(target), self.image[..., ::-1])
        except (OSError, cv2.error) as error:
            raise InputError(f"{target}: cannot be written ({error})") from error
        if not written:
            raise InputError(f"{target}: cannot be written; check that its folder may be written to")
        return target

    def _repr_png_(self) -> bytes:
        return cv2.imencode(".png", self.image[..., ::-1])[1].tobytes()

    def __repr__(self) -> str:
        return f"<FilmStrip of frames {list(self.shape)}: shown by a notebook, written by .save('strip.png')>"


def show(frames: NDArray[np.uint8], *, step_s: float | None = None, most: int = 8) -> FilmStrip:
    """Frames side by side.

    Args:
        frames: uint8 RGB: one image [H, W, 3], the frames of a prediction [K, H, W, 3], or those of several rollouts
            [N, K, H, W, 3], each of which gets a row.
        step_s: seconds from one frame to the next; where it is given, each has above it how far ahead it is, the first
            frame being one step ahead as in predictions.
        most: frames of a row at most; of more, some evenly spread, the first and the last among them.

    Raises:
        InputError: another shape or type, or no frames.
    """
    given = np.asarray(frames)
    if given.dtype != np.uint8 or not 3 <= given.ndim <= 5 or given.shape[-1] != 3 or not given.size:
        shapes = "[H, W, 3], [K, H, W, 3] or [N, K, H, W, 3]"
        raise InputError(f"show: expected uint8 RGB {shapes}, got {given.dtype} {list(given.shape)}")
    if most < 1:
        raise InputError(f"show: expected most of at least 1, got {most}")
    rows = given.reshape(-1, *given.shape[-4:]) if given.ndim > 3 else given[None, None]
    count = rows.shape[1]
    chosen = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    labels = [f"frame {k + 1}" if step_s is None else f"{(k + 1) * step_s:.2f} s ahead" for k in chosen]
    strips = [
        side_by_side([tile(row[k], label) for k, label in zip(chosen, labels, strict=True)]) for row in rows
    ]
    return FilmStrip(np.concatenate(strips), given.shape)
