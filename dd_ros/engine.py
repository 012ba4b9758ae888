# SPDX-License-Identifier: Apache-2.0
"""The network at work under the predictor: frames in, keys and values, decoded chunks out. It keeps no state of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dd_ros.checkpoint import Model
from dd_ros.config import Schedule
from dd_ros.data.trained import FAR
from dd_ros.diffusion.rollout import RolloutChunk, rollout
from dd_ros.model.attention import KeysValues
from dd_ros.model.autoencoder import Reference, to_model_range, to_uint8
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import LastObservation
from dd_ros.pipeline import Pipeline

Frames = Literal["all", "last"]  # which predicted frames are decoded
# What is published at most. An error above 1.4 is no better than another image, so more tells nothing but how far off
# the actions are.
MOST_UNCERTAIN = 10.0
ALL, LAST = slice(None), slice(-1, None)
Decoded = tuple[
    NDArray[np.uint8] | None, NDArray[np.float32]
]  # frames [N, c, H, W, 3] and uncertainty [N, c]


class Chunk(NamedTuple):
    """Predicted frames of one chunk.

    Attributes:
        index, count: number of this chunk (from 0) and of all chunks.
        first_step: model steps from the last observed frame to the first frame of the chunk (1 = next).
        frames: uint8 RGB [c, H, W, 3], or [N, c, H, W, 3] for N action sequences.
        uncertainty: float32 [c] or [N, c]; expected RMS error of the latents in units of their
            deviation over the training data (0 is certain, about 1 is a guess). Finite, at most MOST_UNCERTAIN, and
            at least what ``least_uncertainty`` says of actions that the network does not know.
    """

    index: int  # type: ignore[assignment]
    count: int  # type: ignore[assignment]
    first_step: int
    frames: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]


class Rollouts(NamedTuple):
    """Rollouts of several action sequences from one context, over the whole horizon of K steps.

    Attributes:
        frames: uint8 RGB [N, K, H, W, 3], [N, 1, H, W, 3] where the last frames were asked for, None without.
        uncertainty: float32 [N, K], as ``Chunk.uncertainty``.
    """

    frames: NDArray[np.uint8] | None
    uncertainty: NDArray[np.float32]


class Context(NamedTuple):
    """What has been observed up to one moment: everything that a rollout starts from.

    Attributes:
        stamp_ns: stamp of the last observed frame.
        cache: keys and values of the observed frames; its generated chunks are those of the rollout under way.
        last_observation, reference: the last observed frame, for the denoiser and for the decoder.
    """

    stamp_ns: int
    cache: KVCache
    last_observation: LastObservation
    reference: Reference


class Engine:
    """Runs the networks of a checkpoint where they are, without gradients.

    Args:
        model: the networks.
        dtype: number format of matrix products.
    """

    def __init__(self, model: Model, dtype: torch.dtype):
        self.model, self.dtype = model, dtype
        self.device = next(model.parameters()).device
        self._pipeline = Pipeline()

    def drain(self) -> None:
        """Wait for what a rollout that was left before its end has under way; before its cache is touched."""
        self._pipeline.drain()

    def encode(self, image: NDArray[np.uint8]) -> tuple[Tensor, Reference]:
        """uint8 RGB [H, W, 3] -> latent [1, c, h, w], and the frame as the decoder's reference."""
        with self._inference():
            pixels = torch.from_numpy(image).to(self.device)[None]
            return self.model.autoencoder.encode(to_model_range(pixels))

    def keys_values(self, observation: LastObservation) -> list[KeysValues]:
        """What the cache keeps of an observed frame."""
        with self._inference():
            return self.model.transformer.observe(observation.latent[:, None], observation.action[:, None])

    def chunks(
        self, actions: Tensor, *, noise: Tensor, context: Context, schedule: Schedule, frames: Frames | None
    ) -> Iterator[Decoded]:
        """The chunks of N rollouts from one context, each as soon as it is decoded.

        Args:
            actions: [N, K, A], normalised.
            noise: [1, K, c, h, w], the same for all rollouts.
            context: what they start from.
            schedule: denoising steps.
            frames: which frames are decoded; ``last`` is that of the last chunk.
        """
        self.drain()
        context.cache.rollback()
        chunks = rollout(
            self.model.transformer,
            context.cache,
            last_observation=context.last_observation,
            actions=actions,
            noise=noise.expand(len(actions), -1, -1, -1, -1),
            schedule=schedule,
        )
        count = schedule.chunks(actions.shape[1])
        denoised, decode = self._denoised(chunks, count), partial(self._decode, context.reference)
        if frames == "all" and self.device.type == "cpu":
            decoded = self._pipeline.map(decode, denoised, count)
        else:
            rest, last = (ALL, ALL) if frames == "all" else (None, LAST if frames else None)
            shown: list[slice | None] = [rest] * (count - 1) + [last]
            decoded = map(decode, denoised, shown)
        least = least_uncertainty(context.last_observation.action, actions).cpu().numpy()
        for index, (images, uncertainty) in enumerate(decoded):
            first = index * schedule.chunk_frames
            yield images, bounded(uncertainty, least[:, first : first + schedule.chunk_frames])

    def _denoised(self, chunks: Iterator[RolloutChunk], count: int) -> Iterator[RolloutChunk]:
        """The first ``count`` of ``chunks``."""
        for _ in range(count):
            with self._inference():  # per chunk: a generator must not keep it while suspended
                chunk = next(chunks)
            yield chunk

    def _decode(self, reference: Reference, chunk: RolloutChunk, shown: slice | None = ALL) -> Decoded:
        """Those frames of a chunk that are ``shown``, uint8 RGB [N, c, H, W, 3], and the uncertainty of all, [N, c]."""
        with self._inference():
            uncertainty = chunk.uncertainty.cpu().numpy()
            if shown is None:
                return None, uncertainty
            latents = chunk.latents[:, shown]
            pixels = self.model.autoencoder.decode(latents.flatten(0, 1), reference)
            return to_uint8(pixels).unflatten(0, latents.shape[:2]).cpu().numpy(), uncertainty

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """No gradients, and matrix products in ``dtype``."""
        low = self.dtype == torch.bfloat16
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            yield


def least_uncertainty(observed: Tensor, actions: Tensor) -> Tensor:
    """The uncertainty that rollouts have at least because of actions that are unlike those of training.

    A network says nothing of the error where it has never been: with joints in degrees it was certain to 1e-13. So the
    uncertainty of a frame is at least log2(d / FAR), where d is the farthest action up to the frame, in deviations from
    the mean of training: 0 up to FAR, 1, a guess, at twice as much, and one more each time that d doubles.

    Args:
        observed: [1, A], normalised action of the last observed frame.
        actions: [N, K, A], normalised.

    Returns:
        [N, K], from 0 to MOST_UNCERTAIN.
    """
    distances = torch.cat([observed.expand(len(actions), -1)[:, None], actions], dim=1).abs().amax(dim=-1)
    farthest = distances.cummax(dim=1).values[:, 1:]
    return (farthest / FAR).log2().clamp(0.0, MOST_UNCERTAIN)


def bounded(uncertainty: NDArray[np.float32], least: NDArray[np.float32]) -> NDArray[np.float32]:
    """``uncertainty`` between ``least`` and MOST_UNCERTAIN; where the network's numbers overflowed it is the latter."""
    finite = np.nan_to_num(uncertainty, nan=MOST_UNCERTAIN, posinf=MOST_UNCERTAIN)
    return np.clip(finite, least, MOST_UNCERTAIN)
