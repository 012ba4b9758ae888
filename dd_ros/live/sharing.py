# SPDX-License-Identifier: Apache-2.0
"""Who has the device next: the live stream, or a piece of a request.

A piece is begun where it fits before the next prediction of the stream. Where requests wait the stream goes down its ladder
until it leaves them a share of the time; what they are still kept from adds up, and a piece that they are owed is begun
whatever comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from dd_ros.live.ladder import SHARE, Rung, StreamLadder, Wanted
from dd_ros.live.requests import Requests

SILENT = 1000.0  # ms without a prediction, beside two periods, after which requests have all the time
GRACE = 0.25  # of a step, that an image may be late before its time is given to requests
MOST_OWED = 1000.0  # ms that requests can be owed, or one piece

Next = Literal["stream", "request"]


class Sharing:
    """Used by the inference thread.

    Args:
        ladder: of the stream; replace the attribute where the rungs change.
        requests: what waits.
        step_ms: a model step.
        clock: steady, in seconds, and the same as the ladder's.
    """

    def __init__(
        self, ladder: StreamLadder, requests: Requests, *, step_ms: float, clock: Callable[[], float] = time.monotonic
    ):  # fmt: skip
        self.ladder = ladder
        self._requests, self._step_ms, self._clock = requests, step_ms, clock
        self._owed, self._counted = 0.0, clock()

    def choose(self, age_ms: float, wanted: Wanted) -> Rung | None:
        """How the stream predicts from an image of that age; None where it leaves it out."""
        least = self._requests.least_ms(self.ladder.rungs[0])
        rung = self.ladder.choose(age_ms, wanted, least if self._requests else None)
        self._tell(least, wanted)
        return rung

    def next(self, piece_ms: float | None, wanted: Wanted, *, image: bool) -> Next | None:
        """Who goes on now; None: wait for an image.

        Args:
            piece_ms: how long the next piece of a request takes; None where none waits.
            wanted: what the stream should be.
            image: whether there is a new one.
        """
        due, now = self.ladder.due_in(wanted), self._clock()
        stream: Next | None = "stream" if image else None
        if piece_ms is None:
            self._owed, self._counted = 0.0, now
            return stream
        self._owed = min(self._owed + SHARE * 1e3 * (now - self._counted), max(MOST_OWED, piece_ms))
        self._counted = now
        if self.ladder.began is None or due < -max(SILENT, 2.0 * self.ladder.period_ms(wanted)):
            self._requests.gap_ms, self._requests.share, self._requests.latency_ms = None, 1.0, 0.0
            return stream or "request"
        if 0.0 < piece_ms <= self._owed:
            return "request"
        if image and (due <= 0.0 or piece_ms == 0.0 or not self.ladder.paced(wanted)):
            return "stream"
        late = due < -GRACE * self._step_ms and not image
        return "request" if late or piece_ms <= due else stream

    def worked(self, milliseconds: float) -> None:
        """A piece of a request took that long."""
        self._owed = max(0.0, self._owed - milliseconds)

    def _tell(self, piece_ms: float, wanted: Wanted) -> None:
        """Tell requests what the stream leaves to them."""
        requests, ladder = self._requests, self.ladder
        requests.share = ladder.share(wanted, piece_ms)
        requests.gap_ms = requests.share * ladder.period_ms(wanted)
        requests.latency_ms = ladder.whole_ms(ladder.rung)
