# SPDX-License-Identifier: Apache-2.0
"""Plans begin where the robot will be, keep to the bounds, and get there; what is missing is said."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dd_ros.data.commands import Commands
from dd_ros.errors import InputError
from dd_ros.live.pilot import DELAY_NS, EARLIER, LEAST_FREE, Pilot, Plan, Rated, Task
from dd_ros.planning.bounds import Bounds
from dd_ros.planning.solvers import ICEM, Settings

STEP = 100_000_000
START = 1_700_000_000_000_000_000
TARGET = np.array([3.0, -2.0])


class Table:
    """A robot whose place is its command, and a clock that goes on when it is told to.

    Rates candidates by how far they end from the target, as a predictor that knows everything would.
    """

    def __init__(
        self, change: float | None = 0.5, horizon: int = 16, settings: Settings = ICEM, lag_ns: int = 0
    ):
        self.now, self.horizon = START, horizon
        self.commands = Commands([2], lag_ns=lag_ns)
        self.asked: list[np.ndarray] = []
        self.most = 10_000
        self.failures: list[str] = []
        self.plans: list[Plan] = []
        self.least_seconds = 0.0  # that a rating must have
        self.seconds = 0.0  # that it takes
        self.behind = 0  # steps that the predictor's last image is older than the newest
        bounds = Bounds(
            low=np.full(2, -4.0, np.float32), high=np.full(2, 4.0, np.float32),
            change=None if change is None else np.full(2, change, np.float32),
        )  # fmt: skip
        task = Task(step_ns=STEP, horizon=horizon, bounds=bounds, settings=settings, period=0.0)
        self.pilot = Pilot(
            task, rate=self.rate, commands=self.commands, now_ns=lambda: self.now, take=self.plans.append,
            fail=self.failures.append, seed=0,
        )  # fmt: skip

    def rate(self, candidates: np.ndarray, *, first_ns: int, seconds: float) -> Rated:
        if len(candidates) > 1 and seconds < self.least_seconds:
            raise InputError("deadline: expected more time")
        time.sleep(self.seconds)
        stamp = self.now - (self.now - START) % STEP - self.behind * STEP
        if first_ns > stamp + STEP - self.commands.lag_ns:
            raise InputError("candidates[0]: expected actions from one model step after the last image")
        self.asked.append(candidates)
        costs = np.square(candidates[: self.most, -1] - TARGET).sum(axis=-1)
        return Rated(costs, stamp)

    def execute(self, steps: int) -> None:
        """Let the plan act for some steps."""
        for _ in range(steps):
            stamp = self.now - (self.now - START) % STEP
            action = self.commands.ahead(stamp, STEP, 1, hold=True)
            assert action is not None
            self.commands.push(stamp + DELAY_NS, action[0].astype(np.float64))
            self.now += STEP

    def place(self) -> np.ndarray:
        found = self.commands.at(self.now)
        assert found is not None
        return found


@pytest.fixture
def table() -> Table:
    table = Table()
    table.commands.push(START + DELAY_NS, np.zeros(2))
    table.now += STEP
    return table


def test_plans_made_on_the_way_lead_to_the_target(table: Table) -> None:
    for _ in range(12):
        table.pilot.plan()
        table.execute(3)
    assert np.abs(table.place() - TARGET).max() < 0.2


def test_a_plan_begins_with_what_is_under_way(table: Table) -> None:
    first = table.pilot.plan()
    table.execute(2)
    table.now += STEP // 3  # between two images
    second = table.pilot.plan()
    skipped = (second.first_ns - first.first_ns) // STEP
    assert second.first_ns == START + 2 * STEP + DELAY_NS  # the image of START + 3 * STEP may be on its way
    assert second.fixed >= 1
    assert np.array_equal(second.actions[: second.fixed], first.actions[skipped : skipped + second.fixed])
    for candidates in table.asked[-4:]:
        assert (candidates[:, EARLIER:][:, : second.fixed] == second.actions[: second.fixed]).all()
        assert candidates.shape[1:] == (EARLIER + 16, 2)


@pytest.mark.parametrize("behind", range(EARLIER))
def test_a_predictor_that_observes_late_gets_the_executed_commands_too(table: Table, behind: int) -> None:
    table.pilot.plan()
    for number in range(10):
        table.commands.push(table.now + DELAY_NS, np.full(2, float(number)))
        table.now += STEP
    table.behind = behind
    first = table.pilot.plan()
    known = table.asked[-1][0, :EARLIER, 0]
    assert np.array_equal(np.diff(known), np.ones(EARLIER - 1)), "as they were executed, in order"
    assert not table.failures
    assert first.actions.shape == (16, 2)


@pytest.mark.parametrize("lag", [2, -1])
def test_what_acts_later_is_sent_earlier(table: Table, lag: int) -> None:
    late = Table(lag_ns=lag * STEP)
    late.commands.push(START + DELAY_NS - 10 * STEP, np.full(2, 3.0))
    late.commands.push(START + DELAY_NS, np.zeros(2))
    late.now += STEP
    ready, plan = table.pilot.plan(), late.pilot.plan()
    assert plan.first_ns == ready.first_ns - lag * STEP
    assert plan.fixed == max(1, ready.fixed + lag), "what was sent acts for so many steps more"
    assert len(plan.actions) == 16
    if lag > 0:
        assert plan.actions[0].tolist() == [3.0, 3.0], "under way when the image was taken"
        assert not plan.actions[lag : plan.fixed].any()
    assert not plan.late


def test_actions_and_their_changes_stay_in_bounds(table: Table) -> None:
    plans: list[Plan] = []
    for _ in range(6):
        plans.append(table.pilot.plan())
        table.execute(4)
    for candidates in (*table.asked[1:], *(plan.actions[None] for plan in plans)):
        assert (np.abs(candidates) <= 4.0).all()
        assert (np.abs(np.diff(candidates, axis=1)) <= 0.5 + 1e-5).all()


def test_without_a_bound_on_changes_a_plan_may_jump() -> None:
    table = Table(change=None)
    table.commands.push(START + DELAY_NS, np.zeros(2))
    table.now += STEP
    plan = table.pilot.plan()
    assert np.abs(np.diff(plan.actions, axis=0)).max() > 0.5


def test_candidates_left_out_never_win(table: Table) -> None:
    table.most = 3
    plan = table.pilot.plan()
    rated = np.concatenate([candidates[:3] for candidates in table.asked[1:]])
    assert any(np.allclose(plan.actions, candidate[EARLIER:]) for candidate in rated)


def test_the_last_plan_is_where_the_next_search_begins(table: Table) -> None:
    first = table.pilot.plan()
    table.execute(2)
    table.pilot.plan()
    skipped, fixed = 1, 16 - first.fixed
    warm = table.asked[-ICEM.iterations][0]  # the mean is the first candidate
    assert np.allclose(
        warm[EARLIER:][: 16 - skipped][-fixed + skipped :],
        first.actions[skipped:][-fixed + skipped :],
        atol=1e-5,
    )


def test_without_a_command_there_is_no_plan() -> None:
    with pytest.raises(InputError, match="action: expected an executed command before the first plan"):
        Table().pilot.plan()


def test_images_too_old_to_plan_from_are_said() -> None:
    table = Table(horizon=LEAST_FREE + 1)
    table.commands.push(START + DELAY_NS, np.zeros(2))
    table.now += STEP + 7 * STEP // 10
    with pytest.raises(InputError, match=r"expected an image of the last 0\.1 s"):
        table.pilot.plan()


def test_a_machine_too_slow_for_all_iterations_plans_with_fewer_for_ever() -> None:
    """The time that a plan used is not what it needs: it used all that there was."""
    table = Table(settings=Settings(samples=4, elites=2, iterations=1000))
    table.commands.push(START + DELAY_NS, np.zeros(2))
    table.now += STEP
    table.seconds = 0.3
    for _ in range(4):
        plan = table.pilot.plan()
        assert plan.iterations >= 1
        assert len(plan.actions) - plan.fixed >= LEAST_FREE
        table.execute(3)


def test_candidates_that_were_left_out_count_as_time(table: Table) -> None:
    table.seconds = 0.02
    whole = [table.pilot.plan().fixed for _ in range(3)][-1]
    table.most = 2
    some = [table.pilot.plan().fixed for _ in range(9)][-1]
    assert whole < some <= 16 / 2, "no more than leaves half of the horizon to plan"


def test_its_thread_goes_on_after_a_failure_and_says_why() -> None:
    table = Table()
    table.pilot.start()
    table.pilot.stop()
    assert table.failures
    assert "expected an executed command" in table.failures[0]


def test_plans_that_had_too_little_time_get_more(table: Table) -> None:
    table.least_seconds = 0.9
    table.pilot.start()
    end = time.monotonic() + 60.0
    while not table.plans and time.monotonic() < end:
        time.sleep(0.01)
    table.pilot.stop()
    assert "deadline: expected more time" in table.failures
    assert table.plans[0].fixed >= 9


def test_an_iteration_that_there_is_no_time_for_is_not_begun() -> None:
    table = Table(settings=Settings(samples=4, elites=2, iterations=1000))
    table.commands.push(START + DELAY_NS, np.zeros(2))
    table.now += STEP
    table.least_seconds, table.seconds = 0.12, 0.15
    plan = table.pilot.plan()  # a refusal would end it
    assert 1 <= plan.iterations < 10
