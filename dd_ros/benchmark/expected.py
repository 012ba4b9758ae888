# SPDX-License-Identifier: Apache-2.0
"""What a node in a soak has to predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import CheckpointConfig
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
        frames: the predictions, uint8 [K, H, W, 3] each.
    """

    def __init__(self, checkpoint: str | Path, config: CheckpointConfig, count: int):
        self.scene = Scene(config)
        self.step_ns = round(1e9 / config.streams.rate_hz)
        predictor = Predictor.load(checkpoint, "cpu")
        for step in range(config.context_frames + 2):
            stamp = step * predictor.step_ns
            predictor.observe_step(self.scene.image, stamp, self.scene.command, step=step)
        predictor.seed(SEED)
        actions = np.tile(self.scene.command, (predictor.horizon, 1))
        self.frames = [predictor.predict(actions) for _ in range(count)]

    def place(self, first_step: int, frames: NDArray[np.uint8]) -> int | None:
        """Which prediction after the seeding a chunk is of, from 0; None: of none that is known.

        Args:
            first_step: of the chunk, from 1.
            frames: uint8 [c, H, W, 3].
        """
        part = slice(first_step - 1, first_step - 1 + len(frames))
        apart = [
            float(np.abs(wanted[part].astype(np.int16) - frames).mean())
            if wanted[part].shape == frames.shape
            else np.inf
            for wanted in self.frames
        ]
        best = int(np.argmin(apart))
        return best if apart[best] <= TOLERANCE else None

    def psnr(self, frames: NDArray[np.uint8]) -> float:
        """PSNR in dB of predicted frames [c, H, W, 3] against what the camera shows; 99 for equal ones."""
        error = float(np.mean(np.square(frames.astype(np.float64) - self.scene.image)))
        return 99.0 if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))
