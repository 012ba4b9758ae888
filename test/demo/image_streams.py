# SPDX-License-Identifier: Apache-2.0
"""Made-up camera frames and predictions of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from bag_writer import image
from numpy.typing import NDArray

from dd_ros.demo.recording import Piece, Recording

STEP = 100_000_000
START = 1_700_000_000_000_000_000
CHUNKS, CHUNK_FRAMES = 2, 3
HORIZON = CHUNKS * CHUNK_FRAMES


def frame(number: int) -> NDArray[np.uint8]:
    """An image of 24x16 pixels that changes more and more."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 150, (16, 24, 3)) + np.sqrt(number) * rng.uniform(0, 20, (16, 24, 3))).astype(
        np.uint8
    )


def message(rgb: NDArray[np.uint8]) -> Any:
    """The message that a camera sends for an image; its stamp comes beside it."""
    return image(START, rgb)


def predicted(number: int) -> NDArray[np.uint8]:
    """Frames for the steps after ``number``: a little brighter than they will be."""
    offsets = [3 + k for k in range(HORIZON)]
    return np.stack([frame(number + k + 1) + np.uint8(offsets[k]) for k in range(HORIZON)])


def pieces(number: int, age_ms: float = 20.0, late: int = 0, chunks: int = CHUNKS) -> list[Piece]:
    """The first chunks of the prediction from frame ``number``; each is ``age_ms`` older than the one before."""
    frames = predicted(number).reshape(CHUNKS, CHUNK_FRAMES, 16, 24, 3)
    flags = [k < late for k in range(HORIZON)]
    return [
        Piece(
            stamp_ns=START + number * STEP, step_ns=STEP, first_step=1 + chunk * CHUNK_FRAMES, chunk=chunk,
            chunks=chunks, frames=frames[chunk], late=tuple(flags[chunk * CHUNK_FRAMES :][:CHUNK_FRAMES]),
            published_ns=START + number * STEP + round((chunk + 1) * age_ms * 1e6),
        )
        for chunk in range(chunks)
    ]  # fmt: skip


def live(count: int, skip: tuple[int, ...] = (), lost: tuple[int, ...] = ()) -> Recording:
    """A recording of ``count`` frames, each predicted from but for ``skip``; frames ``lost`` never came."""
    recording = Recording()
    for number in range(count):
        if number not in lost:
            recording.frame(START + number * STEP, message(frame(number)))
        if number not in skip:
            for piece in pieces(number):
                recording.piece(piece)
    return recording
