# SPDX-License-Identifier: Apache-2.0
"""The inference thread's turns on a device of known speed, in simulated time: what the ladder makes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator

from dd_ros.errors import InputError
from dd_ros.live.ladder import Keep, Rung, Speed, StreamLadder, Wanted, rungs
from dd_ros.live.requests import Allowance, Job, Piece, Requests
from dd_ros.live.sharing import Sharing

IDLE = 0.001  # s
LAST_MOMENT = 0.01  # s


class Device:
    """A camera, a stream and requests on a device.

    Args:
        ladder: the rungs.
        step_ms: from one image to the next.
        unit_ms: time that a pass over one rollout takes, or decoding a chunk of it.
        rate: wanted predictions per second; 0: one per image.
        keep: as the node's parameter.
        wobble: factor of the time that each piece of work takes, by how many there were.

    Attributes:
        predicted: rung and the age of the image at the end of each chunk, of every prediction.
        answered: candidates and frames of every answer, and seconds that it took; none of a refusal.
    """

    def __init__(
        self, ladder: tuple[Rung, ...], *, step_ms: float, unit_ms: float, keep: Keep = "horizon", deadline_ms: float = 0.0,
        wobble: Callable[[int], float] = lambda count: 1.0,
    ):  # fmt: skip
        self.now, self.unit_ms, self.step_ms, self.wobble = 0.0, unit_ms, step_ms, wobble
        self.speed, self.wanted = Speed(lambda: self.now), Wanted(keep, step_ms, deadline_ms)
        self.requests = Requests(self.speed, (1, 2, 4), clock=lambda: self.now)
        stream = StreamLadder(ladder, step_ms=step_ms, speed=self.speed, clock=lambda: self.now)
        self.sharing = Sharing(stream, self.requests, step_ms=step_ms, clock=lambda: self.now)
        self.predicted: list[tuple[Rung, list[float]]] = []
        self.answered: list[tuple[int, int, float]] = []
        self.began: list[float] = []
        self.refused: list[str] = []
        self._seen, self._work, self._new, self._stamp = -1, 0, False, 0.0

    def spend(self, units: float, rows: int = 1) -> float:
        """Work at so many units; the time it took in ms."""
        self._work += 1
        took = units * self.unit_ms * (1 + rows) / 2 * self.wobble(self._work)
        self.now += took / 1e3
        return took

    def ask(self, candidates: int, within: float = 0.0) -> None:
        """Request rollouts, with a deadline in that many seconds; 0: none."""
        due = round(1e9 * (self.now + within)) if within else 0
        allowance = Allowance(
            self.requests, self.sharing.ladder.rungs, now_ns=lambda: round(1e9 * self.now), due_ns=due
        )
        asked, done = self.now, 0
        ends: list[float] = []
        frames: list[int] = []

        def work() -> Generator[Piece, None, None]:
            nonlocal done
            try:
                plan = allowance.plan(candidates, None)
            except InputError as error:
                self.refused.append(str(error))
                return
            frames.append(plan.rung.frames)
            rows = allowance.rows(plan, candidates, None) or 1
            while rows:
                for chunk in range(plan.rung.chunks):
                    yield Piece(rows, plan.rung.units(chunk, 0.0), begins=chunk == 0)
                    self.spend(plan.rung.units(chunk, 0.0), rows)
                done += rows
                ends.extend([self.now - asked] * rows)
                rows = allowance.rows(plan, candidates - done, None)
            send()

        def send() -> None:
            """What is done, at the last moment before the deadline if not earlier, as the node's timer does."""
            last = within - LAST_MOMENT if within else self.now - asked
            there = sum(end <= last for end in ends)
            if there:
                self.answered.append((there, frames[0], min(ends[-1], last) if within else ends[-1]))
            else:
                self.refused.append("nothing was there in time")

        try:
            plan = allowance.plan(candidates, None)
        except InputError as error:
            self.refused.append(str(error))
            return
        allowance.job = Job(work(), lambda: None, due, send, left_ms=plan.work_ms)
        self.requests.add(allowance.job)

    def run(self, seconds: float, asking: Callable[[float], object] = lambda now: None) -> None:
        """Go on for so long; ``asking`` is called with the time in every turn."""
        end = self.now + seconds
        while self.now < end:
            asking(self.now)
            self._turn()

    def _turn(self) -> None:
        for job in self.requests.take_expired(round(1e9 * self.now)):
            job.expired()
        newest = int(1e3 * self.now / self.step_ms)
        if newest > self._seen:
            self._seen, self._new, self._stamp = newest, True, newest * self.step_ms / 1e3
            self.speed.ran("observe", self.spend(1.0))
        job = self.requests.first()
        piece_ms = None if job is None else self.requests.piece_ms(job.next)
        begins = job is not None and not job.begun
        turn = "request" if begins else self.sharing.next(piece_ms, self.wanted, image=self._new)
        if turn == "stream":
            self._new = False
            self._predict()
        elif turn == "request" and job is not None:
            self._piece(job)
        else:
            self.now += IDLE

    def _predict(self) -> None:
        begun = self.now
        rung = self.sharing.choose(1e3 * (self.now - self._stamp), self.wanted)
        if rung is None:
            return
        ages = []
        for chunk in range(rung.chunks):
            took = self.spend(rung.units(chunk))
            self.speed.ran("rest" if chunk else "first", took, units=rung.units(chunk))
            ages.append(1e3 * (self.now - self._stamp))
        self.predicted.append((rung, ages))
        self.began.append(begun)

    def _piece(self, job: Job) -> None:
        piece, began, job.begun = job.next, self.now, True
        try:
            job.next = next(job.pieces)
        except StopIteration:
            self.requests.remove(job)
        if piece is not None:
            self.requests.ran(piece, 1e3 * (self.now - began))
            self.sharing.worked(1e3 * (self.now - began))
        if job.next is not None and job.next.begins:
            self.requests.pass_on()


def hertz(device: Device, seconds: float, skipped: float = 2.0) -> float:
    """Predictions per second of the last ``seconds``, but for the first few."""
    times = [began for began in device.began if began > device.now - seconds + skipped]
    return (len(times) - 1) / (times[-1] - times[0])


__all__ = ["Device", "hertz", "rungs"]
