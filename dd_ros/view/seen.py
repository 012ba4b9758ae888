# SPDX-License-Identifier: Apache-2.0
"""Camera frames and predicted frames by the time they are for: which belong together, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.clocks import JUMP_NS
from dd_ros.demo.recording import Timeline
from dd_ros.errors import InputError

Image = NDArray[np.uint8]
PATIENCE_NS = 2_000_000_000  # a camera frame that long after its time is not waited for


class Predicted(NamedTuple):
    """Predicted frames as they were received: a chunk, or a whole horizon.

    Attributes:
        stamp_ns: stamp of the last observed frame.
        step_ns: time of one model step.
        horizon: model steps of the whole prediction.
        first_step: model steps from the observed frame to the first frame here (1 = next).
        frames: uint8 RGB [c, H, W, 3].
        uncertainty: float32 [c].
        actions: float32 [c, A], assumed.
        late: how many of the frames were published after their time.
        age_ns: time from ``stamp_ns`` to their arrival; None where there is no such thing, as in a recording.
    """

    stamp_ns: int
    step_ns: int
    horizon: int
    first_step: int
    frames: Image
    uncertainty: NDArray[np.float32]
    actions: NDArray[np.float32]
    late: int = 0
    age_ns: int | None = None

    def target_ns(self, index: int) -> int:
        """The time that frame ``index`` is for."""
        return self.stamp_ns + (self.first_step + index) * self.step_ns


class Pair(NamedTuple):
    """A predicted frame and the camera frame of its time.

    Attributes:
        lead: model steps that it was ahead.
        target_ns, stamp_ns: the time it is for, and stamp of the frame it was predicted from.
        real, predicted: uint8 RGB [H, W, 3].
        copied: the camera frame it was predicted from, which is what copy-last says; None where that never came.
    """

    lead: int
    target_ns: int
    stamp_ns: int
    real: Image
    predicted: Image
    copied: Image | None


class Seen:
    """Keeps predicted frames of a few leads until the camera frames of their times are there, in whatever order they come.

    Args:
        leads: model steps, increasing.
        step_ns, horizon: of the predictions.
    """

    def __init__(self, leads: Sequence[int], *, step_ns: int, horizon: int):
        self.leads = tuple(leads)
        self._step_ns, self._kept_ns = step_ns, horizon * step_ns + PATIENCE_NS
        self._begin()

    def _begin(self) -> None:
        self._newest_ns = 0
        self._real: Timeline[Image] = Timeline()
        self._predicted: dict[int, Timeline[Image]] = {lead: Timeline() for lead in self.leads}

    def camera(self, stamp_ns: int, rgb: Image) -> list[Pair]:
        """Take a camera frame, uint8 RGB [H, W, 3]; the predicted frames that it completes."""
        if (
            stamp_ns <= self._newest_ns - JUMP_NS
        ):  # the clock was reset: nothing from before will ever be complete
            self._begin()
        self._newest_ns = max(self._newest_ns, stamp_ns)
        self._real.add(stamp_ns, rgb)
        found = [self._pair(lead, stamp_ns) for lead in self.leads]
        self._forget()
        return [pair for pair in found if pair is not None]

    def predicted(self, chunk: Predicted) -> list[Pair]:
        """Take predicted frames; those whose camera frames were there already."""
        found = []
        for lead in self.leads:
            index = lead - chunk.first_step
            if 0 <= index < len(chunk.frames):
                # a copy: a view would keep the whole message
                self._predicted[lead].add(chunk.target_ns(index), chunk.frames[index].copy())
                found.append(self._pair(lead, chunk.target_ns(index)))
        return [pair for pair in found if pair is not None]

    def _pair(self, lead: int, near_ns: int) -> Pair | None:
        """The two frames of about that time, once both are there; never again."""
        tolerance = self._step_ns / 4
        predicted = self._predicted[lead]
        target = predicted.nearest(near_ns, tolerance)
        if target is None:
            return None
        real, frame = self._real.near(target, tolerance), predicted.near(target, 0)
        if real is None or frame is None:
            return None
        predicted.drop(target)
        observed_ns = target - lead * self._step_ns
        return Pair(lead, target, observed_ns, real, frame, self._real.near(observed_ns, tolerance))

    def _forget(self) -> None:
        for timeline in (self._real, *self._predicted.values()):
            timeline.drop_before(self._newest_ns - self._kept_ns)


def steps_of(leads: Sequence[float], *, step_ns: int, horizon: int) -> tuple[int, ...]:
    """Leads in seconds as model steps, increasing, cut to the horizon; of none a quarter, a half and the whole of it.

    Raises:
        InputError: a lead that is not above 0.
    """
    if not leads:
        return tuple(sorted({max(1, horizon // 4), max(1, horizon // 2), horizon}))
    odd = [lead for lead in leads if not lead > 0.0]
    if odd:
        raise InputError(f"leads: expected seconds above 0, got {odd[0]:g}")
    return tuple(sorted({min(max(round(lead * 1e9 / step_ns), 1), horizon) for lead in leads}))
