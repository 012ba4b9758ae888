# SPDX-License-Identifier: Apache-2.0
"""What gives way where time is short, for the live stream and for requests alike.

The rungs, from the top: the whole horizon with the checkpoint's denoising steps; fewer steps, down to one per chunk; fewer
chunks, down to half of the horizon, the near ones. Below them a request has fewer candidates and the stream predicts fewer
images, those in time. How long a rung takes is estimated from what has lately been run on this device, whatever rung that was:
all is counted in network passes over a chunk, and decoding a chunk counts as one more.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import Literal, NamedTuple

from dd_ros.config import Schedule

SHORTEST = 0.5  # of the horizon: shorter futures tell candidates less apart than fewer candidates would
SHARE = 0.3  # of the time that requests get at least while the stream goes on
REMEMBERED = 32  # runs of a kind
KINDS = 32  # of runs that are remembered
STALE = 5.0  # s after which what requests took is believed no more where the stream is faster
HEADROOM = 0.85  # of the time there is, that a rung must fit into to be climbed to; and of a deadline
PACE = 0.95  # of a period: predictions that are paced rather come early than late
HOLD, LONGEST_HOLD = 3.0, 60.0  # s that a better rung must fit for until it is climbed to
FAMILIAR_AGE = 5000.0  # ms; an image that is older, or of the future, has another clock
DOUBTED = 8  # choices among which images left out count as a habit

Kind = Literal["observe", "first", "rest", "request"]
Keep = Literal["horizon", "rate", "all"]


class Rung(NamedTuple):
    """How a horizon is predicted.

    Attributes:
        schedule: denoising steps.
        chunks: how many, from the near end.
    """

    schedule: Schedule
    chunks: int

    @property
    def frames(self) -> int:
        return self.chunks * self.schedule.chunk_frames

    @property
    def steps(self) -> str:
        """Denoising steps of each chunk, such as ``2-1-1-1``."""
        return "-".join(str(len(self.schedule.chunk_levels(chunk))) for chunk in range(self.chunks))

    def units(self, chunk: int, decoded: float = 1.0) -> float:
        """Work of a chunk in passes, of whose frames the part ``decoded`` is shown."""
        schedule = self.schedule
        passes = len(schedule.chunk_levels(chunk)) * (2 if schedule.guidance else 1)
        return passes + (schedule.clean_context and chunk > 0) + decoded


def rungs(schedule: Schedule, horizon: int, *, fixed: bool = False) -> tuple[Rung, ...]:
    """All rungs of a prediction of ``horizon`` frames, the best first.

    Args:
        schedule: of the best.
        horizon: frames that its chunks divide.
        fixed: keep the schedule: work is recorded for it alone, and recording takes seconds.
    """
    whole, steps = schedule.chunks(horizon), max(len(levels) for levels in schedule.levels)
    schedules = [schedule]
    while steps > 1 and not fixed:
        steps //= 2
        schedules.append(at_most(schedule, steps))
    shorter = range(whole - 1, ceil(SHORTEST * whole) - 1, -1)
    return (*(Rung(item, whole) for item in schedules), *(Rung(schedules[-1], chunks) for chunks in shorter))


def at_most(schedule: Schedule, steps: int) -> Schedule:
    """The schedule with at most so many denoising steps per chunk; the first ones and the last of a chunk stay."""

    def cut(levels: tuple[float, ...]) -> tuple[float, ...]:
        if len(levels) <= steps:
            return levels
        return (*levels[: max(1, steps - 1)], *levels[-1:])[:steps]

    return schedule.model_copy(update={"levels": tuple(cut(levels) for levels in schedule.levels)})


class Speed:
    """How long work of each kind takes here, by what was lately run; of bounded size and thread safe.

    Args:
        clock: steady, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._requested = clock, -STALE
        self._runs: OrderedDict[tuple[Kind, int], deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def ran(self, kind: Kind, milliseconds: float, *, units: float = 1.0, rows: int = 1) -> None:
        """Work of so many units over ``rows`` rollouts at once took that long."""
        with self._lock:
            if kind == "request":
                if self._clock() - self._requested > STALE:
                    for key in [key for key in self._runs if key[0] == kind]:
                        del self._runs[key]
                self._requested = self._clock()
            self._runs.setdefault((kind, rows), deque(maxlen=REMEMBERED)).append(milliseconds / units)
            self._runs.move_to_end((kind, rows))
            if len(self._runs) > KINDS:
                self._runs.popitem(last=False)

    def of(self, kind: Kind, *, rows: int = 1, careful: bool = False) -> float:
        """Milliseconds per unit: the median, or ``careful`` what all but one of the last runs kept to.

        Of a number of rows that was never run it is taken from the nearest one, in proportion; of the first request from
        the stream. Where no request was run of late it is no more than the stream says: those that are refused for what was
        slow once would never show that it is fast again. 0 while nothing is known.
        """
        with self._lock:
            known = [(key[1], list(runs)) for key, runs in self._runs.items() if key[0] == kind]
            stale = kind == "request" and self._clock() - self._requested > STALE
        if not known:
            return rows * self.of("rest", careful=careful) if kind == "request" else 0.0
        nearest, runs = min(known, key=lambda item: abs(item[0] - rows))
        value = sorted(runs)[-min(2, len(runs))] if careful else statistics.median(runs)
        found = value * rows / nearest
        return min(found, rows * self.of("rest", careful=careful) or found) if stale else found


class Wanted(NamedTuple):
    """What the live stream should be.

    Attributes:
        keep: what is kept where time is short: the ``horizon`` (images are left out), the ``rate`` (the horizon is
            shortened before that), or ``all`` (every prediction is whole and may come late).
        period_ms: from one prediction to the next.
        deadline_ms: age of the image at which a chunk is missed; 0: when the times of all its frames have passed.
    """

    keep: Keep
    period_ms: float
    deadline_ms: float = 0.0


class Place(NamedTuple):
    """Where the stream stands: the lower, the greater.

    Attributes:
        stride: periods from one prediction to the next.
        index: of the rung.
    """

    stride: int
    index: int  # type: ignore[assignment]


TOP = Place(1, 0)


class StreamLadder:
    """Chooses how the next live prediction is made. Down at once, up only when that has fitted for a while.

    Args:
        rungs: as of the function of that name.
        step_ms: a model step.
        speed: what things take; the caller tells it.
        clock: steady, in seconds.

    Attributes:
        place: where the stream stands.
        began: when the last prediction was begun, by ``clock``; None before the first.
    """

    def __init__(
        self, rungs: Sequence[Rung], *, step_ms: float, speed: Speed, clock: Callable[[], float] = time.monotonic
    ):  # fmt: skip
        self.rungs, self.speed = tuple(rungs), speed
        self.place = TOP
        self.began: float | None = None
        self._step_ms, self._clock = step_ms, clock
        self._ages: deque[float] = deque(maxlen=REMEMBERED)
        self._left_out: deque[bool] = deque(maxlen=DOUBTED)
        self._why, self._needed = "", -LONGEST_HOLD
        self._hold, self._climbed = HOLD, -LONGEST_HOLD

    @property
    def rung(self) -> Rung:
        """On which the stream predicts now."""
        return self.rungs[self.place.index]

    def choose(self, age_ms: float, wanted: Wanted, piece_ms: float | None = None) -> Rung | None:
        """How to predict from the newest image; None to leave it out and wait for the next.

        Args:
            age_ms: since the image's stamp.
            wanted: what the stream should be.
            piece_ms: the least that requests can do at a time; None where none wait.
        """
        if wanted.keep == "all":
            self.place, self._why = TOP, ""
            self._left_out.clear()
            return self._begin(self.rungs[0])
        age = age_ms if 0.0 <= age_ms < FAMILIAR_AGE else None
        self._ages.append(0.0 if age is None else age)
        self._move(
            needed=self._fitting(wanted, piece_ms, 1.0), possible=self._fitting(wanted, piece_ms, HEADROOM)
        )
        self._explain(wanted, piece_ms)
        rung, after_one = self.rung, bool(self._left_out) and self._left_out[-1]
        early = self.place.stride > 1 and self.due_in(wanted) > self._step_ms / 2
        stale = age is not None and self._late(rung, age, wanted) > self._late(rung, min(self._ages), wanted)
        if early or (stale and not after_one):
            self._left_out.append(True)
            return None
        return self._begin(rung)

    def _begin(self, rung: Rung) -> Rung:
        self._left_out.append(False)
        self.began = self._clock()
        return rung

    def whole_ms(self, rung: Rung, *, careful: bool = False) -> float:
        """How long a prediction takes, observing the image included."""
        ends = self._ends(rung, careful=careful)
        return self.speed.of("observe", careful=careful) + ends[-1]

    def period_ms(self, wanted: Wanted) -> float:
        """From one prediction to the next, without images left out."""
        whole = self.whole_ms(self.rungs[0]) if wanted.keep != "rate" else 0.0
        return max(wanted.period_ms, whole)

    def due_in(self, wanted: Wanted) -> float:
        """Milliseconds until the next prediction, 0 or less where it is due."""
        if self.began is None:
            return 0.0
        return PACE * self.place.stride * self.period_ms(wanted) - 1e3 * (self._clock() - self.began)

    def paced(self, wanted: Wanted) -> bool:
        """Whether predictions are farther apart than wanted, so that an image that is there may have to wait."""
        return self.place.stride * self.period_ms(wanted) > wanted.period_ms

    def share(self, wanted: Wanted, piece_ms: float) -> float:
        """Part of the time that requests get while the stream goes on."""
        place = TOP if wanted.keep == "all" else self._fitting(wanted, piece_ms, 1.0)
        busy = self.whole_ms(self.rungs[place.index]) / (place.stride * self.period_ms(wanted))
        return max(SHARE, 1.0 - busy)

    def state(self) -> str:
        """Where the stream stands, in words."""
        rung, whole = self.rung, self.rungs[0]
        every = "" if self.place.stride == 1 else f", every {self.place.stride} periods"
        new = ", from images just come" if self._choosy() else ""
        return f"{rung.frames} of {whole.frames} frames, {rung.steps}{every}{new}"

    def complaint(self) -> str | None:
        """Why the stream is less than whole, and what is done; None while it is whole."""
        if self.place == TOP and not self._choosy():
            return None
        return f"expected time for {self.rungs[0].frames} frames, {self.rungs[0].steps}: {self._why}; predicts {self.state()}"

    def _choosy(self) -> bool:
        return sum(self._left_out) > 1

    def _ends(self, rung: Rung, *, careful: bool) -> list[float]:
        """Milliseconds from the beginning of the prediction to the end of each chunk."""
        first, rest = (self.speed.of(kind, careful=careful) for kind in ("first", "rest"))  # type: ignore[arg-type]
        ends = [first * rung.units(0)]
        for chunk in range(1, rung.chunks):
            ends.append(ends[-1] + (rest or first) * rung.units(chunk))
        return ends

    def _slack(self, rung: Rung, age: float, wanted: Wanted, margin: float = 1.0) -> list[float]:
        """Milliseconds that each chunk of a prediction from an image of that age (ms) comes before its time; late: below 0."""
        chunk_ms = rung.schedule.chunk_frames * self._step_ms
        return [
            margin * HEADROOM * (wanted.deadline_ms or (chunk + 1) * chunk_ms) - age - end
            for chunk, end in enumerate(self._ends(rung, careful=True))
        ]

    def _late(self, rung: Rung, age: float, wanted: Wanted) -> int:
        """How many chunks come too late."""
        return sum(slack < 0.0 for slack in self._slack(rung, age, wanted))

    def _timely(self, wanted: Wanted, margin: float) -> list[int]:
        """Rungs that serve images that have just come: no late chunk; else the most chunks in time; else the nearest to one.

        Where the first chunk is late on every rung, as behind a late camera, the far ones need not be: they are all there is.
        """
        fresh = min(self._ages, default=0.0)
        slacks = [self._slack(rung, fresh, wanted, margin) for rung in self.rungs]
        whole = [index for index, slack in enumerate(slacks) if min(slack) >= 0.0]
        if whole:
            return whole
        promise = [(sum(value >= 0.0 for value in slack), max(slack), -len(slack)) for slack in slacks]
        return [index for index, value in enumerate(promise) if value == max(promise)]

    def _fitting(self, wanted: Wanted, piece_ms: float | None, margin: float) -> Place:
        """The best place for images that have just come."""
        timely = self._timely(wanted, margin)
        if piece_ms is None and wanted.keep == "horizon":
            return Place(1, timely[0])
        period = self.period_ms(wanted)
        room = 0.0 if piece_ms is None else max(SHARE * period, piece_ms)
        stride = max(1, ceil((self.whole_ms(self.rungs[timely[-1]]) / margin + room) / period))
        budget = margin * (stride * period - room)
        return Place(
            stride,
            next((index for index in timely if self.whole_ms(self.rungs[index]) <= budget), timely[-1]),
        )

    def _move(self, *, needed: Place, possible: Place) -> None:
        now = self._clock()
        if needed > self.place:
            soon = now - self._climbed < 2.0 * self._hold
            self._hold = min(2.0 * self._hold, LONGEST_HOLD) if soon else HOLD
            self.place, self._needed = needed, now
        elif possible >= self.place:
            self._needed = now
        elif now - self._needed >= self._hold:
            self.place, self._climbed, self._needed = possible, now, now

    def _explain(self, wanted: Wanted, piece_ms: float | None) -> None:
        if piece_ms is not None:
            self._why = "requests for rollouts have their share"
        elif self._fitting(wanted, None, HEADROOM) != TOP or self._choosy():
            first, whole = self._ends(self.rungs[0], careful=True)[0], self.whole_ms(self.rungs[0])
            self._why = f"this device takes {first:.0f} ms to the first chunk and {whole:.0f} ms to the last"
