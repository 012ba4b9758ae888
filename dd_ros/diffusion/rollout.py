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
    last_observation = last_observation.repeated(len(actions) // len(last_observation.latent))
    if latest is None:
        latest = last_observation.latent
    passes = Passes(
        network,
        cache,
        last_observation=last_observation,
        actions=actions,
        schedule=schedule,
        first_step=first_step,
    )
    for chunk in range(schedule.chunks(actions.shape[1])):
        noisy, trained = noise[:, chunk * size : (chunk + 1) * size], None
        trained_step = None if trained_steps is None else trained_steps[chunk]
        levels = schedule.chunk_levels(chunk)
        passes.begin(chunk)
        for index, level in enumerate(levels):
            with gradient_only_at(index, trained_step):
                result = passes.denoise(index, noisy=noisy, latest=latest)
            clean = result.latents
            if trained_step is not None:
                if index == trained_step:
                    trained = result
                clean = clean.detach()
            if index + 1 < len(levels):
                noisy = step(noisy, clean, level, levels[index + 1])
        before, latest = latest, clean[:, -1]
        uncertainty = result.log_variance.detach().exp().mean(dim=(-2, -1)).sqrt()
        yield RolloutChunk(clean, uncertainty, trained)
        keys_values = result.keys_values
        if schedule.clean_context:
            with gradient_only_at(len(levels), trained_step):
                keys_values = passes.denoise(len(levels), noisy=clean, latest=before).keys_values
        cache.append(keys_values if trained_step is None else detached(keys_values))


class Passes:
    """The network passes of one rollout: what they share is computed once.

    Args:
        network, cache, actions, schedule, first_step: as of ``rollout``.
        last_observation: one row for each of the N rollouts.
    """

    def __init__(
        self, network: VideoTransformer, cache: KVCache, *, last_observation: LastObservation, actions: Tensor,
        schedule: Schedule, first_step: int,
    ):  # fmt: skip
        assert cache.observed is not None
        self._network, self._cache, self._schedule = network, cache, schedule
        self._first_step, self._observed = first_step, cache.observed
        self._shared = network.shared(last_observation)
        size, count = schedule.chunk_frames, schedule.chunks(actions.shape[1])
        steps = torch.arange(first_step, first_step + actions.shape[1], device=actions.device)
        self._rotation = network.rotation.at(steps)
        chunk_steps, chunk_actions = steps.split(size), actions.split(size, dim=1)
        self._rows: dict[tuple[int, int], slice] = {}
        levels: list[Tensor] = []
        chunks: list[int] = []
        for chunk in range(count):
            clean = (0.0,) if schedule.clean_context else ()
            for index, level in enumerate((*schedule.chunk_levels(chunk), *clean)):
                self._rows[chunk, index] = slice(len(chunks) * size, (len(chunks) + 1) * size)
                levels.append(actions.new_full((1, size), level))
                chunks.append(chunk)
        conditions = partial(
            network.conditions,
            torch.cat(levels, dim=1),
            torch.cat([chunk_actions[chunk] for chunk in chunks], dim=1),
            now=last_observation.action,
            steps=torch.cat([chunk_steps[chunk] for chunk in chunks]),
        )
        self._conditions = conditions()
        hidden = torch.ones(len(actions), dtype=torch.bool, device=actions.device)
        self._unconditioned = conditions(drop=hidden) if schedule.guidance else None
        self._chunk, self._held = 0, -1

    def begin(self, chunk: int) -> None:
        """Go to a chunk; called in the caller's grad mode, since its passes share what is made here.

        All chunks within the steps that were trained see the observed frames alike.
        """
        self._chunk = chunk
        last_step = self._first_step + (chunk + 1) * self._schedule.chunk_frames - 1
        held = self._network.rotation.held(last_step)
        if held != self._held:
            self._held, self._sink = held, self._network.sink(self._observed, last_step=last_step)

    def denoise(self, index: int, *, noisy: Tensor, latest: Tensor) -> Denoised:
        """Pass ``index`` over the chunk (two passes with guidance: x + g (x - x without actions)).

        Args:
            index: which pass, the clean one coming last.
            noisy: [N, chunk_frames, c, h, w] latents at the noise level of that pass.
            latest: [N, c, h, w], the frame before the chunk.
        """
        rows, span = self._rows[self._chunk, index], self._schedule.chunk_frames * self._network.tokens
        denoise = partial(
            self._network.denoise,
            noisy=noisy,
            shared=self._shared,
            latest=latest[:, None],
            sink=self._sink,
            past=list(self._cache.generated),
            chunk_frames=self._schedule.chunk_frames,
            rotation=self._rotation.of(slice(self._chunk * span, (self._chunk + 1) * span)),
        )
        result = denoise(conditions=self._conditions.of(rows))
        if self._unconditioned is None:
            return result
        hidden = denoise(conditions=self._unconditioned.of(rows))
        guided = result.latents + self._schedule.guidance * (result.latents - hidden.latents)
        return result._replace(latents=guided)


def detached(keys_values: list[KeysValues]) -> list[KeysValues]:
    """The same keys and values without their history: no gradient crosses chunks."""
    return [KeysValues(kv.keys.detach(), kv.values.detach()) for kv in keys_values]


def gradient_only_at(index: int, trained: int | None):
    """Context for denoising step ``index``: no gradient unless it is the ``trained`` one."""
    return nullcontext() if trained is None or index == trained else torch.no_grad()
