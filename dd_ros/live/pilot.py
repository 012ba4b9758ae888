# SPDX-License-Identifier: Apache-2.0
"""Planning while the robot moves: each plan begins where the robot will be when it is ready.

At a moment in time the commands under way are settled up to some steps ahead: those that act before the next plan can be
ready. A plan is for the steps after them. Its rollouts contain both, so that they start from what the cameras saw last
and go through what will happen anyway. The robot never waits.

Step k of the grid is the image at ``stamp + k * step``. The command that leads from image k - 1 to image k acts from just
after image k - 1; ``DELAY_NS`` says how much that is, as a robot looks and then acts.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.commands import Commands
from dd_ros.errors import InputError
from dd_ros.planning.bounds import Bounds
from dd_ros.planning.solvers import Settings

DELAY_NS = 1_000_000
REMEMBERED = 20  # plans whose iterations' duration is remembered, for how long the next may take
PART = 0.4  # of the horizon: what a plan may take, unless it was refused for too little time; the rest is left to plan
SPARE = 0.05  # s between the end of a plan and its first command
ENOUGH = (
    0.8  # of the longest iteration: time that another one is begun with; the predictor may cut it a little
)
LEAST_FREE = 4  # steps that must be left to plan
CALMER = 0.8  # by which patience is less after each plan that came
RETRY = 0.5  # s after a plan that failed
EARLIER = 8  # steps that the predictor's last image may be older: it observes between predictions

Actions = NDArray[np.float32]


class Rated(NamedTuple):
    """What came of candidates.

    Attributes:
        costs: float [n], of the first n candidates; the rest was left out to keep the deadline.
        stamp_ns: stamp of the image that the rollouts start from.
    """

    costs: NDArray[np.floating]
    stamp_ns: int


class Rater(Protocol):
    """Rates candidates by the futures that they lead to."""

    def __call__(self, candidates: Actions, *, first_ns: int, seconds: float) -> Rated:
        """Costs of ``candidates`` [N, K, A], whose actions begin at ``first_ns`` and then each step.

        Args:
            candidates: in the robot's units.
            first_ns: time of the first action.
            seconds: in which the answer is of use.

        Raises:
            InputError: the predictor refuses, is gone, or sees nothing; the message says why.
        """
        ...


class Plan(NamedTuple):
    """What the robot shall do.

    Attributes:
        first_ns: time of the first action.
        actions: float32 [K, A], one per step: first those that were settled before, so that the plan can replace the last
            one at once.
        fixed: how many these are.
        cost: that the predictor gives it.
        iterations: of the solver.
        seconds: that it took.
        late: whether it was ready after its first own action should have begun.
    """

    first_ns: int
    actions: Actions
    fixed: int
    cost: float
    iterations: int
    seconds: float
    late: bool


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a pilot works on.

    Attributes:
        step_ns: one model step.
        horizon: steps that the predictor looks ahead.
        bounds: of the actions.
        settings: of the solver.
        period: seconds from plan to plan at least.
    """

    step_ns: int
    horizon: int
    bounds: Bounds
    settings: Settings
    period: float


class Pilot:
    """Plans again and again on a thread of its own.

    Args:
        task: what for.
        rate: rates candidates.
        commands: what the robot executes and means to do; plans go in there.
        now_ns: the clock that stamps are of.
        take: gets each plan.
        fail: told why there is none; the robot must be held still then.
        seed: of the samples.
    """

    def __init__(
        self, task: Task, *, rate: Rater, commands: Commands, now_ns: Callable[[], int],
        take: Callable[[Plan], None], fail: Callable[[str], None], seed: int,
    ):  # fmt: skip
        self._task, self._rate, self._commands = task, rate, commands
        self._now_ns, self._take, self._fail = now_ns, take, fail
        self._random = np.random.default_rng(seed)
        self._most = PART * task.horizon * task.step_ns / 1e9  # s
        # s of a plan's longest iteration, if it had rated all candidates
        self._took: deque[float] = deque([self._most / task.settings.iterations], maxlen=REMEMBERED)
        self._patience = 0.0  # s that a plan may take at least, after some that had too little time
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pilot", daemon=True)
        self._warm: Plan | None = None
        self._stamp_ns: int | None = None

    def start(self) -> None:
        """Begin to plan."""
        self._thread.start()

    def stop(self) -> None:
        """End after the rating under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                plan = self.plan()
                if not self._stopping.is_set():
                    self._take(plan)
                pause = self._task.period - (time.monotonic() - began)
                self._patience *= CALMER
            except InputError as error:
                self._warm = None
                self._fail(str(error))
                self._patience = 2.0 * max(self._patience, self._wanted())
                pause = RETRY
            except Exception as error:  # the thread must outlive whatever one plan brings
                self._warm = None
                self._fail(f"{type(error).__name__}: {error}")
                pause = RETRY
            self._stopping.wait(max(0.0, pause))

    def plan(self) -> Plan:
        """A plan from where the robot will be when it is ready.

        Raises:
            InputError: no command or no image yet, a predictor that refuses, or one too slow for its own horizon.
        """
        task, began = self._task, time.monotonic()
        stamp = self._newest_step()
        fixed = self._fixed(stamp)
        settled = self._commands.ahead(stamp, task.step_ns, fixed, hold=True)
        if settled is None:
            raise InputError("action: expected an executed command before the first plan, got none yet")
        first_ns = stamp + DELAY_NS - self._commands.lag_ns  # when what acts in step 1 is commanded
        own_ns = first_ns + fixed * task.step_ns
        end = began + (own_ns - self._now_ns()) / 1e9 - SPARE

        longest = whole = 0.0

        def cost(free: NDArray[np.float32]) -> NDArray[np.float64]:
            nonlocal longest, whole
            asked = time.monotonic()
            before = np.concatenate([executed, settled])
            costs = self._costs(free, before, first_ns=first_ns - EARLIER * task.step_ns, end=end)
            longest = max(longest, time.monotonic() - asked)
            whole = max(whole, (time.monotonic() - asked) * len(costs) / max(1, np.isfinite(costs).sum()))
            return costs

        def stop() -> bool:
            """Whether another iteration would have too little time: it would be refused, and the plan lost."""
            return self._stopping.is_set() or time.monotonic() + ENOUGH * longest >= end

        executed = self._executed(stamp, settled[0])
        free = task.horizon - fixed
        found = task.bounds.search(
            cost,
            before=settled[-1],
            mean=self._warm_start(own_ns, free, settled[-1]),
            settings=task.settings,
            rng=self._random,
            stop=stop,
        )
        took = time.monotonic() - began
        self._took.append(whole)
        self._warm = plan = Plan(
            first_ns=first_ns, actions=np.concatenate([settled, found.actions]), fixed=fixed, cost=found.cost,
            iterations=found.iterations, seconds=took, late=self._now_ns() > own_ns,
        )  # fmt: skip
        stamps = first_ns + task.step_ns * np.arange(len(plan.actions))
        self._commands.set_plan(stamps, plan.actions.astype(np.float64))
        return plan

    def _newest_step(self) -> int:
        """Stamp of the newest image that the predictor should have seen, on the grid of the last one known.

        That is the one before the last: the last may be on its way still, and candidates that begin after it are refused.
        """
        if self._stamp_ns is None:
            held = self._commands.at(self._now_ns())
            if held is None:
                raise InputError("action: expected an executed command before the first plan, got none yet")
            self._rated(held[None, None], first_ns=0, seconds=self._most)
        assert self._stamp_ns is not None
        steps = (self._now_ns() - self._stamp_ns) // self._task.step_ns - 1
        return self._stamp_ns + max(0, steps) * self._task.step_ns

    def _executed(self, stamp: int, unknown: Actions) -> Actions:
        """Commands of the EARLIER steps up to the image of ``stamp``, float32 [EARLIER, A]; before the first one ``unknown``.

        Candidates that begin after the predictor's last image are refused, and that may be an older one.
        """
        found = [self._commands.at(stamp - step * self._task.step_ns) for step in range(EARLIER - 1, -1, -1)]
        return np.stack([unknown if command is None else command for command in found])

    def _wanted(self) -> float:
        """Seconds for a plan: those in which all its iterations rate all their candidates, if it may take so long."""
        return min(self._task.settings.iterations * statistics.median(self._took), self._most)

    def _fixed(self, stamp: int) -> int:
        """Steps after ``stamp`` whose commands act before a plan begun now is ready: as much time as it wants, if there is that.

        A plan that gets less has fewer iterations or candidates; one that gets too little for any is refused by the predictor.
        """
        step, most = self._task.step_ns / 1e9, self._task.horizon - LEAST_FREE
        begins = (self._now_ns() - stamp + self._commands.lag_ns) / 1e9 + SPARE
        if begins > most * step:
            raise InputError(
                f"plan: expected an image of the last {most * step:.1f} s, which leaves {LEAST_FREE} steps of the horizon, the "
                f"newest is {begins:.1f} s old"
            )
        return min(max(1, math.ceil((begins + max(self._wanted(), self._patience)) / step)), most)

    def _warm_start(self, first_ns: int, steps: int, held: Actions) -> Actions:
        """The last plan from ``first_ns`` on; what it does not cover is its last action, or the one in force."""
        if self._warm is None:
            return np.repeat(held[None], steps, axis=0)
        past = round((first_ns - self._warm.first_ns) / self._task.step_ns)
        kept = self._warm.actions[min(max(past, 0), len(self._warm.actions) - 1) :][:steps]
        return np.concatenate([kept, np.repeat(kept[-1:], steps - len(kept), axis=0)])

    def _costs(self, free: Actions, before: Actions, *, first_ns: int, end: float) -> NDArray[np.float64]:
        """Costs of candidates [N, n, A] after what is executed and settled; infinite for those left out."""
        candidates = np.concatenate([np.repeat(before[None], len(free), axis=0), free], axis=1)
        rated = self._rated(candidates.astype(np.float32), first_ns=first_ns, seconds=end - time.monotonic())
        costs = np.full(len(free), np.inf)
        costs[: len(rated.costs)] = rated.costs
        return costs

    def _rated(self, candidates: Actions, *, first_ns: int, seconds: float) -> Rated:
        rated = self._rate(candidates, first_ns=first_ns, seconds=seconds)
        self._stamp_ns = rated.stamp_ns
        return rated
