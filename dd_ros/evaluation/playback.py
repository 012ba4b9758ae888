# SPDX-License-Identifier: Apache-2.0
"""A recorded episode as the predictor would have met it: frame by frame, a prediction from each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.steps import Episode
from dd_ros.predictor import Predictor


class Played(NamedTuple):
    """A model step of an episode, and what was predicted from it.

    Attributes:
        stamp_ns: its time, a whole number of model steps after the first.
        frame: uint8 RGB [H, W, 3], observed.
        action: float32 [A], the command in force.
        ahead: float32 [K, A], the commands that followed; after the end of the episode the last one is held.
        frames: uint8 RGB [K, H, W, 3], predicted.
        uncertainty: float32 [K].
    """

    stamp_ns: int
    frame: NDArray[np.uint8]
    action: NDArray[np.float32]
    ahead: NDArray[np.float32]
    frames: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]


def played(predictor: Predictor, episode: Episode) -> Iterator[Played]:
    """All model steps of an episode, in order; what the predictor observed before is forgotten."""
    predictor.reset()
    horizon, start = predictor.horizon, int(episode.stamps[0])
    for index, (frame, action) in enumerate(zip(episode.frames, episode.actions, strict=True)):
        stamp = start + index * predictor.step_ns
        predictor.observe(frame, stamp, action)
        ahead = episode.actions[index + 1 : index + 1 + horizon]
        held = np.repeat(episode.actions[-1:], horizon - len(ahead), axis=0)
        ahead = np.concatenate([ahead, held])
        chunks = list(predictor.predict_chunks(ahead))
        frames = np.concatenate([chunk.frames for chunk in chunks])
        yield Played(
            stamp, frame, action, ahead, frames, np.concatenate([chunk.uncertainty for chunk in chunks])
        )
