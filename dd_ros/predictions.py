# SPDX-License-Identifier: Apache-2.0
"""What predictions are made of, and how sure they may claim to be."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.trained import FAR

Frames = Literal["all", "last"]  # which predicted frames are decoded
BATCHES = (1, 16, 64, 256)  # rollouts at once that a GPU records its work for
# What is published at most. An error above 1.4 is no better than another image, so more tells nothing but how far off
# the actions are.
MOST_UNCERTAIN = 10.0


class Chunk(NamedTuple):
    """Predicted frames of one chunk.

    Attributes:
        index, count: number of this chunk (from 0) and of all chunks.
        first_step: model steps from the last observed frame to the first frame of the chunk (1 = next).
        frames: uint8 RGB [c, H, W, 3], or [N, c, H, W, 3] for N action sequences.
        uncertainty: float32 [c] or [N, c]; expected RMS error of the latents in units of their
            deviation over the training data (0 is certain, about 1 is a guess). Finite, at most MOST_UNCERTAIN, and
            at least what ``least_uncertainty`` says of actions that the network does not know.
        readouts: float32 [c, D] or [N, c, D], numbers read off the frames' latents, in their own units and in the order
            of the checkpoint's ``readouts.names``; None for a checkpoint that reads none.
        error: float32 [c, 3] or [N, c, 3]; low, median and high of each frame's RMS error in grey levels, as
            ``error_intervals`` says; None where the checkpoint is not calibrated, or not so far ahead.
    """

    index: int  # type: ignore[assignment]
    count: int  # type: ignore[assignment]
    first_step: int
    frames: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]
    readouts: NDArray[np.float32] | None = None
    error: NDArray[np.float32] | None = None


class Rollouts(NamedTuple):
    """Rollouts of several action sequences from one context, over the whole horizon of K steps.

    Attributes:
        frames: uint8 RGB [N, K, H, W, 3], [N, 1, H, W, 3] where the last frames were asked for, None without.
        uncertainty: float32 [N, K], as ``Chunk.uncertainty``.
        readouts: float32 [N, K, D], as ``Chunk.readouts``.
        latents: float32 [N, K, c, h, w] where they were asked for, None without.
        error: float32 [N, K, 3] or None, as ``Chunk.error``.
    """

    frames: NDArray[np.uint8] | None
    uncertainty: NDArray[np.float32]
    readouts: NDArray[np.float32] | None = None
    latents: NDArray[np.float32] | None = None
    error: NDArray[np.float32] | None = None


def least_uncertainty(observed: NDArray[np.float32], actions: NDArray[np.float32]) -> NDArray[np.float32]:
    """The uncertainty that rollouts have at least because of actions that are unlike those of training.

    A network says nothing of the error where it has never been: with joints in degrees it was certain to 1e-13. So the
    uncertainty of a frame is at least log2(d / FAR), where d is the farthest action up to the frame, in deviations from
    the mean of training: 0 up to FAR, 1, a guess, at twice as much, and one more each time that d doubles.

    Args:
        observed: [A], normalised action of the last observed frame.
        actions: [N, K, A], normalised.

    Returns:
        float32 [N, K], from 0 to MOST_UNCERTAIN.
    """
    farthest = np.maximum.accumulate(np.abs(actions).max(axis=-1), axis=1)
    farthest = np.maximum(farthest, np.abs(observed).max())
    return np.log2(np.maximum(farthest / FAR, 1.0)).clip(0.0, MOST_UNCERTAIN)


def bounded(uncertainty: NDArray[np.float32], least: NDArray[np.float32]) -> NDArray[np.float32]:
    """``uncertainty`` between ``least`` and MOST_UNCERTAIN; where the network's numbers overflowed it is the latter."""
    finite = np.nan_to_num(uncertainty, nan=MOST_UNCERTAIN, posinf=MOST_UNCERTAIN)
    return np.clip(finite, least, MOST_UNCERTAIN)
