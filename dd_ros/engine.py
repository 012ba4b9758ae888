# SPDX-License-Identifier: Apache-2.0
"""The networks at work under the predictor: frames in, decoded chunks out, through buffers that stay where they are."""

from __future__ import annotations

import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dd_ros.checkpoint import Model
from dd_ros.config import CheckpointConfig, Schedule
from dd_ros.diffusion.rollout import RolloutChunk, rollout
from dd_ros.errors import InputError
from dd_ros.graphs import Runner, Work
from dd_ros.model.autoencoder import Reference, to_model_range, to_uint8
from dd_ros.model.cache import KVCache
from dd_ros.model.gate import gated
from dd_ros.observer import Observations, Observer
from dd_ros.pipeline import Pipeline
from dd_ros.predictions import Frames, bounded, least_uncertainty

ALL, LAST = slice(None), slice(-1, None)
RUN_COST = 16  # what a recorded run costs beside its rollouts, in rollouts (measured on an H200)
MOST_SHAPES = 8  # whose recordings are kept
Denoised = tuple[Tensor, Tensor]  # latents [N, c, ...] and numbers [N, c, 1 + D]: uncertainty, then read-outs


class Decoded(NamedTuple):
    """A chunk of N rollouts on the host.

    Attributes:
        frames: uint8 RGB [N, c, H, W, 3]; None where none are wanted.
        uncertainty: float32 [N, c], as ``predictions.Chunk`` has it but for its bounds.
        readouts: float32 [N, c, D], normalised.
        latents: float32 [N, c, ...]; None where they are not wanted.
    """

    frames: NDArray[np.uint8] | None
    uncertainty: NDArray[np.float32]
    readouts: NDArray[np.float32]
    latents: NDArray[np.float32] | None


def nothing() -> None:
    """What is not wanted."""


class Shape(NamedTuple):
    """What a recorded rollout is for: rollouts at once, frames of each, and the denoising schedule as JSON."""

    rollouts: int
    steps: int
    schedule: str


class Context(NamedTuple):
    """What a rollout starts from.

    Attributes:
        stamp_ns: stamp of the last observed frame.
        action: float32 [A], normalised, in force at that frame.
        observations: the same and more on the device.
    """

    stamp_ns: int
    action: NDArray[np.float32]
    observations: Observations


class Rollout(NamedTuple):
    """What is recorded for rollouts of some shape and schedule; one of them runs at a time.

    Attributes:
        denoise: observations, actions and noise -> latents [N, c, ...] and uncertainty [N, c] of each chunk.
        decoders: by the number of frames: latents, the gate's shares and reference -> uint8 frames.
        shares: of the gate, [K, levels]; [K, 0] without one.
    """

    denoise: Work[Denoised]
    decoders: dict[int, Work[Tensor]]
    shares: Tensor


class Engine:
    """Runs the networks of a checkpoint where they are, without gradients, over buffers that stay where they are.

    On a GPU everything is recorded once and replayed, see ``graphs``.

    Args:
        config: settings of the checkpoint.
        model: the networks.
        dtype: number format of matrix products.
        batches: as of ``Predictor``.

    Attributes:
        observer: what has been observed of one stream.
        batches: rollouts at once that are recorded, without those that do not fit into memory.
        replays: whether work is recorded, for its shape and schedule, which takes seconds.
    """

    def __init__(self, config: CheckpointConfig, model: Model, *, dtype: torch.dtype, batches: Sequence[int]):
        self.config, self.model, self.dtype = config, model, dtype
        self.device = next(model.parameters()).device
        self.batches = tuple(sorted({1, *batches}))
        self._runner = Runner(self.device, dtype)
        self.replays = self._runner.recorder.replays
        self.observer = Observer(model, self._runner, config.context_frames)
        self._pipeline = Pipeline()
        self._rollouts: OrderedDict[Shape, list[Rollout]] = OrderedDict()

    def drain(self) -> None:
        """Wait for what a rollout that was left before its end has under way; before its context is touched."""
        self._pipeline.drain()

    def batch_for(self, count: int, *, steps: int, schedule: Schedule) -> int:
        """How many of ``count`` rollouts of ``steps`` frames to run at once.

        Where work is recorded that is one of ``batches``, and rows are wasted where fewer come: the sum over all runs of
        the rows and of what a run costs by itself is to be the least.

        Raises:
            InputError: not even the smallest fits into memory.
        """
        if not self.replays:
            return count
        while self.batches:
            size = min(self.batches, key=lambda size: -(-count // size) * (size + RUN_COST))
            if self._fits(size, steps=steps, schedule=schedule):
                return size
        raise InputError(
            f"{self.device}: too little memory for a single rollout; use device cpu, or free some"
        )

    def reserve(self, *, steps: int, schedule: Schedule) -> None:
        """Record rollouts of all ``batches`` now instead of when they are first asked for, beside one for the stream."""
        if not self.replays:
            return
        stream = Shape(1, steps, schedule.model_dump_json())
        busy = self._take(stream, schedule)
        for size in self.batches:
            self._fits(size, steps=steps, schedule=schedule, decoding=True)
        self._record_decoders(busy, 1, schedule)  # a request of one may get this one
        self._give_back(stream, busy)

    def _record_decoders(self, recorded: Rollout, size: int, schedule: Schedule) -> None:
        """Record the decoding of so many rollouts' chunks, and of their last frames."""
        latent, reference = self.observer.observations.last.latent, self.observer.observations.reference
        for count in (1, schedule.chunk_frames):
            latents = latent.new_zeros(size, count, *latent.shape[1:])
            self._decoder(recorded, [latents, recorded.shares[:count], *reference])

    def _fits(self, size: int, *, steps: int, schedule: Schedule, decoding: bool = False) -> bool:
        """Record so many rollouts at once; where memory is too small for them, a warning, and never again."""
        shape = Shape(size, steps, schedule.model_dump_json())
        try:
            recorded = self._take(shape, schedule)
            if decoding:
                self._record_decoders(recorded, size, schedule)
        except torch.cuda.OutOfMemoryError:
            self.batches = tuple(other for other in self.batches if other < size)
            torch.cuda.empty_cache()
            rest = f"parts of {self.batches[-1]} at most" if self.batches else "none"
            text = f"batches of {size} rollouts do not fit into the memory of {self.device}: {rest}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            return False
        self._give_back(shape, recorded)
        return True

    def chunks(
        self, actions: NDArray[np.float32], *, noise: Tensor, context: Context, schedule: Schedule,
        count: int, frames: Frames | None, latents: bool, batch: int,
    ) -> Iterator[Decoded]:  # fmt: skip
        """The first chunks of N rollouts from one context, each as soon as it is decoded.

        Args:
            actions: [N, K, A], normalised.
            noise: [1, K, c, h, w], the same for all rollouts.
            context: what they start from.
            schedule: denoising steps.
            count: how many chunks; what is recorded for the whole horizon is left before its end.
            frames: which frames are decoded; ``last`` is that of the last of these chunks.
            latents: whether latents are wanted, too.
            batch: rollouts at once where work is recorded, at least N.
        """
        self.drain()
        n, steps = actions.shape[:2]
        batch = batch if self.replays else n
        padded = np.concatenate([actions, np.repeat(actions[-1:], batch - n, axis=0)])
        inputs = [*context.observations.tensors(), self._runner.to_device(padded), noise]
        least = least_uncertainty(context.action, actions)
        shape = Shape(batch, steps, schedule.model_dump_json())
        recorded = self._take(shape, schedule)
        try:
            denoised = recorded.denoise(inputs)
            decode = partial(
                self._begin_decoding, recorded, context.observations.reference, latents_wanted=latents
            )
            for index, chunk in enumerate(self._decoded(denoised, decode, count, frames)):
                part = slice(index * schedule.chunk_frames, (index + 1) * schedule.chunk_frames)
                yield Decoded(
                    frames=None if chunk.frames is None else chunk.frames[:n],
                    uncertainty=bounded(chunk.uncertainty[:n], least[:, part]),
                    readouts=chunk.readouts[:n],
                    latents=None if chunk.latents is None else chunk.latents[:n],
                )
        finally:
            self._give_back(shape, recorded)

    def _decoded(
        self,
        denoised: Iterator[Denoised],
        decode: Callable[..., Callable[[], Decoded]],
        count: int,
        frames: Frames | None,
    ) -> Iterator[Decoded]:
        """Chunks on the host. On a GPU the next one is under way before one is waited for."""
        if frames == "all" and not self.replays:
            yield from self._pipeline.map(lambda item: decode(*item, shown=ALL)(), enumerate(denoised), count)
            return
        rest, last = (ALL, ALL) if frames == "all" else (None, LAST if frames else None)
        waiting: deque[Callable[[], Decoded]] = deque()
        # Not one chunk more is asked for: a clean pass over the last one would be for nobody.
        for index, (shown, chunk) in enumerate(zip([rest] * (count - 1) + [last], denoised, strict=False)):
            waiting.append(decode(index, chunk, shown=shown))
            if len(waiting) > self.replays:
                yield waiting.popleft()()
        yield from (finished() for finished in waiting)

    def _begin_decoding(
        self, recorded: Rollout, reference: Reference, index: int, chunk: Denoised, *, shown: slice | None,
        latents_wanted: bool,
    ) -> Callable[[], Decoded]:  # fmt: skip
        """Chunk number ``index`` on its way to the host, with those frames of it that are ``shown``."""
        latents, numbers = chunk
        fetch = self._runner.recorder.fetch
        bring_numbers = fetch(numbers)
        bring_latents = fetch(latents.float()) if latents_wanted else nothing
        bring_frames: Callable[[], NDArray[np.uint8] | None] = nothing
        if shown is not None:
            size = latents.shape[1]
            shares = recorded.shares[index * size : (index + 1) * size]
            inputs = [latents[:, shown], shares[shown], *reference]
            bring_frames = fetch(self._runner.run(self._decoder(recorded, inputs), inputs))

        def finished() -> Decoded:
            told = bring_numbers()
            return Decoded(bring_frames(), told[..., 0], told[..., 1:], bring_latents())

        return finished

    def _decoder(self, recorded: Rollout, inputs: Sequence[Tensor]) -> Work[Tensor]:
        """Recorded decoding of latents, shares and a reference like ``inputs``."""
        count = inputs[0].shape[1]
        if count not in recorded.decoders:
            recorded.decoders[count] = self._runner.record(self._decode, inputs, 1)
        return recorded.decoders[count]

    def _decode(self, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        """Latents [N, c, ...], shares [c, levels] and a reference -> frames."""
        latents, shares, *rest = inputs
        reference = Reference(*rest)
        pixels = self.model.autoencoder.decode(latents.flatten(0, 1), reference).unflatten(
            0, latents.shape[:2]
        )
        if self.config.gate is not None:
            pixels = gated(pixels, reference.image, shares)
        yield to_uint8(pixels)

    def _denoise(self, schedule: Schedule, inputs: Sequence[Tensor]) -> Iterator[Denoised]:
        """The rollout over the inputs of ``chunks``."""
        *observed, actions, noise = inputs
        context = Observations.of(observed)
        cache = KVCache(
            self.config.context_frames, self.config.transformer.window_frames // schedule.chunk_frames
        )
        cache.observed = context.keys_values
        chunks = rollout(
            self.model.transformer,
            cache,
            last_observation=context.last,
            actions=actions,
            noise=noise.expand(len(actions), -1, -1, -1, -1),
            schedule=schedule,
        )
        yield from ((chunk.latents, self._numbers(chunk)) for chunk in chunks)

    def _numbers(self, chunk: RolloutChunk) -> Tensor:
        """Uncertainty and read-outs of a chunk, float32 [N, c, 1 + D]."""
        uncertainty, readout = chunk.uncertainty[..., None].float(), self.model.readout
        if readout is None:
            return uncertainty
        return torch.cat([uncertainty, readout(chunk.latents)], dim=-1)

    def encode(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Latents [N, c, h, w] and normalised read-outs [N, D] of images [N, H, W, 3]; what is observed stays as it is."""
        with self._runner.inference():
            latents, _ = self.model.autoencoder.encode(to_model_range(self._runner.to_device(images)))
            readout = self.model.readout
            numbers = latents.new_zeros(len(latents), 0) if readout is None else readout(latents)
            return latents.float().cpu().numpy(), numbers.float().cpu().numpy()

    def _take(self, shape: Shape, schedule: Schedule) -> Rollout:
        """A recorded rollout that nobody uses, or a new one."""
        idle = self._rollouts.get(shape)
        if idle:
            return idle.pop()
        observed = self.observer.observations.tensors()
        latent = self.observer.observations.last.latent
        noise = latent.new_zeros(1, shape.steps, *latent.shape[1:])
        actions = latent.new_zeros(shape.rollouts, shape.steps, self.config.action.dim)
        work = partial(self._denoise, schedule)
        denoise = self._runner.record(work, [*observed, actions, noise], schedule.chunks(shape.steps))
        gate = self.config.gate
        rows = np.zeros((shape.steps, 0), np.float32) if gate is None else gate.rows(shape.steps)
        return Rollout(denoise, {}, self._runner.to_device(rows))

    def _give_back(self, shape: Shape, recorded: Rollout) -> None:
        """Keep a recorded rollout for the next that asks; of those not used for longest only some."""
        self._rollouts.setdefault(shape, []).append(recorded)
        self._rollouts.move_to_end(shape)
        while len(self._rollouts) > MOST_SHAPES:
            self._rollouts.popitem(last=False)
