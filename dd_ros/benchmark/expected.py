# SPDX-License-Identifier: Apache-2.0
"""What a node in a soak has to predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import CheckpointConfig
from dd_ros.live.ladder import rungs
from dd_ros.live.soak import Scene
from dd_ros.predictor import Predictor

SEED = 7  # of the sampling noise while content is checked
TOLERANCE = 1.0  # grey levels on average that number formats and threads may make


class Expected:
    """What the node should predict of a scene after its noise was seeded, by a predictor of our own.

    Args:
        checkpoint: folder or shipped name.
        config: its settings.
        count: predictions to know.

    Attributes:
        scene: what is seen and done.
        step_ns: the model step.
        frames: the predictions, uint8 [K, H, W, 3] each, by the schedules of the ladder's rungs, the best first. A prediction
            has the same noise on each, and a shorter one has the same first frames.
    """

    def __init__(self, checkpoint: str | Path, config: CheckpointConfig, count: int):
        self.scene = Scene(config)
        self.step_ns = round(1e9 / config.streams.rate_hz)
        predictor = Predictor.load(checkpoint, "cpu")
        for step in range(config.context_frames + 2):
            stamp = step * predictor.step_ns
            predictor.observe_step(self.scene.image, stamp, self.scene.command, step=step)
        actions = np.tile(self.scene.command, (predictor.horizon, 1))
        self.frames: list[list[NDArray[np.uint8]]] = []
        for rung in rungs(predictor.schedule, predictor.horizon):
            if rung.frames < predictor.horizon:
                continue
            predictor.seed(SEED)
            chunks = (list(predictor.predict_chunks(actions, schedule=rung.schedule)) for _ in range(count))
            self.frames.append([np.concatenate([chunk.frames for chunk in found]) for found in chunks])

    def place(self, first_step: int, frames: NDArray[np.uint8]) -> int | None:
        """Which prediction after the seeding a chunk is of, from 0; None: of none that is known.

        Args:
            first_step: of the chunk, from 1.
            frames: uint8 [c, H, W, 3].
        """
        part = slice(first_step - 1, first_step - 1 + len(frames))
        apart = np.array([[distance(wanted[part], frames) for wanted in made] for made in self.frames])
        best = int(np.argmin(apart.min(axis=0)))
        return best if apart[:, best].min() <= TOLERANCE else None

    def psnr(self, frames: NDArray[np.uint8]) -> float:
        """PSNR in dB of predicted frames [c, H, W, 3] against what the camera shows; 99 for equal ones."""
        error = float(np.mean(np.square(frames.astype(np.float64) - self.scene.image)))
        return 99.0 if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))


def distance(wanted: NDArray[np.uint8], frames: NDArray[np.uint8]) -> float:
    """Mean absolute difference in grey levels; infinite for another shape."""
    if wanted.shape != frames.shape:
        return float("inf")
    return float(np.abs(wanted.astype(np.int16) - frames).mean())
