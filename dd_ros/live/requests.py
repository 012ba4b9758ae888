# SPDX-License-Identifier: Apache-2.0
"""Requests beside the live stream: whose turn it is, what is promised, and what a deadline leaves time for.

ROS does not tell a service who calls. So requests take turns, all alike: each works at a *part*, some candidates over the
whole horizon. One turn goes to the request that waits longest, the next to the one with the least work left: a small request
is not stuck behind a big one, and a big one gets half of the time however many small ones come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from dd_ros.errors import InputError
from dd_ros.live.ladder import HEADROOM, SHARE, Rung, Speed
from dd_ros.predictions import Frames

MOST_JOBS = 64  # that are not done; each holds a request of any size
RECENT = 10.0  # s that the measured share of requests is good for
SETTLED = 0.3  # weight of the newest measurement of it


class Piece(NamedTuple):
    """What a job does next: a chunk of several rollouts.

    Attributes:
        rows: rollouts at once.
        units: work per rollout, as ``Rung.units`` counts it.
        begins: whether it is the first of its part, before which others have their turn.
    """

    rows: int
    units: float
    begins: bool = False


@dataclass(eq=False)
class Job:
    """Work that takes long, such as the rollouts of a request.

    Attributes:
        pieces: does a piece each time it is asked for the next, and says what that is (None: something short); sees to its
            own errors.
        cancelled: called instead of what is left where the worker stops.
        due_ns: when it is of no use any more; 0: never.
        expired: called instead of what is left where that time has come.
        left_ms: work that is left, as estimated.
        begun: whether it was asked for the first piece; what comes before that is short.
        next: what it does next.
    """

    pieces: Generator[Piece | None, None, None]
    cancelled: Callable[[], None]
    due_ns: int = 0
    expired: Callable[[], None] = lambda: None
    left_ms: float = 0.0
    begun: bool = False
    next: Piece | None = None


class Plan(NamedTuple):
    """What a request gets: a rung, how many candidates, the first ones, and how much work that is in ms."""

    rung: Rung
    candidates: int
    work_ms: float


class Requests:
    """The jobs that are not done, in the order in which they came. Thread safe.

    Args:
        speed: what things take; the inference thread tells it.
        sizes: rollouts at once that suit the device, rising.
        clock: steady, in seconds.

    Attributes:
        share: part of the time that the stream leaves, as it expects to; the inference thread sets it.
        latency_ms: how long a live prediction is at work before requests have their turn.
        gap_ms: time between two live predictions that pieces should fit into; None without a live stream.
    """

    def __init__(self, speed: Speed, sizes: Sequence[int], *, clock: Callable[[], float] = time.monotonic):
        self.share, self.latency_ms = 1.0, 0.0
        self.gap_ms: float | None = None
        self._speed, self._sizes, self._clock = speed, tuple(sizes), clock
        self._jobs: list[Job] = []
        self._turn: Job | None = None  # whose it is
        self._oldest = False  # whether it was that of the oldest
        self._lock = threading.Lock()
        self._seen, self._measured, self._ended = -RECENT, 1.0, -RECENT

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Let a job take its turns.

        Raises:
            InputError: MOST_JOBS are not done yet.
        """
        with self._lock:
            if len(self._jobs) >= MOST_JOBS:
                raise InputError(
                    f"expected at most {MOST_JOBS} waiting requests, got one more; ask again later"
                )
            if not self._jobs:
                self._ended = self._clock()
            self._jobs.append(job)

    def first(self) -> Job | None:
        """Whose turn it is; None where nobody waits."""
        with self._lock:
            if self._turn is None and self._jobs:
                self._oldest = not self._oldest
                least = min(self._jobs, key=lambda job: job.left_ms)
                self._turn = self._jobs[0] if self._oldest else least
            return self._turn

    def pass_on(self) -> None:
        """Whoever had its turn has done a part."""
        with self._lock:
            self._turn = None

    def remove(self, job: Job) -> None:
        """A job is done."""
        with self._lock:
            self._drop(job)

    def _drop(self, job: Job) -> None:
        self._jobs.remove(job)
        if self._turn is job:
            self._turn = None

    def take_expired(self, now_ns: int) -> list[Job]:
        """The jobs whose time has come, which are no longer in the queue."""
        with self._lock:
            over = [job for job in self._jobs if 0 < job.due_ns <= now_ns]
            for job in over:
                self._drop(job)
        return over

    def ran(self, piece: Piece, milliseconds: float) -> None:
        """A piece took that long; the time since the one before it was the stream's."""
        self._speed.ran("request", milliseconds, units=piece.units, rows=piece.rows)
        now = self._clock()
        share = min(1.0, milliseconds / max(1e3 * (now - self._ended), milliseconds, 1e-3))
        fresh = now - self._seen < RECENT
        self._measured = (1 - SETTLED) * self._measured + SETTLED * share if fresh else share
        self._seen = self._ended = now

    def piece_ms(self, piece: Piece | None) -> float:
        """How long a piece takes."""
        return 0.0 if piece is None else piece.units * self._speed.of("request", rows=piece.rows)

    def least_ms(self, rung: Rung) -> float:
        """The least that a request can do at a time on that rung."""
        return self.piece_ms(Piece(self._sizes[0], rung.units(0)))

    def rows(self, rung: Rung, left: int) -> int:
        """How many of the candidates that are left to roll out at once: as many as fit between two live predictions."""
        most = max(rung.units(chunk) for chunk in range(rung.chunks))
        fitting = [
            size
            for size in self._sizes
            if self.gap_ms is None or self.piece_ms(Piece(size, most)) <= self.gap_ms
        ]
        return min(fitting[-1] if fitting else self._sizes[0], left)

    def work_ms(self, rung: Rung, candidates: int, frames: Frames | None) -> float:
        """How long so many rollouts take where nothing comes between."""
        rows = self.rows(rung, max(candidates, 1))
        units = sum(rung.units(chunk, decoded(rung, chunk, frames)) for chunk in range(rung.chunks))
        return ceil(candidates / rows) * units * self._speed.of("request", rows=rows)

    def done_in(self, work_ms: float, but: Job | None = None) -> float:
        """Milliseconds until so much work of a new request, or of the job ``but``, is done, with all that takes turns with it.

        A new one waits for the live prediction under way before that.
        """
        with self._lock:
            others = [job.left_ms for job in self._jobs if job is not but]
        before = work_ms + sum(left for left in others if left <= work_ms)
        bigger = sum(left for left in others if left > work_ms)
        return (self.latency_ms if but is None else 0.0) + (before + min(before, bigger)) / self.share_now()

    def share_now(self) -> float:
        """Part of the time that requests get: as measured of late, or as the stream leaves it."""
        share = self._measured if self._clock() - self._seen < RECENT else self.share
        return 1.0 if self.gap_ms is None else max(share, SHARE)

    def _needed(self, rung: Rung, count: int, frames: Frames | None, but: Job | None) -> tuple[float, float]:
        """Work of so many candidates, and how long it takes beside all else, in ms."""
        work = self.work_ms(rung, count, frames)
        return work, self.done_in(work, but)

    def plan(
        self, rungs: Sequence[Rung], candidates: int, frames: Frames | None, *, left_ms: float | None, but: Job | None = None
    ) -> Plan:  # fmt: skip
        """The highest rung that is done in time.

        Args:
            rungs: the best first.
            candidates: how many are asked for.
            frames: which frames are decoded.
            left_ms: time there is; None: any.
            but: the job itself, where it is one already.

        Raises:
            InputError: not even one candidate on the lowest rung is; the message says what that would take.
        """
        for rung in rungs:
            work, needed = self._needed(rung, candidates, frames, but)
            if left_ms is None or needed <= HEADROOM * left_ms:
                return Plan(rung, candidates, work)
        assert left_ms is not None  # else the first rung fitted
        fits, too_many = 0, candidates
        while too_many - fits > 1:
            count = (fits + too_many) // 2
            _, needed = self._needed(rungs[-1], count, frames, but)
            fits, too_many = (count, too_many) if needed <= HEADROOM * left_ms else (fits, count)
        work, needed = self._needed(rungs[-1], max(fits, 1), frames, but)
        if fits:
            return Plan(rungs[-1], fits, work)
        raise InputError(
            f"deadline: expected {needed / HEADROOM:.0f} ms or more from now, which one candidate over "
            f"{rungs[-1].frames} frames takes here beside the stream and {len(self)} other requests, got {left_ms:.0f} ms"
        )


def decoded(rung: Rung, chunk: int, frames: Frames | None) -> float:
    """Part of a chunk's frames that are decoded."""
    if frames == "all":
        return 1.0
    return 1.0 / rung.schedule.chunk_frames if frames == "last" and chunk == rung.chunks - 1 else 0.0


class Allowance:
    """What one request may take of the device, and the time that it has.

    Args:
        requests: what it takes turns with.
        rungs: the best first.
        now_ns: the clock of its deadline.
        due_ns: its deadline by that clock; 0: none.

    Attributes:
        job: the job that works at it, once there is one.
    """

    def __init__(
        self, requests: Requests, rungs: Sequence[Rung], *, now_ns: Callable[[], int], due_ns: int = 0
    ):  # fmt: skip
        self.job: Job | None = None
        self._requests, self._rungs, self._now_ns, self._due_ns = requests, tuple(rungs), now_ns, due_ns

    def plan(self, candidates: int, frames: Frames | None) -> Plan:
        """How far down the ladder the deadline leads, as things stand.

        Raises:
            InputError: it has passed, or nothing at all would be there in time; the message says what that would take.
        """
        left = self._left_ms()
        if left is not None and left <= 0.0:
            raise InputError(
                f"deadline: expected a time to come, got one that passed {-left / 1e3:.3f} s ago"
            )
        plan = self._requests.plan(self._rungs, candidates, frames, left_ms=left, but=self.job)
        if self.job is not None:
            self.job.left_ms = plan.work_ms
        return plan

    def reduced(self, plan: Plan, done: int, candidates: int) -> bool:
        """Whether so many done on the rung of a plan are less than the ``candidates`` that were asked for."""
        return plan.rung != self._rungs[0] or done < candidates

    def rows(self, plan: Plan, left: int, frames: Frames | None) -> int:
        """How many of the candidates that are left to roll out next, whatever was planned; 0: no more would be there in time."""
        time_ms, work = self._left_ms(), self._requests.work_ms(plan.rung, left, frames)
        if self.job is not None:
            self.job.left_ms = work if time_ms is None else min(work, time_ms * self._requests.share_now())
        most = self._requests.rows(plan.rung, left)
        while time_ms is not None and most and self._part_ms(plan, most, frames) > time_ms:
            most //= 2
        return most

    def _part_ms(self, plan: Plan, rows: int, frames: Frames | None) -> float:
        return self._requests.done_in(self._requests.work_ms(plan.rung, rows, frames), self.job)

    def _left_ms(self) -> float | None:
        return (self._due_ns - self._now_ns()) / 1e6 if self._due_ns else None
