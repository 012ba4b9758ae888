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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import StreamSpec
from dd_ros.data.clocks import JUMP_NS
from dd_ros.data.commands import JoinedActions
from dd_ros.data.images import resize

Item = TypeVar("Item")
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


class Step(NamedTuple, Generic[Item]):
    """A model step: stamp in ns, its image or what stands for it, the action in force, float32 [A]."""

    stamp: int
    image: Item
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


def steps(images: Iterable[tuple[int, Item]], rate_hz: float) -> Iterator[tuple[int, int, Item]]:
    """Images (stamp, image) that become model steps, as (ticks, stamp, image); ticks -1 after a reset."""
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
    images: Iterable[tuple[int, Item]], actions: JoinedActions, rate_hz: float
) -> list[list[Step[Item]]]:
    """The model steps of a recording, an inner list for each episode.

    Args:
        images: (stamp, image) in recorded order; images, or whatever stands for them, are passed on.
        actions: all its actions. Frames before the first one are left out.
        rate_hz: model steps per second.
    """
    step_ns = round(1e9 / rate_hz)
    runs: list[list[Step[Item]]] = [[]]
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
