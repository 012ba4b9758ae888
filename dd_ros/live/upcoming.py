# SPDX-License-Identifier: Apache-2.0
"""Predicted frames that are still to come: what a viewer shows for now, however slowly predictions follow each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EARLY = 1.5  # steps before its time that a frame is shown at most: one, and what stamps are off
LONGEST_WAIT = 1.0  # s; simulated time may run faster than ours


class Due(NamedTuple):
    """A frame and its time.

    Attributes:
        target_ns: the time it is for.
        frame: uint8 RGB [H, W, 3].
    """

    target_ns: int
    frame: NDArray[np.uint8]


class Upcoming:
    """What the newest predictions say of the times to come. Thread safe; holds at most two horizons.

    Args:
        step_ns: a model step.
        horizon: frames of a prediction at most.
    """

    def __init__(self, *, step_ns: int, horizon: int):
        self._step_ns, self._most = step_ns, 2 * horizon
        self._frames: dict[int, NDArray[np.uint8]] = {}  # by time, the last taken last
        self._shown: int | None = None
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, first_step: int, frames: NDArray[np.uint8]) -> None:
        """Take a chunk of the newest prediction; what an older one said of its times counts no more.

        Args:
            stamp_ns: of the image that was predicted from.
            first_step: model steps from there to the first frame.
            frames: uint8 RGB [c, H, W, 3].
        """
        times = [stamp_ns + (first_step + index) * self._step_ns for index in range(len(frames))]
        first, last = times[0] - self._step_ns // 2, times[-1] + self._step_ns // 2
        with self._lock:
            others = [(time, frame) for time, frame in self._frames.items() if not first < time < last]
            self._frames = dict([*others, *zip(times, frames, strict=True)][-self._most :])

    def due(self, now_ns: int) -> Due | None:
        """The frame for now: the first whose time is not over, each once; None where there is no new one.

        It is on the screen until the next, about a step, and in the middle of that no other frame is nearer to its time.
        """
        with self._lock:
            self._frames = {time: frame for time, frame in self._frames.items() if time > now_ns}
            time = min(self._frames, default=None)
            if time is None or time == self._shown or time - now_ns > EARLY * self._step_ns:
                return None
            self._shown = time
            return Due(time, self._frames[time])

    def next_in(self, now_ns: int) -> int | None:
        """Nanoseconds until another frame is due; None where there is none."""
        with self._lock:
            times = sorted(time for time in self._frames if time > now_ns)
        if not times:
            return None
        early = 0 if times[0] == self._shown else round(EARLY * self._step_ns)
        return max(0, times[0] - early - now_ns)


class Screen:
    """Shows frames for now when their turn comes, on a thread of its own: predictions keep the caller's busy.

    Args:
        upcoming: the frames.
        now_ns: the clock of their times.
        show: gets each frame that is due.
    """

    def __init__(self, upcoming: Upcoming, *, now_ns: Callable[[], int], show: Callable[[Due], None]):
        self._upcoming, self._now_ns, self._show = upcoming, now_ns, show
        self._changed, self._stopping = threading.Event(), False
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """There are new frames."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
            self._thread.start()
        self._changed.set()

    def stop(self) -> None:
        """End; there is nothing to show any more."""
        self._stopping = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            due = self._upcoming.due(self._now_ns())
            if due is not None:
                self._show(due)
            wait = self._upcoming.next_in(self._now_ns())
            self._changed.wait(LONGEST_WAIT if wait is None else min(wait / 1e9, LONGEST_WAIT))
