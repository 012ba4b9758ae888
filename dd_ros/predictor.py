# SPDX-License-Identifier: Apache-2.0
"""The predictor: observe camera frames, predict the frames that commands will lead to.

image -> latent -> KV cache -> chunk by chunk denoising -> frames. No ROS here: the node, the
evaluation, the benchmark and the trainer's images all use this class.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dd_ros.checkpoint import Model, load_checkpoint
from dd_ros.config import CheckpointConfig, Schedule
from dd_ros.data.steps import FrameClock, StampsWentBack, missed_too_many, resize
from dd_ros.device import native_dtype, prepare_for_inference, resolve_device
from dd_ros.diffusion.rollout import RolloutChunk, rollout
from dd_ros.errors import InputError
from dd_ros.model.autoencoder import Reference, to_model_range, to_uint8
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import LastObservation
from dd_ros.pipeline import Overlap


class Chunk(NamedTuple):
    """Predicted frames of one chunk.

    Attributes:
        index, count: number of this chunk (from 0) and of all chunks.
        first_step: model steps from the last observed frame to the first frame here (1 = next).
        frames: uint8 RGB [c, H, W, 3], or [N, c, H, W, 3] for N action sequences.
        uncertainty: float32 [c] or [N, c]; expected RMS error of the latents in units of their
            deviation over the training data (0 is certain, about 1 is a guess).
    """

    index: int  # type: ignore[assignment]
    count: int  # type: ignore[assignment]
    first_step: int
    frames: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]


class Predictor:
    """Streaming video predictor for one camera. Not thread safe: one thread calls it.

    Args:
        config: settings of the checkpoint.
        model: its networks.
        device: torch device to run on.
        dtype: number format of matrix products; bfloat16 changes images by less than a grey level
            on average, and is kept for the whole life of ``model``, as its layout in memory is.
        seed: seed of the sampling noise. All action sequences of one call share their noise, so
            that their futures differ by the actions alone.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        model: Model,
        device: torch.device | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ):
        self.config, self.dtype = config, dtype
        self.device = device or torch.device("cpu")
        self.model = model.to(self.device).eval()
        prepare_for_inference(self.model, dtype)
        self.schedule = config.schedule
        self.seed(seed)
        self._overlap = Overlap()
        self._clock = FrameClock(config.streams.rate_hz)
        self._mean = np.asarray(config.action.mean, np.float32)
        self._std = np.asarray(config.action.std, np.float32)
        self._cache = KVCache(config.context_frames, config.transformer.window_frames // self.chunk_frames)
        self.reset()

    @classmethod
    def load(cls, checkpoint: str | Path, device: str = "auto", seed: int = 0) -> Predictor:
        """Load a checkpoint by path or shipped name onto ``auto``, ``cpu`` or ``cuda``, in its native dtype.

        Raises:
            InputError: missing or damaged checkpoint, or no such device.
        """
        config, model = load_checkpoint(checkpoint)
        place = resolve_device(device)
        return cls(config, model, place, seed, native_dtype(place))

    @property
    def horizon(self) -> int:
        """Predicted frames."""
        return self.config.horizon

    @property
    def chunk_frames(self) -> int:
        """Frames of a chunk."""
        return self.schedule.chunk_frames

    @property
    def action_dim(self) -> int:
        return self.config.action.dim

    @property
    def width(self) -> int:
        """Image width of the model in pixels."""
        return self.config.streams.width

    @property
    def height(self) -> int:
        """Image height of the model in pixels."""
        return self.config.streams.height

    @property
    def step_ns(self) -> int:
        """Nanoseconds of one model step."""
        return round(1e9 / self.config.streams.rate_hz)

    @property
    def observed(self) -> NDArray[np.uint8] | None:
        """Last observed frame, uint8 RGB [H, W, 3] at the model's size; None before the first."""
        return self._observed

    @property
    def stamp_ns(self) -> int | None:
        """Stamp of the last observed frame in nanoseconds; None before the first."""
        return self._stamp_ns

    def seed(self, seed: int) -> None:
        """Restart the sampling noise from ``seed``."""
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def with_schedule(self, schedule: Schedule) -> Predictor:
        """A predictor of its own state with the same weights and another denoising schedule."""
        window = self.config.transformer.window_frames
        if schedule.chunk_frames < window and window % schedule.chunk_frames:
            raise InputError(
                f"schedule: chunks of {schedule.chunk_frames} frames do not divide the window of {window}"
            )
        config = self.config.model_copy(update={"schedule": schedule})
        return Predictor(config, self.model, self.device, dtype=self.dtype)

    def with_horizon(self, frames: int) -> Predictor:
        """A predictor of its own state with the same weights that predicts ``frames`` frames, for long rollouts.

        Raises:
            InputError: chunks do not divide ``frames``.
        """
        self.schedule.chunks(frames)  # or InputError
        config = self.config.model_copy(update={"schedule": self.schedule, "horizon": frames})
        return Predictor(config, self.model, self.device, dtype=self.dtype)

    def set_schedule(self, schedule: Schedule) -> None:
        """Change the denoising steps, not the chunk size, from the next prediction on."""
        if schedule.chunk_frames != self.chunk_frames:
            raise InputError(
                f"schedule: expected chunks of {self.chunk_frames} frames, got {schedule.chunk_frames}"
            )
        self.schedule = schedule

    def reset(self) -> None:
        """Forget all observations."""
        self._overlap.drain()
        self._cache.clear()
        self._clock.reset()
        self._observed: NDArray[np.uint8] | None = None
        self._stamp_ns: int | None = None
        self._last_observation: LastObservation | None = None
        self._reference: Reference | None = None

    def warm_up(self) -> None:
        """Observe and predict once with made-up data, so that the first real call is as fast as any."""
        self.reset()
        action = self._mean
        for step in range(2):
            self.observe(np.zeros((self.height, self.width, 3), np.uint8), step * self.step_ns, action)
        self.predict(np.tile(action, (self.horizon, 1)))
        self.reset()

    def observe(self, image: NDArray[np.uint8], stamp_ns: int, action: ArrayLike) -> bool:
        """Take in a camera image; images between two model steps are ignored.

        Args:
            image: uint8 RGB [any height, any width, 3].
            stamp_ns: its stamp in nanoseconds.
            action: [A], the command in force at that time.

        Returns:
            True when the image became a model step. A single missed step is bridged by repeating
            the frame before; a longer gap, or stamps going back by a second or more, starts anew.

        Raises:
            InputError: wrong image or action.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(
                f"image: expected uint8 [height, width, 3], got {image.dtype} {list(image.shape)}"
            )
        normalised = self._normalise(action, (self.action_dim,))
        try:
            ticks = self._clock.accept(stamp_ns)
        except StampsWentBack:
            self.reset()
            ticks = self._clock.accept(stamp_ns)
        if ticks == 0:
            return False
        self._overlap.drain()
        if missed_too_many(ticks):
            self._cache.clear()
            self._last_observation = None
        elif ticks > 1:
            self._cache_observation()
        self._observed = resize(image, self.width, self.height)
        self._stamp_ns = stamp_ns
        with self._inference():
            pixels = torch.from_numpy(self._observed).to(self.device)[None]
            latent, self._reference = self.model.autoencoder.encode(to_model_range(pixels))
            before = self._last_observation.latent if self._last_observation else latent
            self._last_observation = LastObservation(latent, latent - before, normalised[None])
        self._cache_observation()
        return True

    def predict(self, actions: ArrayLike) -> NDArray[np.uint8]:
        """Frames that ``actions`` lead to.

        Args:
            actions: [K, A] or, for N futures from the same context, [N, K, A]; K is the horizon,
                row k holds the command in force at model step k + 1 after the last observed frame.

        Returns:
            uint8 RGB [K, H, W, 3] or [N, K, H, W, 3].

        Raises:
            InputError: nothing observed yet, or actions of a wrong shape or not finite.
        """
        return np.concatenate([chunk.frames for chunk in self.predict_chunks(actions)], axis=-4)

    def predict_chunks(self, actions: ArrayLike) -> Iterator[Chunk]:
        """As ``predict``, but yields each chunk as soon as it is decoded."""
        normalised = self._normalise(actions, (self.horizon, self.action_dim))
        if self._last_observation is None or self._reference is None:
            raise InputError("predict: nothing observed yet; call observe first")
        batch = normalised.reshape(-1, *normalised.shape[-2:])
        self._overlap.drain()
        self._cache.rollback()
        chunks = rollout(
            self.model.transformer,
            self._cache,
            last_observation=self._last_observation,
            actions=batch,
            noise=self._noise(len(batch), self._last_observation.latent.shape[1:]),
            schedule=self.schedule,
        )
        count = self.schedule.chunks(self.horizon)
        lead = normalised.shape[:-2]
        decode, denoised = partial(self._decode, self._reference), self._denoised(chunks, count)
        if self.device.type == "cpu":
            decoded = self._overlap.map(decode, denoised, count)
        else:
            decoded = map(decode, denoised)
        for index, (frames, uncertainty) in enumerate(decoded):
            yield Chunk(
                index,
                count,
                index * self.chunk_frames + 1,
                frames.reshape(*lead, self.chunk_frames, *frames.shape[1:]),
                uncertainty.reshape(*lead, self.chunk_frames),
            )

    def _denoised(self, chunks: Iterator[RolloutChunk], count: int) -> Iterator[RolloutChunk]:
        """The first ``count`` of ``chunks``."""
        for _ in range(count):
            with self._inference():  # per chunk: a generator must not keep it while suspended
                chunk = next(chunks)
            yield chunk

    def _decode(
        self, reference: Reference, chunk: RolloutChunk
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Frames uint8 RGB [N * c, H, W, 3] and uncertainty [N, c] of a chunk."""
        with self._inference():
            pixels = self.model.autoencoder.decode(chunk.latents.flatten(0, 1), reference)
            return to_uint8(pixels).cpu().numpy(), chunk.uncertainty.cpu().numpy()

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """No gradients, and matrix products in ``dtype``."""
        low = self.dtype == torch.bfloat16
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            yield

    def _cache_observation(self) -> None:
        """Put the last observed frame into the cache."""
        assert self._last_observation is not None
        with self._inference():
            latent, action = self._last_observation.latent[:, None], self._last_observation.action[:, None]
            keys_values = self.model.transformer.observe(latent, action)
            self._cache.observe(keys_values)

    def _noise(self, futures: int, latent: torch.Size) -> Tensor:
        shape = (1, self.horizon, *latent)
        return torch.randn(shape, generator=self._generator, device=self.device).expand(futures, *shape[1:])

    def _normalise(self, actions: ArrayLike, shape: tuple[int, ...]) -> Tensor:
        """Raw actions whose last dimensions are ``shape`` -> normalised float32 tensor on the device."""
        array = np.asarray(actions, np.float32)
        if array.shape[-len(shape) :] != shape or array.ndim > len(shape) + (len(shape) == 2):
            raise InputError(f"actions: expected shape {list(shape)}, got {list(array.shape)}")
        if not np.isfinite(array).all():
            raise InputError("actions: expected finite numbers, got NaN or infinity")
        return torch.from_numpy((array - self._mean) / self._std).to(self.device)
