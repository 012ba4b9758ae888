# SPDX-License-Identifier: Apache-2.0
"""The predictor: observe camera frames, predict the frames that commands will lead to.

image -> latent -> KV cache -> chunk by chunk denoising -> frames. No ROS here: the node, the
evaluation, the benchmark and the trainer's images all use this class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dd_ros.checkpoint import Model, load_checkpoint
from dd_ros.config import CheckpointConfig, Schedule
from dd_ros.data.images import check_image, resize
from dd_ros.data.steps import StepClock, begins_episode
from dd_ros.data.trained import normalised
from dd_ros.described import Described
from dd_ros.device import compile_for_inference, native_dtype, prepare_for_inference, resolve_device
from dd_ros.engine import Context, Engine
from dd_ros.errors import InputError
from dd_ros.gate import Gate
from dd_ros.predictions import BATCHES, Chunk, Frames, Rollouts
from dd_ros.rollouts import RolloutMaker

ROLLOUTS_AT_ONCE = 64  # of one call; more go through the network in parts of so many, which bounds memory
SIZES_ON_CPU = (1, 2, 4)  # of parts that other work may come between: more at once are hardly faster there


class Predictor(Described):
    """Streaming video predictor for one camera. Not thread safe: one thread calls it.

    Import dd_ros before torch, or set OMP_WAIT_POLICY=PASSIVE: else idle threads of torch spin, and beside other
    processes on the same cores a prediction takes 3 to 15 times as long.

    Args:
        config: settings of the checkpoint.
        model: its networks, which are used as they are and where they are; ``load`` makes them ready for speed
            (``device.prepare_for_inference``).
        seed: seed of the sampling noise. All action sequences of one call share their noise, so
            that their rollouts differ by the actions alone.
        dtype: number format of matrix products; bfloat16 changes frames by less than a grey level on average.
        batches: numbers of rollouts at once that a GPU records its work for; other numbers are filled up to the next or
            run in parts. 1 is always one of them.
    """

    def __init__(
        self, config: CheckpointConfig, model: Model, *, seed: int = 0, dtype: torch.dtype = torch.float32,
        batches: Sequence[int] = BATCHES,
    ):  # fmt: skip
        self.config, self.model, self.dtype = config, model, dtype
        self._engine = Engine(config, model, dtype=dtype, batches=batches)
        self._maker = RolloutMaker(config, self._engine, seed=seed)
        self.device = self._engine.device
        self.schedule = config.schedule
        self._clock = StepClock(config.streams.rate_hz)
        self._mean = np.asarray(config.action.mean, np.float32)
        self._std = np.asarray(config.action.std, np.float32)
        self._action: NDArray[np.float32] = np.zeros_like(self._mean)  # scaled, of the last observed frame
        self.reset()

    @classmethod
    def load(
        cls, checkpoint: str | Path, device: str = "auto", seed: int = 0, *, batches: Sequence[int] = BATCHES,
        compiled: bool = False,
    ) -> Predictor:  # fmt: skip
        """Load a checkpoint by path or shipped name onto ``auto``, ``cpu`` or ``cuda``, in its native dtype.

        Args:
            checkpoint, device: as said above.
            seed, batches: as of ``Predictor``.
            compiled: fuse kernels by torch's compiler, see ``device.compile_for_inference``.

        Raises:
            InputError: missing or damaged checkpoint, no such device, or no compiler.
        """
        config, model = load_checkpoint(checkpoint)
        dtype = native_dtype(place := resolve_device(device))
        model = prepare_for_inference(model.to(place), dtype)
        if compiled:
            compile_for_inference(model, place)
        return cls(config, model, seed=seed, dtype=dtype, batches=batches)

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

    @property
    def records(self) -> bool:
        """Whether work is recorded for its schedule: another one takes seconds when it is first used."""
        return self._engine.replays

    @property
    def part_sizes(self) -> tuple[int, ...]:
        """Rollouts at once that suit the device, rising, where other work is to come between their chunks."""
        sizes = self._engine.batches if self.records else SIZES_ON_CPU
        return tuple(size for size in sizes if size <= ROLLOUTS_AT_ONCE)

    def seed(self, seed: int) -> None:
        """Restart the sampling noise from ``seed``."""
        self._maker.seed(seed)

    def with_schedule(self, schedule: Schedule) -> Predictor:
        """A predictor of its own state with the same weights and another denoising schedule."""
        window = self.config.transformer.window_frames
        if schedule.chunk_frames < window and window % schedule.chunk_frames:
            raise InputError(
                f"schedule: chunks of {schedule.chunk_frames} frames do not divide the window of {window}"
            )
        return self._like_this(schedule=schedule)

    def with_horizon(self, frames: int) -> Predictor:
        """A predictor of its own state with the same weights that predicts ``frames`` frames, for long rollouts.

        Raises:
            InputError: chunks do not divide ``frames``.
        """
        self.schedule.chunks(frames)  # or InputError
        return self._like_this(schedule=self.schedule, horizon=frames)

    def with_gate(self, gate: Gate | None) -> Predictor:
        """A predictor of its own state with the same weights and another gate, or none."""
        return self._like_this(gate=gate)

    def _like_this(self, **changes: Any) -> Predictor:
        """Another predictor over the same networks, with other settings."""
        config = self.config.model_copy(update=changes)
        return Predictor(config, self.model, dtype=self.dtype, batches=self._engine.batches)

    def set_schedule(self, schedule: Schedule) -> None:
        """Change the denoising steps, not the chunk size, from the next prediction on."""
        if schedule.chunk_frames != self.chunk_frames:
            raise InputError(
                f"schedule: expected chunks of {self.chunk_frames} frames, got {schedule.chunk_frames}"
            )
        self.schedule = schedule

    def reset(self) -> None:
        """Forget all observations."""
        self._engine.drain()
        self._clock.restart()
        self._step: int | None = None
        self._observed: NDArray[np.uint8] | None = None
        self._stamp_ns: int | None = None

    def warm_up(self, *, all_batches: bool = False) -> None:
        """Observe and predict once with made-up data, so that the first real call is as fast as any.

        Args:
            all_batches: on a GPU record work for all ``batches`` now, a second each, instead of when they are first asked
                for. Those that do not fit into memory are left out, with a warning.
        """
        self.reset()
        action = self._mean
        for step in range(2):
            self.observe_step(
                np.zeros((self.height, self.width, 3), np.uint8), step * self.step_ns, action, step=step
            )
        self.predict(np.tile(action, (self.horizon, 1)))
        if all_batches:
            self._engine.reserve(steps=self.horizon, schedule=self.schedule)
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
        check_image(image)
        self._normalise(action, (self.action_dim,))
        step = self._clock.step_of(stamp_ns)
        if step is None:
            return False
        self.observe_step(image, stamp_ns, action, step=step)
        return True

    def observe_step(self, image: NDArray[np.uint8], stamp_ns: int, action: ArrayLike, *, step: int) -> None:
        """Take in an image that a ``data.steps.StepClock`` of the caller's has made a model step.

        Whoever decides which images are due before they are decoded uses this instead of ``observe``; both on one
        predictor need a ``reset`` between them.

        Args:
            image, stamp_ns, action: as for ``observe``.
            step: number of the model step; missed ones leave their numbers out.

        Raises:
            InputError: wrong image or action, or a step that is not after the one before.
        """
        check_image(image)
        scaled = self._normalise(action, (self.action_dim,))
        if self._step is not None and step <= self._step:
            raise InputError(f"step: expected a number above {self._step}, got {step}")
        self._engine.drain()
        first = begins_episode(step, self._step)
        if not first and self._step is not None and step - self._step > 1:
            self._engine.observer.observe_again()
        self._step = step
        self._observed = resize(image, self.width, self.height)
        self._stamp_ns = stamp_ns
        self._action = scaled
        self._engine.observer.observe(self._observed, scaled, first=first)

    def settle(self) -> None:
        """Wait for what a rollout that was left between two chunks still does in the background."""
        self._engine.drain()

    def context(self) -> Context:
        """What has been observed so far, to predict from it later, when more may have been observed.

        Raises:
            InputError: nothing observed yet.
        """
        context = self._present_context()
        return context._replace(observations=context.observations.copy())

    def predict(self, actions: ArrayLike, *, frames: Frames = "all") -> NDArray[np.uint8]:
        """Frames that ``actions`` lead to.

        Args:
            actions: [K, A] or, for N rollouts from the same context, [N, K, A]; K is the horizon,
                row k holds the command in force at model step k + 1 after the last observed frame.
            frames: ``all``, or only the ``last`` of each rollout, which costs less.

        Returns:
            uint8 RGB [K, H, W, 3] or [N, K, H, W, 3]; of the last frames [H, W, 3] or [N, H, W, 3].

        Raises:
            InputError: nothing observed yet, or actions of a wrong shape or not finite.
        """
        scaled = self._normalise(actions, (self.horizon, self.action_dim))
        batch = scaled.reshape(-1, *scaled.shape[-2:])
        parts = self._maker.parts(
            batch,
            context=self._present_context(),
            schedule=self.schedule,
            frames=frames,
            at_once=ROLLOUTS_AT_ONCE,
        )
        found = np.concatenate([cast(NDArray[np.uint8], part.frames) for part in parts if part])
        shape = found.shape[2:] if frames == "last" else found.shape[1:]
        return found.reshape(*scaled.shape[:-2], *shape)

    def rollouts(
        self, actions: ArrayLike, *, frames: Frames | None = "all", latents: bool = False,
        context: Context | None = None, at_once: int = ROLLOUTS_AT_ONCE,
    ) -> Iterator[Rollouts]:  # fmt: skip
        """Rollouts of many action sequences, in parts of bounded memory.

        Args:
            actions: [N, K, A], as for ``predict``; N at least 1.
            frames: which frames are decoded.
            latents: whether ``Rollouts.latents`` are wanted.
            context: what to start from; None: what has been observed.
            at_once: action sequences of a part; the noise is the same for all.

        Yields:
            The rollouts of up to ``at_once`` action sequences, in order.

        Raises:
            InputError: as ``predict``.
        """
        start = context or self._present_context()
        parts = self.rollouts_by_chunk(
            actions, frames=frames, latents=latents, context=start, at_once=at_once
        )
        yield from (part for part in parts if part is not None)

    def rollouts_by_chunk(
        self, actions: ArrayLike, *, frames: Frames | None, context: Context, at_once: int | Callable[[], int],
        latents: bool = False, schedule: Schedule | None = None, horizon: int | None = None,
    ) -> Iterator[Rollouts | None]:  # fmt: skip
        """As ``rollouts``, with None between two chunks: there the predictor may observe and predict other things.

        Args:
            actions, frames, context, latents: as there.
            at_once: action sequences of a part, or what is asked for that before each.
            schedule: denoising steps, for this call only; None: the predictor's.
            horizon: frames of whole chunks that are predicted, the first ones; None: all. They are the same ones either way.
        """
        scaled = self._normalise(actions, (self.horizon, self.action_dim))
        if scaled.ndim != 3 or not len(scaled):
            shape = f"[N, {self.horizon}, {self.action_dim}] with N of 1 or more"
            raise InputError(f"actions: expected shape {shape}, got {list(scaled.shape)}")
        yield from self._maker.parts(
            scaled, context=context, schedule=schedule or self.schedule, frames=frames, at_once=at_once, latents=latents,
            horizon=horizon,
        )  # fmt: skip

    def predict_chunks(
        self, actions: ArrayLike, *, schedule: Schedule | None = None, horizon: int | None = None
    ) -> Iterator[Chunk]:
        """As ``predict``, but yields each chunk as soon as it is decoded; all N rollouts at once.

        Args:
            actions: as for ``predict``, of the whole horizon.
            schedule, horizon: as of ``rollouts_by_chunk``.
        """
        scaled = self._normalise(actions, (self.horizon, self.action_dim))
        yield from self._maker.chunks(
            scaled, context=self._present_context(), schedule=schedule or self.schedule, horizon=horizon
        )

    def _present_context(self) -> Context:
        """What has been observed so far, shared with what comes; InputError before the first frame."""
        if self._stamp_ns is None:
            raise InputError("predict: nothing observed yet; call observe first")
        return Context(self._stamp_ns, self._action, self._engine.observer.observations)

    def encode(
        self, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Latents of images, and what is read off them; what has been observed stays as it is.

        Args:
            images: N of uint8 RGB [any height, any width, 3].

        Returns:
            float32 [N, c, h, w], and float32 [N, D] as ``Rollouts.readouts`` has it for predicted frames.

        Raises:
            InputError: wrong images.
        """
        for image in images:
            check_image(image)
        self._engine.drain()
        latents, numbers = self._engine.encode(
            np.stack([resize(image, self.width, self.height) for image in images])
        )
        return latents, self._maker.in_units(numbers)

    def _normalise(self, actions: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return normalised(actions, shape, mean=self._mean, std=self._std)
