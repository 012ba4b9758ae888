# SPDX-License-Identifier: Apache-2.0
"""Predictive display, recorded: what a viewer behind a delayed camera sees, with and without prediction. No ROS here.

At the time of each camera frame the newest delayed frame and the newest predicted frame that had arrived by then are compared
with it: those are on the two screens at that moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.images import decode_rgb
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import rms

Image = NDArray[np.uint8]
WAITING = 32  # messages of a screen that are kept, and camera frames that wait to be judged
PATIENCE_NS = 100_000_000  # after its time a frame is judged: by then all that was on the screens is taken in


class Screen:
    """What a screen shows: messages by the time of their arrival, the newest WAITING of them."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[int, int, Any]] = deque(maxlen=WAITING)

    def show(self, received_ns: int, stamp_ns: int, message: Any) -> None:
        """An image of ``stamp_ns`` arrived at ``received_ns``."""
        self._arrivals.append((received_ns, stamp_ns, message))

    def at(self, time_ns: int) -> tuple[int, Any] | None:
        """Stamp and message that are shown at ``time_ns``; None before the first."""
        place = bisect_right(self._arrivals, time_ns, key=lambda arrival: arrival[0])
        return self._arrivals[place - 1][1:] if place else None


class Moment(NamedTuple):
    """What is there and what the two screens show, at one time.

    Attributes:
        time_ns: stamp of the camera frame.
        true, stale, predicted: uint8 RGB [H, W, 3].
        age_ns: how old the stale frame is.
        ahead_ns: how far the time that the predicted frame is for is ahead of now.
    """

    time_ns: int
    true: Image
    stale: Image
    predicted: Image
    age_ns: int
    ahead_ns: int


@dataclass
class Display:
    """Scores of all moments, and the images of the last ``keep`` of them.

    Args:
        keep: moments whose images are kept.

    Attributes:
        moments: the newest.
        errors: (stale, predicted) RMS error in grey levels of every moment.
        ages_ns, aheads_ns: as in ``Moment``, of every moment.
    """

    keep: int = 600
    moments: deque[Moment] = field(default_factory=deque)
    errors: list[tuple[float, float]] = field(default_factory=list)
    ages_ns: list[int] = field(default_factory=list)
    aheads_ns: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stale, self.predicted = Screen(), Screen()
        self._size: tuple[int, int] | None = None  # width and height of predicted frames
        self._due: deque[tuple[int, Any]] = deque(maxlen=WAITING)

    def show_stale(self, received_ns: int, stamp_ns: int, message: Any) -> None:
        """A delayed camera frame arrived."""
        self.stale.show(received_ns, stamp_ns, message)

    def show_predicted(self, received_ns: int, target_ns: int, message: Any) -> None:
        """A predicted frame for ``target_ns`` arrived; its size is that of all comparisons."""
        self._size = (message.width, message.height)
        self.predicted.show(received_ns, target_ns, message)

    def frame(self, stamp_ns: int, message: Any, *, now_ns: int) -> None:
        """A camera frame, which is the truth of its time; those that are old enough by ``now_ns`` are judged."""
        self._due.append((stamp_ns, message))
        while self._due and self._due[0][0] + PATIENCE_NS <= now_ns:
            self._judge(*self._due.popleft())

    def _judge(self, time_ns: int, message: Any) -> None:
        stale, predicted = self.stale.at(time_ns), self.predicted.at(time_ns)
        if stale is None or predicted is None or self._size is None:
            return
        try:
            true, late, guess = (decode_rgb(one, *self._size) for one in (message, stale[1], predicted[1]))
        except InputError:  # a damaged one, of which the predictor's diagnostics speak
            return
        moment = Moment(time_ns, true, late, guess, time_ns - stale[0], predicted[0] - time_ns)
        shown = rms(moment.true, np.stack([moment.stale, moment.predicted]))
        self.errors.append((float(shown[0]), float(shown[1])))
        self.ages_ns.append(moment.age_ns)
        self.aheads_ns.append(moment.ahead_ns)
        self.moments.append(moment)
        while len(self.moments) > self.keep:
            self.moments.popleft()
