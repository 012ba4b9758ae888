# SPDX-License-Identifier: Apache-2.0
"""Executed commands, the plan and the last command held, on one time line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dd_ros.data.commands import ActionBuffer, Commands, JoinedActions
from dd_ros.errors import InputError

STEP = 100_000_000
NOW = 1_700_000_000_000_000_000


@pytest.fixture
def commands() -> Commands:
    commands = Commands((1,))
    commands.push(NOW - STEP, np.array([1.0]))
    commands.push(NOW, np.array([2.0]))
    return commands


def row(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else values[:, 0].tolist()


def test_without_a_plan_the_last_command_is_held_or_nothing_is_known(commands: Commands) -> None:
    assert row(commands.ahead(NOW, STEP, 3, hold=True)) == [2.0, 2.0, 2.0]
    assert commands.ahead(NOW, STEP, 3, hold=False) is None


def test_the_plan_counts_from_its_start_and_its_end_is_held(commands: Commands) -> None:
    commands.set_plan([NOW + 2 * STEP, NOW + 3 * STEP], np.array([[5.0], [6.0]]))
    assert row(commands.ahead(NOW, STEP, 5, hold=True)) == [2.0, 5.0, 6.0, 6.0, 6.0]
    assert commands.ahead(NOW, STEP, 5, hold=False) is None, "the first step is in no plan"
    assert row(commands.ahead(NOW + STEP, STEP, 2, hold=False)) == [5.0, 6.0]


def test_what_was_executed_comes_before_what_was_planned(commands: Commands) -> None:
    commands.set_plan([NOW + STEP, NOW + 2 * STEP], np.array([[5.0], [6.0]]))
    commands.push(NOW + STEP, np.array([3.0]))
    assert row(commands.ahead(NOW, STEP, 3, hold=True)) == [3.0, 6.0, 6.0]


def test_a_plan_that_is_over_counts_no_more(commands: Commands) -> None:
    commands.set_plan([NOW - 3 * STEP, NOW - 2 * STEP], np.array([[5.0], [6.0]]))
    assert row(commands.ahead(NOW, STEP, 2, hold=True)) == [2.0, 2.0]


def test_linear_plans_are_interpolated() -> None:
    commands = Commands((1,), mode="linear")
    commands.set_plan([NOW, NOW + 4 * STEP], np.array([[0.0], [4.0]]))
    assert row(commands.ahead(NOW, STEP, 5, hold=False)) == [1.0, 2.0, 3.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1.0, 2.0]], "expected 1 action values, got 2"),
        ([[np.nan]], "NaN"),
        ([[np.inf]], "inf"),
        ([[-3.5e38]], "fit float32"),
    ],
)
def test_a_bad_plan_is_refused_and_the_old_one_stays(commands: Commands, values: list, words: str) -> None:
    commands.set_plan([NOW + STEP, NOW + 2 * STEP], np.array([[5.0], [6.0]]))
    with pytest.raises(InputError, match=f"plan: .*{words}"):
        commands.set_plan([NOW + STEP], np.array(values))
    assert row(commands.ahead(NOW, STEP, 2, hold=True)) == [5.0, 6.0]


def test_an_empty_plan_is_refused(commands: Commands) -> None:
    with pytest.raises(InputError, match="at least one action"):
        commands.set_plan([], np.zeros((0, 1)))


def test_a_reset_clock_forgets_the_time_before_but_not_what_came_after_it(commands: Commands) -> None:
    commands.on_time_jump(NOW - 100 * STEP)
    assert commands.at(NOW) is None
    commands.push(NOW - 100 * STEP, np.array([7.0]))
    commands.on_time_jump(NOW - 100 * STEP)
    assert commands.at(NOW - 99 * STEP) == pytest.approx([7.0])


def test_waiting_ends_with_the_command(commands: Commands) -> None:
    commands.wait_newer(NOW, timeout=60.0)  # there already
    commands.wait_newer(NOW + STEP, timeout=0.0)
    assert commands.newest_ns == NOW


def test_commands_that_overflow_float32_are_refused(commands: Commands) -> None:
    with pytest.raises(InputError, match=r"action: expected action values that fit float32 .*got 1e\+300"):
        commands.push(NOW + STEP, np.array([1e300]))
    assert commands.newest_ns == NOW


def test_a_long_plan_is_kept_whole(commands: Commands) -> None:
    stamps = NOW + STEP * np.arange(200_000)
    commands.set_plan(stamps, np.arange(200_000.0)[:, None])
    assert row(commands.ahead(NOW, STEP, 3, hold=False)) == [1.0, 2.0, 3.0]
    assert row(commands.ahead(NOW + 150_000 * STEP, STEP, 2, hold=False)) == [150_001.0, 150_002.0]
    assert row(commands.ahead(NOW + 199_998 * STEP, STEP, 2, hold=False)) == [199_999.0, 199_999.0]


def test_a_plan_in_any_order_is_sorted(commands: Commands) -> None:
    order = np.random.default_rng(0).permutation(5000)
    commands.set_plan(NOW + STEP * order, order.astype(float)[:, None])
    assert row(commands.ahead(NOW, STEP, 4000, hold=False)) == list(range(1, 4001))


@pytest.mark.parametrize("mode", ["hold", "linear"])
def test_of_planned_commands_for_one_time_the_later_counts(mode: str) -> None:
    commands = Commands((1,), mode)
    stamps = [NOW, NOW + 2 * STEP, NOW + 2 * STEP, NOW]
    commands.set_plan(stamps, np.array([[1.0], [2.0], [3.0], [5.0]]))
    assert row(commands.ahead(NOW - STEP, STEP, 3, hold=False)) == [
        5.0,
        4.0 if mode == "linear" else 5.0,
        3.0,
    ]


def test_why_there_is_no_command_for_a_step(commands: Commands) -> None:
    def why() -> str:
        assert commands.ahead(NOW, STEP, 3, hold=False) is None
        return commands.gap(NOW, STEP)

    assert why() == "got no plan"
    commands.set_plan([NOW + 12 * STEP, NOW + 20 * STEP], np.zeros((2, 1)))
    assert why() == "got a plan that begins later: 1.1 s after the first step without a command"
    commands.push(NOW + STEP, np.array([3.0]))
    assert why() == "got a plan that begins later: 1.0 s after the first step without a command"
    commands.set_plan([NOW - 30 * STEP, NOW - 20 * STEP], np.zeros((2, 1)))
    assert why() == "got a plan that is over: its last command began 2.0 s before the image"
    commands.set_plan([NOW - 30 * STEP, NOW + STEP], np.ones((2, 1)))
    assert row(commands.ahead(NOW, STEP, 3, hold=False)) == [3.0, 1.0, 1.0], "the last one stays in force"


@given(
    lag=st.integers(-20, 20).map(lambda tenths: tenths * STEP // 10),
    executed=st.lists(st.integers(-30, 10), min_size=1, max_size=20, unique=True),
    planned=st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True),
    mode=st.sampled_from(["hold", "linear"]),
    hold=st.booleans(),
)
def test_a_lag_is_as_if_all_commands_executed_and_planned_had_come_later(
    lag: int, executed: list[int], planned: list[int], mode: str, hold: bool
) -> None:
    lagging, later = Commands((1,), mode, lag_ns=lag), Commands((1,), mode)
    for commands, shift in ((lagging, 0), (later, lag)):
        for tenths in executed:
            commands.push(NOW + tenths * STEP // 10 + shift, np.array([float(tenths)]))
        stamps = [NOW + tenths * STEP // 10 + shift for tenths in planned]
        commands.set_plan(stamps, np.array(planned, float)[:, None])
    assert row(lagging.ahead(NOW, STEP, 8, hold=hold)) == row(later.ahead(NOW, STEP, 8, hold=hold))
    assert lagging.gap(NOW, STEP) == later.gap(NOW, STEP)
    assert lagging.silent(NOW) == later.silent(NOW)
    assert lag < 0 or lagging.at(NOW) == later.at(NOW)


def test_a_command_that_only_the_future_knows_is_the_planned_one_or_the_last() -> None:
    commands = Commands((1,), lag_ns=-STEP)
    commands.push(NOW - STEP, np.array([1.0]))
    assert commands.at(NOW) == pytest.approx([1.0]), "the last one is held"
    commands.set_plan([NOW, NOW + STEP, NOW + 2 * STEP], np.array([[4.0], [5.0], [6.0]]))
    assert commands.at(NOW) == pytest.approx([5.0]), "what is meant to be in a step"
    commands.push(NOW + STEP, np.array([2.0]))
    assert commands.at(NOW) == pytest.approx([2.0])


@pytest.mark.parametrize(("lag", "stamp"), [(0, NOW), (2 * STEP, NOW + 2 * STEP), (-2 * STEP, NOW)])
def test_nobody_waits_for_a_command_from_the_future(lag: int, stamp: int) -> None:
    commands = Commands((1,), lag_ns=lag)
    commands.push(NOW, np.array([2.0]))
    commands.wait_newer(stamp, timeout=60.0)


def test_values_that_are_no_commands_have_no_lag() -> None:
    buffer = ActionBuffer(2)
    for step in range(5):
        buffer.push(NOW + step * STEP, [float(step), 10.0 * step])
    joined = JoinedActions([buffer], lag_ns=2 * STEP, measured=[1])
    assert joined.at(NOW + 3 * STEP) == pytest.approx([1.0, 30.0])
    assert joined.at(NOW + STEP) is None
    early = JoinedActions([buffer], lag_ns=-2 * STEP, measured=[1])
    assert early.at(NOW + STEP) == pytest.approx([3.0, 10.0])
    assert early.at(NOW - STEP) is None
