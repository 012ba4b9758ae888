# SPDX-License-Identifier: Apache-2.0
"""Rollouts of action sequences by the networks at work: the noise they share, parts of bounded memory, numbers in their units.

The predictor's other half: it knows what was observed, this what is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dd_ros.config import CheckpointConfig, Schedule
from dd_ros.engine import Context, Decoded, Engine
from dd_ros.errors import InputError
from dd_ros.model.autoencoder import CELL
from dd_ros.predictions import Chunk, Frames, Rollouts


class RolloutMaker:
    """Makes rollouts over the whole horizon of a checkpoint, or over its first chunks.

    Args:
        config: settings of the checkpoint.
        engine: its networks.
        seed: of the sampling noise.
    """

    def __init__(self, config: CheckpointConfig, engine: Engine, *, seed: int):
        self._config, self._engine = config, engine
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Restart the sampling noise."""
        self._generator = torch.Generator(self._engine.device).manual_seed(seed)

    def parts(
        self, actions: NDArray[np.float32], *, context: Context, schedule: Schedule, frames: Frames | None,
        at_once: int | Callable[[], int], latents: bool = False, horizon: int | None = None,
    ) -> Iterator[Rollouts | None]:  # fmt: skip
        """Rollouts of normalised ``actions`` [N, K, A], some at a time; None between two chunks.

        Args:
            context: what to start from.
            schedule: denoising steps.
            frames, latents, at_once, horizon: as of ``Predictor.rollouts_by_chunk``.

        Raises:
            InputError: schedule or horizon do not fit the checkpoint.
        """
        noise, count = self._noise(), self._chunks(schedule, horizon)
        while len(actions):
            wanted = min(at_once if isinstance(at_once, int) else at_once(), len(actions))
            batch = self._engine.batch_for(wanted, steps=self._config.horizon, schedule=schedule)
            part, actions = np.split(actions, [min(wanted, batch)])
            chunks: list[Decoded] = []
            for chunk in self._engine.chunks(
                part, noise=noise, context=context, schedule=schedule, count=count, frames=frames, latents=latents,
                batch=batch,
            ):  # fmt: skip
                chunks.append(chunk)
                if len(chunks) < count:
                    yield None
            uncertainty = np.concatenate([chunk.uncertainty for chunk in chunks], axis=1)
            yield Rollouts(
                frames=joined([chunk.frames for chunk in chunks]),
                uncertainty=uncertainty,
                readouts=self.in_units(np.concatenate([chunk.readouts for chunk in chunks], axis=1)),
                latents=joined([chunk.latents for chunk in chunks]),
                error=self._config.error_of(uncertainty),
            )

    def chunks(
        self, actions: NDArray[np.float32], *, context: Context, schedule: Schedule, horizon: int | None
    ) -> Iterator[Chunk]:
        """Chunks of the rollouts of normalised ``actions`` [K, A] or [N, K, A], all at once; arguments as of ``parts``."""
        lead, rollouts = actions.shape[:-2], actions.reshape(-1, *actions.shape[-2:])
        count, size = self._chunks(schedule, horizon), schedule.chunk_frames
        chunks = self._engine.chunks(
            rollouts, noise=self._noise(), context=context, schedule=schedule, count=count, frames="all", latents=False,
            batch=len(rollouts),
        )  # fmt: skip
        for index, chunk in enumerate(chunks):
            first, readouts = index * size + 1, self.in_units(chunk.readouts)
            frames = cast(NDArray[np.uint8], chunk.frames)
            uncertainty = chunk.uncertainty.reshape(*lead, size)
            yield Chunk(
                index, count, first, frames.reshape(*lead, *frames.shape[1:]), uncertainty,
                readouts=None if readouts is None else readouts.reshape(*lead, *readouts.shape[1:]),
                error=self._config.error_of(uncertainty, first),
            )  # fmt: skip

    def in_units(self, readouts: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Normalised read-outs [..., D] in their own units; None for a checkpoint that reads none."""
        spec = self._config.readouts
        if spec is None:
            return None
        return readouts * np.asarray(spec.std, np.float32) + np.asarray(spec.mean, np.float32)

    def _chunks(self, schedule: Schedule, horizon: int | None) -> int:
        """Number of chunks of a call; InputError for a schedule or horizon that does not fit."""
        size, longest = self._config.schedule.chunk_frames, self._config.horizon
        frames = longest if horizon is None else horizon
        count = schedule.chunks(frames)
        if schedule.chunk_frames != size or not 1 <= frames <= longest:
            raise InputError(
                f"expected chunks of {size} frames and a horizon of 1 to {longest} frames, got chunks of "
                f"{schedule.chunk_frames} and {frames} frames"
            )
        return count

    def _noise(self) -> Tensor:
        """Standard normal [1, K, c, h, w], the same for all rollouts of a call."""
        config = self._config
        rows, columns = config.streams.height // CELL, config.streams.width // CELL
        shape = (1, config.horizon, config.autoencoder.latent_channels, rows, columns)
        return torch.randn(shape, generator=self._generator, device=self._engine.device)


def joined(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Those parts [N, c, ...] that there are, as one [N, K, ...]; None where there are none."""
    found = [part for part in parts if part is not None]
    return np.concatenate(found, axis=1) if found else None
