# SPDX-License-Identifier: Apache-2.0
"""The rollout: chunk by chunk denoising with a KV cache. Training and the robot call this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dd_ros.config import Schedule
from dd_ros.diffusion.path import step
from dd_ros.model.attention import KeysValues
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import Denoised, LastObservation, VideoTransformer


class RolloutChunk(NamedTuple):
    """A generated chunk.

    Attributes:
        latents: [N, chunk_frames, c, h, w], clean estimate of the last denoising step.
        uncertainty: [N, chunk_frames], expected RMS error of the latents, in their deviations.
        trained: what the step that carries the gradient made of the chunk, or None in a rollout without
            gradients.
    """

    latents: Tensor
    uncertainty: Tensor
    trained: Denoised | None


def rollout(
    network: VideoTransformer,
    cache: KVCache,
    *,
    last_observation: LastObservation,
    actions: Tensor,
    noise: Tensor,
    schedule: Schedule,
    trained_steps: Sequence[int] | None = None,
    first_step: int = 1,
    latest: Tensor | None = None,
) -> Iterator[RolloutChunk]:
    """Generate the future chunk by chunk.

    Every chunk starts from pure noise and goes through its own noise levels. Its last denoising
    step's keys and values are the context of the next chunk, as that step left them (Diagonal
    Forcing); ``schedule.clean_context`` adds the clean refresh pass of other methods instead.

    Args:
        network: the denoiser.
        cache: holds the observed frames of B contexts; a generated chunk is appended when the next one is
            asked for, so that nobody waits for a refresh pass.
        last_observation: the last observed frame of those contexts.
        actions: [N, F, A] normalised action of every future frame; N a multiple of B.
        noise: [N, F, c, h, w] standard normal.
        schedule: noise levels per chunk.
        trained_steps: per chunk, the index of the one step that carries the gradient; None runs
            everything as the caller's grad mode has it and returns no ``trained``.
        first_step: model steps from the last observed frame to the first one generated here.
        latest: [N, c, h, w], the frame before the first one generated here; None: the last observed frame.

    Yields:
        One RolloutChunk per chunk, as soon as it is ready.
    """
    size = schedule.chunk_frames
    if latest is None:
        latest = last_observation.repeated(len(actions) // len(last_observation.latent)).latent
    for chunk in range(schedule.chunks(actions.shape[1])):
        part = slice(chunk * size, (chunk + 1) * size)

        def denoise(noisy: Tensor, level: float, part: slice = part, latest: Tensor = latest) -> Denoised:
            return denoise_chunk(
                network,
                cache,
                noisy=noisy,
                level=level,
                actions=actions[:, part],
                last_observation=last_observation,
                latest=latest,
                schedule=schedule,
                first_step=first_step + part.start,
            )

        noisy, trained = noise[:, part], None
        trained_step = None if trained_steps is None else trained_steps[chunk]
        levels = schedule.chunk_levels(chunk)
        for index, level in enumerate(levels):
            with gradient_only_at(index, trained_step):
                result = denoise(noisy, level)
            clean = result.latents
            if trained_step is not None:
                if index == trained_step:
                    trained = result
                clean = clean.detach()
            if index + 1 < len(levels):
                noisy = step(noisy, clean, level, levels[index + 1])
        latest = clean[:, -1]
        uncertainty = result.log_variance.detach().exp().mean(dim=(-2, -1)).sqrt()
        yield RolloutChunk(clean, uncertainty, trained)
        keys_values = result.keys_values
        if schedule.clean_context:
            with gradient_only_at(len(levels), trained_step):
                keys_values = denoise(clean, 0.0).keys_values
        cache.append(keys_values if trained_step is None else detached(keys_values))


def detached(keys_values: list[KeysValues]) -> list[KeysValues]:
    """The same keys and values without their history: no gradient crosses chunks."""
    return [KeysValues(kv.keys.detach(), kv.values.detach()) for kv in keys_values]


def gradient_only_at(index: int, trained: int | None):
    """Context for denoising step ``index``: no gradient unless it is the ``trained`` one."""
    return nullcontext() if trained is None or index == trained else torch.no_grad()


def denoise_chunk(
    network: VideoTransformer,
    cache: KVCache,
    *,
    noisy: Tensor,
    level: float,
    actions: Tensor,
    last_observation: LastObservation,
    latest: Tensor,
    schedule: Schedule,
    first_step: int,
) -> Denoised:
    """One network pass over one chunk (two with guidance: x + g (x - x without actions)).

    Args:
        network, cache, last_observation, schedule: as of ``rollout``.
        noisy: [N, chunk_frames, c, h, w] latents at the noise level ``level``, 0 to 1.
        actions: [N, chunk_frames, A] normalised.
        latest: [N, c, h, w], the frame before the chunk.
        first_step: model steps from the last observed frame to the chunk's first.
    """
    denoise = partial(
        network,
        noisy=noisy,
        levels=noisy.new_full(noisy.shape[:2], level),
        actions=actions,
        last_observation=last_observation,
        latest=latest[:, None],
        observed=cache.observed,
        past=list(cache.generated),
        chunk_frames=schedule.chunk_frames,
        first_step=first_step,
    )
    result = denoise()
    if not schedule.guidance:
        return result
    hidden = denoise(drop=torch.ones(len(noisy), dtype=torch.bool, device=noisy.device))
    guided = result.latents + schedule.guidance * (result.latents - hidden.latents)
    return result._replace(latents=guided)
