# SPDX-License-Identifier: Apache-2.0
"""Camera and action streams -> model steps, by time stamp. Live nodes and bags use the same rules.

All stamps are integer nanoseconds. The rules:

- The grid of model steps is anchored at the first frame. A frame belongs to the step it is due for
  when its stamp is at most a quarter of a step early; frames in between are ignored.
- One missed step is bridged by repeating the frame before; a longer gap starts a new episode.
- The action of a frame is the command in force at the frame's stamp; of several action topics, what
  each had in force, joined. Before all have spoken there is none.
- Stamps that go back by a second or more (a simulation reset, a looping bag) start everything anew;
  smaller steps back are late messages and are ignored.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dd_ros.config import StreamSpec
from dd_ros.errors import InputError

Picture = TypeVar("Picture")
JUMP_NS = 1_000_000_000  # a step back at least this long is a reset, not a late message
MAX_HOLD = 1  # missed model steps that repeating a frame may bridge


class StampsWentBack(Exception):
    """A stamp is a second or more older than the one before: the clock was reset."""


def missed_too_many(ticks: int) -> bool:
    """Whether ``ticks`` steps since the last frame are a gap rather than a frame to repeat."""
    return ticks - 1 > MAX_HOLD


class FrameClock:
    """Tells which camera frames become model steps."""

    def __init__(self, rate_hz: float):
        self._step = 1e9 / rate_hz
        self.reset()

    def reset(self) -> None:
        """The next frame anchors a new grid."""
        self._origin: int | None = None
        self._tick = 0
        self._latest = 0

    def accept(self, stamp_ns: int) -> int:
        """Model steps from the last accepted frame to this one; 0 means: not due, ignore it.

        Raises:
            StampsWentBack: the stamp is a second or more older than the newest one seen.
        """
        if self._origin is None:
            self._origin = self._latest = stamp_ns
            return 1
        if stamp_ns <= self._latest - JUMP_NS:
            raise StampsWentBack
        self._latest = max(self._latest, stamp_ns)
        tick = int((stamp_ns - self._origin + 0.25 * self._step) // self._step)
        ticks = tick - self._tick
        if ticks <= 0:
            return 0
        if missed_too_many(ticks):  # a new grid, so that the new episode does not inherit its phase
            self._origin, self._tick = stamp_ns, 0
        else:
            self._tick = tick
        return ticks


class ActionBuffer:
    """The newest commands of an action stream, bounded, and their value at any time.

    Args:
        dim: length of an action vector; None takes the first one's.
        mode: ``hold`` gives the newest command not after the time asked for; ``linear``
            interpolates to the next command where that is known already.
        capacity: commands kept.
        name: topic named in errors.
    """

    def __init__(self, dim: int | None, mode: str = "hold", capacity: int = 4096, name: str = "action"):
        self.dim, self.mode, self.capacity, self.name = dim, mode, capacity, name
        self._items: list[tuple[int, int, NDArray[np.float64]]] = []
        self._count = 0

    def push(self, stamp_ns: int, values: ArrayLike) -> None:
        """Add a command; late ones are sorted in, a step back of a second or more clears the rest.

        Raises:
            InputError: wrong length, NaN or infinity.
        """
        vector = np.asarray(values, np.float64).reshape(-1)
        if self.dim is None:
            self.dim = len(vector)
        if len(vector) != self.dim:
            raise InputError(f"{self.name}: expected {self.dim} action values, got {len(vector)}")
        if not np.isfinite(vector).all():
            raise InputError(f"{self.name}: expected finite action values, got NaN or infinity")
        if self._items and stamp_ns <= self._items[-1][0] - JUMP_NS:
            self._items.clear()
        self._count += 1
        insort(self._items, (stamp_ns, self._count, vector))
        del self._items[: -self.capacity]

    def at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Command in force at ``stamp_ns``, float32 [dim]; None before the first command."""
        after = bisect_right(self._items, stamp_ns, key=lambda item: item[0])
        if after == 0:
            return None
        start, _, value = self._items[after - 1]
        if self.mode == "linear" and after < len(self._items):
            end, _, next_value = self._items[after]
            value = value + (next_value - value) * ((stamp_ns - start) / (end - start))
        return value.astype(np.float32)

    def clear(self) -> None:
        self._items.clear()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest command."""
        return self._items[-1][0] if self._items else None


class JoinedActions:
    """The commands of several topics on one time line: their vectors, joined in order.

    Args:
        parts: the commands of each topic.
    """

    def __init__(self, parts: Sequence[ActionBuffer]):
        self.parts = list(parts)

    def at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """What each topic had in force at ``stamp_ns``, joined, float32 [dim]; None before all have spoken."""
        values = [part.at(stamp_ns) for part in self.parts]
        known = [value for value in values if value is not None]
        return np.concatenate(known) if len(known) == len(values) else None

    def clear(self) -> None:
        for part in self.parts:
            part.clear()

    @property
    def newest_ns(self) -> int | None:
        """Stamp up to which the commands of all topics are known; None before all have spoken."""
        newest = [part.newest_ns for part in self.parts]
        known = [stamp for stamp in newest if stamp is not None]
        return min(known) if len(known) == len(newest) else None


class Step(NamedTuple, Generic[Picture]):
    """A model step: stamp in ns, its picture or what stands for it, the action in force, float32 [A]."""

    stamp: int
    picture: Picture
    action: NDArray[np.float32]


@dataclass(frozen=True)
class Episode:
    """Consecutive model steps.

    Attributes:
        frames: uint8 RGB [T, H, W, 3].
        actions: float32 [T, A], the command in force at each frame.
        stamps: int64 [T], nanoseconds; a repeated frame has the stamp it stands for.
        name: where it comes from.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    stamps: NDArray[np.int64]
    name: str

    def __len__(self) -> int:
        return len(self.stamps)

    def clip(self, start: int, stop: int) -> Episode:
        """The model steps from ``start`` up to ``stop``."""
        part = slice(start, stop)
        return Episode(self.frames[part], self.actions[part], self.stamps[part], self.name)


def resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Stretch uint8 RGB [h, w, 3] to a new, contiguous [height, width, 3]."""
    if image.shape[:2] == (height, width):
        return np.array(image, order="C")  # a copy: the input may be a message's own memory
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def steps(images: Iterable[tuple[int, Picture]], rate_hz: float) -> Iterator[tuple[int, int, Picture]]:
    """Images (stamp, picture) that become model steps, as (ticks, stamp, picture); ticks -1 after a reset."""
    clock = FrameClock(rate_hz)
    for stamp, image in images:
        try:
            ticks = clock.accept(stamp)
        except StampsWentBack:
            clock.reset()
            clock.accept(stamp)
            ticks = -1
        if ticks:
            yield ticks, stamp, image


def model_steps(
    images: Iterable[tuple[int, Picture]], actions: JoinedActions, rate_hz: float
) -> list[list[Step[Picture]]]:
    """The model steps of a recording, an inner list for each episode.

    Args:
        images: (stamp, picture) in recorded order; pictures, or whatever stands for them, are passed on.
        actions: all its actions. Frames before the first one are left out.
        rate_hz: model steps per second.
    """
    step_ns = round(1e9 / rate_hz)
    runs: list[list[Step[Picture]]] = [[]]
    known = (image for image in images if actions.at(image[0]) is not None)
    for ticks, stamp, image in steps(known, rate_hz):
        action = actions.at(stamp)
        assert action is not None
        run = runs[-1]
        if ticks < 0 or missed_too_many(ticks):
            runs.append([])
        elif ticks > 1 and run:
            run.append(run[-1]._replace(stamp=run[-1].stamp + step_ns))
        runs[-1].append(Step(stamp, image, action))
    return [run for run in runs if run]


def resample(
    images: Iterable[tuple[int, NDArray[np.uint8]]],
    actions: JoinedActions,
    spec: StreamSpec,
    name: str = "",
) -> list[Episode]:
    """Episodes of a recording: images (stamp, uint8 RGB) in recorded order and all its actions."""
    sized = ((stamp, resize(image, spec.width, spec.height)) for stamp, image in images)
    runs = model_steps(sized, actions, spec.rate_hz)
    return [episode_of(run, part_name(name, index)) for index, run in enumerate(runs)]


def part_name(name: str, index: int) -> str:
    """Name of part ``index`` of a recording that gaps and resets cut into several episodes."""
    return f"{name}#{index}" if index else name


def episode_of(run: Sequence[Step[NDArray[np.uint8]]], name: str) -> Episode:
    stamps, frames, actions = zip(*run, strict=True)
    return Episode(np.stack(frames), np.stack(actions), np.asarray(stamps, np.int64), name)
