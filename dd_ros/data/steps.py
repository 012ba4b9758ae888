# SPDX-License-Identifier: Apache-2.0
"""Camera and action streams -> model steps, by time stamp. Live nodes and bags use the same rules.

All stamps are integer nanoseconds. The rules:

- The grid of model steps is anchored at the first image, whether or not that can be used. An image belongs to
  the step it is due for when its stamp is at most a quarter of a step early; images in between are ignored.
- One missed step is bridged by repeating the frame before; a longer gap starts a new episode.
- The action of a frame is the command in force at the frame's stamp; of several action topics, what
  each had in force, joined. Before all have spoken there is none.
- Stamps that go back by a second or more (a simulation reset, a looping bag) start everything anew;
  smaller steps back are late messages and are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.clocks import JUMP_NS
from dd_ros.data.commands import JoinedActions

Item = TypeVar("Item")
MAX_HOLD = 1  # missed model steps that repeating a frame may bridge
NEW_EPISODE = (
    MAX_HOLD + 2
)  # the number of a step that begins an episode is at least this far from the one before


class StepClock:
    """Decides which images become model steps, and which step each is: the one place for it, live and recorded.

    Steps are numbered. The number grows by one from step to step; a missed step leaves its number out. Where more
    than MAX_HOLD are left out, a new episode begins: after a long gap, and after stamps that went back.

    Args:
        rate_hz: model steps per second.

    Attributes:
        newest_ns: newest stamp since the grid was last anchored; None before the first.
        resets: how often stamps went back by JUMP_NS or more.
    """

    def __init__(self, rate_hz: float):
        self._step_ns = 1e9 / rate_hz
        self._origin = self._tick = 0
        self._number = -NEW_EPISODE
        self.newest_ns: int | None = None
        self.resets = 0

    def restart(self) -> None:
        """The next image anchors a new grid and begins a new episode."""
        self.newest_ns = None

    def went_back(self, stamp_ns: int) -> bool:
        """Whether a stamp is so much older than the newest one that the clock behind it must have been reset."""
        return self.newest_ns is not None and stamp_ns <= self.newest_ns - JUMP_NS

    def step_of(self, stamp_ns: int) -> int | None:
        """Number of the model step that the image of this time becomes; None: it is not due, ignore it."""
        if self.went_back(stamp_ns):
            self.resets += 1
            self.restart()
        if self.newest_ns is None:
            self._anchor(stamp_ns)
            self.newest_ns = stamp_ns
            self._number += NEW_EPISODE
            return self._number
        self.newest_ns = max(self.newest_ns, stamp_ns)
        tick = int((stamp_ns - self._origin + 0.25 * self._step_ns) // self._step_ns)
        ticks = tick - self._tick
        if ticks <= 0:
            return None
        self._tick = tick
        if ticks >= NEW_EPISODE:  # a new grid, so that the new episode does not inherit its phase
            self._anchor(stamp_ns)
        self._number += ticks
        return self._number

    def _anchor(self, stamp_ns: int) -> None:
        self._origin, self._tick = stamp_ns, 0


def begins_episode(step: int, before: int | None) -> bool:
    """Whether too much was missed between steps number ``before`` (None: there was none) and ``step``."""
    return before is None or step - before >= NEW_EPISODE


class DueImage(NamedTuple, Generic[Item]):
    """An image that is due: number of its model step, stamp in ns, and the image or what stands for it."""

    step: int
    stamp: int
    image: Item


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


def due_images(images: Iterable[tuple[int, Item]], clock: StepClock) -> Iterator[DueImage[Item]]:
    """Those of the images (stamp in ns, image) in recorded order that become model steps."""
    for stamp, image in images:
        step = clock.step_of(stamp)
        if step is not None:
            yield DueImage(step, stamp, image)


def model_steps(
    images: Iterable[DueImage[Item]], actions: JoinedActions, rate_hz: float
) -> list[list[Step[Item]]]:
    """The model steps of a recording, an inner list for each episode.

    Args:
        images: those that are due, in recorded order; one that could not be used is missing, a missed step.
        actions: all its actions. Images before the first one are left out.
        rate_hz: model steps per second.
    """
    step_ns = round(1e9 / rate_hz)
    runs: list[list[Step[Item]]] = []
    before: int | None = None
    for step, stamp, image in images:
        action = actions.at(stamp)
        if action is None:
            continue
        if begins_episode(step, before):
            runs.append([])
        elif step - cast(int, before) > 1:
            runs[-1].append(runs[-1][-1]._replace(stamp=runs[-1][-1].stamp + step_ns))
        runs[-1].append(Step(stamp, image, action))
        before = step
    return runs


def part_name(name: str, index: int) -> str:
    """Name of part ``index`` of a recording that gaps and resets cut into several episodes."""
    return f"{name}#{index}" if index else name


def episode_of(run: Sequence[Step[NDArray[np.uint8]]], name: str) -> Episode:
    stamps, frames, actions = zip(*run, strict=True)
    return Episode(np.stack(frames), np.stack(actions), np.asarray(stamps, np.int64), name)
