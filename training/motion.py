# SPDX-License-Identifier: Apache-2.0
"""What moves between the model steps of a recording, in a few numbers per step, from small grey images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros_training.data.index import TrainingEpisode

WIDTH, HEIGHT = 32, 24  # of the grey images
ROWS, COLUMNS = 3, 4  # of the cells that they are divided into
BLUR = 1.0  # deviation in pixels: shifts below a pixel are seen, and little noise
DAMPING = 50.0  # squared grey levels per pixel, against noise where there is no texture
PIECE = 10.0  # seconds of a recording that are looked at in one go
AT_ONCE = 32  # frames decoded in one go: more would hold memory at the model's size

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Consecutive model steps.

    Attributes:
        grey: float32 [T, HEIGHT, WIDTH], 0 to 255.
        actions: float32 [T, A].
    """

    grey: Floats
    actions: Floats


@dataclass(frozen=True)
class Motion:
    """What moves from each step of a piece to the next, T - 1 times.

    Attributes:
        whole: float32 [T - 1, 4], of the whole image: shift right and down in pixels, zoom and turn of its half side.
        cells: float32 [T - 1, 2 * ROWS * COLUMNS], shift of each cell right, then of each down.
        change: float32 [T - 1], mean difference of grey levels in the cell that changes most.
    """

    whole: Floats
    cells: Floats
    change: Floats


def pieces_of(episodes: Sequence[TrainingEpisode], *, rate_hz: float, steps: int, least: int) -> list[Piece]:
    """Pieces of ``least`` steps or more, spread evenly over the episodes, about ``steps`` together; decoded now."""
    length = max(least, round(PIECE * rate_hz))
    found = [
        (episode, first, min(first + length, len(episode)))
        for episode in episodes
        for first in range(0, len(episode), length)
        if min(first + length, len(episode)) - first >= least
    ]
    there = sum(last - first for _, first, last in found)
    wanted = min(len(found), math.ceil(steps * len(found) / max(1, there)))
    chosen = (
        [found[index] for index in np.linspace(0, len(found) - 1, wanted).round().astype(int)]
        if found
        else []
    )
    return [
        Piece(small(episode, first, last), episode.actions[first:last]) for episode, first, last in chosen
    ]


def small(episode: TrainingEpisode, first: int, last: int) -> Floats:
    """Grey images of the steps ``first`` to ``last``, float32 [T, HEIGHT, WIDTH]."""
    grey = [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for start in range(first, last, AT_ONCE)
        for frame in episode.frames(start, min(start + AT_ONCE, last))
    ]
    return np.stack(grey).astype(np.float32)


def motion(grey: Floats) -> Motion:
    """What moves in images [T, HEIGHT, WIDTH], by least squares on their gradients (Lucas and Kanade 1981)."""
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), BLUR) for image in grey])
    change, mean = smooth[1:] - smooth[:-1], 0.5 * (smooth[1:] + smooth[:-1])
    down, right = np.gradient(mean, axis=(1, 2))
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x, y = 2.0 * (x + 0.5) / WIDTH - 1.0, 2.0 * (y + 0.5) / HEIGHT - 1.0
    parts = np.stack([right, down, x * right + y * down, x * down - y * right], axis=-1)
    parts = parts.reshape(len(change), -1, 4)
    products = parts.transpose(0, 2, 1) @ parts + DAMPING * np.eye(4)
    whole = -np.linalg.solve(products, parts.transpose(0, 2, 1) @ change.reshape(len(change), -1, 1))[..., 0]
    a, b, c = in_cells(right * right) + DAMPING, in_cells(right * down), in_cells(down * down) + DAMPING
    d, e = in_cells(right * change), in_cells(down * change)
    cells = np.concatenate([b * e - c * d, b * d - a * e], axis=1) / np.tile(a * c - b * b, 2)
    most = in_cells(np.abs(grey[1:] - grey[:-1])).max(axis=1) * (ROWS * COLUMNS) / (WIDTH * HEIGHT)
    return Motion(whole.astype(np.float32), cells.astype(np.float32), most)


def in_cells(values: Floats) -> Floats:
    """Sums of [n, HEIGHT, WIDTH] over each cell, [n, ROWS * COLUMNS]."""
    split = values.reshape(len(values), ROWS, HEIGHT // ROWS, COLUMNS, WIDTH // COLUMNS)
    return split.sum(axis=(2, 4)).reshape(len(values), -1)
