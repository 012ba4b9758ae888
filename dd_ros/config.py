# SPDX-License-Identifier: Apache-2.0
"""Everything a checkpoint's ``config.yaml`` holds: streams, normalisation, network and schedule.

No torch here, so that reading a description of a bag or a checkpoint stays instant.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dd_ros.error_intervals import ErrorIntervals
from dd_ros.errors import InputError
from dd_ros.gate import Gate
from dd_ros.settings import Settings
from dd_ros.streams import ActionSource, Count, StreamSpec
from dd_ros.upgrades import FORMAT

Positive = Annotated[int, Field(gt=0)]
Finite = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
# What no camera, robot or network of this kind has; a checkpoint may come from anywhere.
Few = Annotated[int, Field(gt=0, le=128)]  # blocks or heads
MOST_BYTES = 2 << 30  # of the frames and of the keys and values of one prediction
NoiseLevel = Annotated[float, Field(ge=0.0, le=1.0)]


class ActionSpec(Settings):
    """Dimension and normalisation of the action vector: ``(action - mean) / std``."""

    dim: Count
    mean: tuple[Finite, ...]
    std: tuple[Annotated[Finite, Field(ge=1e-9)], ...]
    names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _lengths(self) -> ActionSpec:
        if len(self.mean) != self.dim or len(self.std) != self.dim:
            raise ValueError(f"mean and std must have {self.dim} values")
        return self


class AutoencoderConfig(Settings):
    """Per-frame autoencoder: one latent cell stands for 8x8 pixels.

    Attributes:
        latent_channels: channels of a latent cell.
        fine_width, coarse_width: feature channels at 1/4 and 1/8 of the image size.
        encoder_blocks, decoder_blocks: residual blocks at 1/8; half of them (rounded up) at 1/4.
    """

    latent_channels: Count = 8
    fine_width: Count = 48
    coarse_width: Count = 128
    encoder_blocks: Few = 2
    decoder_blocks: Few = 3


class TransformerConfig(Settings):
    """Block-causal video transformer.

    Attributes:
        width: channels of a token; must be a multiple of ``heads``, and 16 divides a head.
        depth: number of blocks.
        heads: attention heads.
        patch: side of a token in latent cells.
        window_frames: generated frames of the past that a chunk can see; observed context frames
            (the sink) are always visible.
        max_trained_step: model steps from the last observed frame that training covers; in longer rollouts the
            observed frames are held at this distance.
        condition_on_previous_frame: whether all blocks are conditioned on the frame before a chunk, and may keep it.
            Where things are pushed about for long, as in PushT, nothing else keeps them whole; a few minutes of a
            robot's logs are overfitted with it.
    """

    width: Count = 192
    depth: Few = 6
    heads: Few = 6
    patch: Few = 2
    window_frames: Count = 4
    max_trained_step: Annotated[int, Field(gt=0, le=1_000_000)] = 16
    condition_on_previous_frame: bool = False

    @model_validator(mode="after")
    def _heads(self) -> TransformerConfig:
        if self.width % (16 * self.heads):
            raise ValueError("width must be a multiple of 16 * heads")
        return self


class Schedule(Settings):
    """Noise levels of every denoising step, per chunk: the diagonal of the method, as data.

    Attributes:
        chunk_frames: frames of a chunk.
        levels: for each chunk the noise levels of its denoising steps, falling from 1 (pure noise);
            chunks beyond the last entry use the last entry.
        clean_context: refresh a chunk's keys and values with an extra clean pass (the Self-Forcing
            recipe); off means the last denoising step's own keys and values are the context.
        guidance: weight of action guidance; 0 takes one network pass per step, else two.
    """

    chunk_frames: Count
    levels: Annotated[
        tuple[Annotated[tuple[NoiseLevel, ...], Field(min_length=1, max_length=1000)], ...],
        Field(min_length=1, max_length=4096),
    ]
    clean_context: bool = False
    guidance: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0

    @model_validator(mode="after")
    def _falling(self) -> Schedule:
        for chunk, levels in enumerate(self.levels, start=1):
            falling = all(a > b for a, b in pairwise(levels))
            if levels[0] != 1.0 or not falling or levels[-1] <= 0.0:
                raise ValueError(f"levels of chunk {chunk} must fall from 1.0 and stay above 0, got {levels}")
        return self

    def chunk_levels(self, chunk: int) -> tuple[float, ...]:
        """Noise levels of chunk number ``chunk`` (from 0)."""
        return self.levels[min(chunk, len(self.levels) - 1)]

    def chunks(self, frames: int) -> int:
        """Number of chunks that cover ``frames`` frames; InputError unless they divide."""
        if frames % self.chunk_frames:
            raise InputError(
                f"schedule: {frames} frames do not divide into chunks of {self.chunk_frames} frames"
            )
        return frames // self.chunk_frames

    def passes(self, frames: int) -> int:
        """Network passes for ``frames`` frames, with guidance and the refresh before all later chunks."""
        per_step = 2 if self.guidance else 1
        steps = sum(len(self.chunk_levels(i)) for i in range(self.chunks(frames)))
        return per_step * steps + (self.chunks(frames) - 1 if self.clean_context else 0)


class ReadoutSpec(Settings):
    """Recorded numbers that a checkpoint reads off its latents, observed and predicted.

    Attributes:
        sources: topics and fields that the numbers come from, in order; each with its ``dim``.
        names: of the numbers.
        mean, std: of the numbers over the training data.
        errors: RMS error of each number on held-back episodes, in its own unit: row 0 for true frames, row k for frames
            predicted k steps ahead from the recorded actions.
    """

    sources: Annotated[tuple[ActionSource, ...], Field(min_length=1)]
    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=4096)]
    mean: tuple[Finite, ...]
    std: tuple[Annotated[Finite, Field(ge=1e-9)], ...]
    errors: tuple[tuple[Finite, ...], ...] = ()

    @model_validator(mode="after")
    def _lengths(self) -> ReadoutSpec:
        count = len(self.names)
        if {len(self.mean), len(self.std), *map(len, self.errors)} != {count}:
            raise ValueError(f"mean, std and each row of errors must have {count} values, one for each name")
        if sum(source.dim or 0 for source in self.sources) != count:
            raise ValueError(f"the dims of the sources must be {count} together, one for each name")
        return self


class CheckpointConfig(Settings):
    """Everything needed to rebuild a predictor.

    Attributes:
        format: number of the checkpoint format that this is written in, see ``upgrades``.
        name: name of the checkpoint.
        streams: topics, fields, rate and image size.
        action: action dimension and normalisation.
        autoencoder, transformer: network sizes.
        schedule: the denoising schedule the weights were distilled for.
        horizon: predicted frames.
        context_frames: observed frames kept as context.
        readouts: recorded numbers that are read off latents; None where none are.
        error_intervals: what the network's uncertainty means in grey levels, by ``dd_ros calibrate``; None: not calibrated.
        gate: how much of a predicted change is shown, by ``dd_ros calibrate``; None: all of it.
    """

    format: int = FORMAT
    name: str
    streams: StreamSpec
    action: ActionSpec
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    transformer: TransformerConfig = TransformerConfig()
    schedule: Schedule
    horizon: Count
    context_frames: Count
    readouts: ReadoutSpec | None = None
    error_intervals: ErrorIntervals | None = None
    gate: Gate | None = None

    def error_of(self, uncertainty: NDArray[np.float32], first_step: int = 1) -> NDArray[np.float32] | None:
        """Intervals of the error of frames as ``ErrorIntervals.of`` has them; None where there are none."""
        known = self.error_intervals
        return None if known is None else known.of(uncertainty, first_step=first_step)

    @model_validator(mode="after")
    def _memory(self) -> CheckpointConfig:
        pixels, network = self.streams.width * self.streams.height, self.transformer
        tokens = pixels // (8 * network.patch) ** 2
        kept = self.context_frames + network.window_frames + self.schedule.chunk_frames
        frames = 3 * pixels * (self.horizon + self.context_frames)
        needed = max(frames, 8 * tokens * kept * network.width * network.depth)
        if needed > MOST_BYTES:
            raise ValueError(
                f"a prediction takes {needed / 2**30:.0f} GiB, expected {MOST_BYTES >> 30} at most: fewer frames or pixels"
            )
        return self

    @model_validator(mode="after")
    def _shapes(self) -> CheckpointConfig:
        dims = [source.dim for source in self.streams.actions]
        given = sum(dim or 0 for dim in dims)
        if None not in dims and given != self.action.dim:
            raise ValueError(f"the action topics give {given} values, expected {self.action.dim} together")
        cell = 8 * self.transformer.patch
        if self.streams.width % cell or self.streams.height % cell:
            raise ValueError(f"image size {self.streams.width}x{self.streams.height} must divide by {cell}")
        if self.horizon % self.schedule.chunk_frames:
            raise ValueError(f"horizon {self.horizon} must divide by chunk_frames")
        window, chunk = self.transformer.window_frames, self.schedule.chunk_frames
        if chunk < window and window % chunk:
            raise ValueError(f"chunks of {chunk} frames do not divide window_frames of {window}")
        return self
