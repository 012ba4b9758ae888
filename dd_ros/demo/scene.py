# SPDX-License-Identifier: Apache-2.0
"""The scene of a soak: it stands still, so that what the node has to predict is known to the last digit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import CheckpointConfig

IMAGE_TOPIC, ACTION_TOPIC, PLAN_TOPIC, FAULT_TOPIC = (
    "/soak/image",
    "/soak/action",
    "/soak/plan",
    "/soak/fault",
)
SEED = 7  # of the sampling noise while content is checked
TOLERANCE = 1.0  # grey levels on average that number formats and threads may make


class Scene:
    """What the camera sees and what the robot is told, all the time.

    Attributes:
        image: uint8 RGB [H, W, 3], of the checkpoint's size.
        command: the action, as plain numbers.
    """

    def __init__(self, config: CheckpointConfig):
        streams = config.streams
        self.command = [float(value) for value in config.action.mean]
        coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
        rows = np.arange(streams.height) * 4 // streams.height
        columns = np.arange(streams.width) * 6 // streams.width
        self.image: NDArray[np.uint8] = np.ascontiguousarray(coarse[rows][:, columns])
        if config.name == "pusht":  # a scene that it was trained on
            from dd_ros.demo.pusht import World

            world = World(0)
            self.image, self.command = world.image(), [float(value) for value in world.pusher]


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
        from dd_ros.predictor import Predictor

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
