# SPDX-License-Identifier: Apache-2.0
"""Frames in, what a rollout starts from out: the encoder and the cache of observed frames, in buffers that stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dd_ros.checkpoint import Model
from dd_ros.graphs import Runner, Work, copy_all
from dd_ros.model.autoencoder import Reference, to_model_range
from dd_ros.model.cache import add_frame, empty_cache
from dd_ros.model.transformer import LastObservation

Seen = Literal["first", "next", "again"]  # what an observation is to those before it
SEEN: tuple[Seen, ...] = ("first", "next", "again")


class Observations(NamedTuple):
    """What has been observed up to one moment: everything that a rollout starts from, on the device.

    Attributes:
        keys_values: [depth, 2, 1, heads, C * tokens, head], of the last C frames, see ``KVCache``.
        last, reference: the last frame, for the denoiser and for the decoder.
    """

    keys_values: Tensor
    last: LastObservation
    reference: Reference

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Observations:
        """The inverse of ``tensors``."""
        keys_values, *rest = tensors
        return cls(keys_values, LastObservation(*rest[:3]), Reference(*rest[3:]))

    def tensors(self) -> list[Tensor]:
        """All of them in a row."""
        return [self.keys_values, *self.last, *self.reference]

    def copy(self) -> Observations:
        """The same in memory of its own."""
        with torch.inference_mode():
            return Observations.of([tensor.clone() for tensor in self.tensors()])


class Observer:
    """Keeps what has been observed of one stream.

    Args:
        model: the networks.
        runner: runs them.
        context_frames: frames whose keys and values are kept.
    """

    def __init__(self, model: Model, runner: Runner, context_frames: int):
        self._model, self._runner, self._context_frames = model, runner, context_frames
        self._kept: Observations | None = None
        self._works: dict[Seen, Work[None]] = {}

    @property
    def observations(self) -> Observations:
        """What has been observed; the next observation changes it in place."""
        assert self._kept is not None
        return self._kept

    def observe(self, image: NDArray[np.uint8], action: NDArray[np.float32], *, first: bool) -> None:
        """Take in a frame.

        Args:
            image: uint8 RGB [H, W, 3].
            action: [A], normalised.
            first: there is none before it that counts.
        """
        inputs = [self._runner.to_device(image[None]), self._runner.to_device(action[None])]
        if self._kept is None:
            self._prepare(inputs)
        self._runner.run(self._works["first" if first else "next"], inputs)

    def observe_again(self) -> None:
        """The last observed frame once more."""
        self._runner.run(self._works["again"], [])

    def _prepare(self, inputs: Sequence[Tensor]) -> None:
        """Make buffers for what is observed, and record how."""
        with self._runner.inference():
            latent, action, reference, keys_values = self._encoded(*inputs)
            last = LastObservation(latent, torch.zeros_like(latent), action)
            self._kept = Observations(empty_cache(keys_values, self._context_frames), last, reference).copy()
        for seen in SEEN:
            given = [] if seen == "again" else inputs
            self._works[seen] = self._runner.record(partial(self._observe, seen), given, 1)

    def _encoded(self, pixels: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Reference, Tensor]:
        """Latent, action, reference, keys and values of frames [1, H, W, 3] and their actions [1, A]."""
        latent, reference = self._model.autoencoder.encode(to_model_range(pixels))
        return latent, action, reference, self._model.transformer.observe(latent[:, None], action[:, None])

    def _observe(self, seen: Seen, inputs: Sequence[Tensor]) -> Iterator[None]:
        """One observation, into the buffers."""
        kept = self.observations
        if seen == "again":
            latent, _, action = kept.last
            add_frame(kept.keys_values, self._model.transformer.observe(latent[:, None], action[:, None]))
        else:
            latent, action, reference, keys_values = self._encoded(*inputs)
            velocity = torch.zeros_like(latent) if seen == "first" else latent - kept.last.latent
            copy_all([*kept.last, *kept.reference], [latent, velocity, action, *reference])
            for _ in range(self._context_frames if seen == "first" else 1):
                add_frame(kept.keys_values, keys_values)
        yield None
