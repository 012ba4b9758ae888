# SPDX-License-Identifier: Apache-2.0
"""Error intervals: as a slow reference has them, in order, and honest on episodes that they were not fitted to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dd_ros.error_intervals import ErrorIntervals
from dd_ros.errors import InputError
from dd_ros.evaluation.calibration import (
    DROPPED,
    FEWEST_WINDOWS,
    Errors,
    calibrated,
    described,
    in_a_line,
    inside,
    left_out,
    risk_coverage,
    uncertainty_figures,
)


def made_up(windows: int = 60, steps: int = 3, episodes: int = 6, seed: int = 0) -> Errors:
    """Errors that grow with the uncertainty, with a spread of their own."""
    rng = np.random.default_rng(seed)
    uncertainty = np.exp(rng.normal(-1.0, 0.5, (windows, steps)))
    error = 8.0 * uncertainty**0.7 * np.exp(rng.normal(0.0, 0.4, (windows, steps)))
    return Errors(uncertainty, error, np.arange(windows) * episodes // windows)


def slow_quantile(level: float, uncertainty: list[float], error: list[float]) -> tuple[float, float]:
    """Exponent and factor of a quantile of one step, word by word."""
    xs, ys, best = [math.log(u) for u in uncertainty], [math.log(e) for e in error], (math.inf, 0.0, 0.0)
    for exponent in (number / 20 for number in range(41)):
        left = sorted(y - exponent * x for x, y in zip(xs, ys, strict=True))
        count = len(left)
        if level == 0.5:
            height = (left[(count - 1) // 2] + left[count // 2]) / 2
        else:  # the k-th smallest of n has k / (n + 1) of all others below it
            below = [k for k in range(1, count + 1) if k / (count + 1) <= 0.1]
            above = [k for k in range(1, count + 1) if k / (count + 1) >= 0.9]
            height = left[(max(below) if level == 0.1 else min(above)) - 1]
        loss = sum(level * (y - height) if y > height else (1 - level) * (height - y) for y in left)
        best = min(best, (loss, exponent, height))
    return best[1], math.exp(best[2])


@pytest.mark.parametrize("windows", [FEWEST_WINDOWS, 61, 200])
def test_intervals_are_those_of_a_slow_reference(windows: int) -> None:
    errors = made_up(windows)
    found = calibrated(errors)
    for step in range(3):
        for number, level in enumerate((0.1, 0.5, 0.9)):
            exponent, factor = slow_quantile(
                level, errors.uncertainty[:, step].tolist(), errors.error[:, step].tolist()
            )
            assert found.exponents[step][number] == exponent
            assert found.factors[step][number] == pytest.approx(factor, rel=1e-3)
    assert (found.windows, found.episodes) == (windows, 6)


@given(seed=st.integers(0, 1000), sizes=st.lists(st.floats(0.0, 10.0), min_size=2, max_size=20))
def test_intervals_are_ordered_and_grow_with_the_uncertainty(seed: int, sizes: list[float]) -> None:
    intervals = calibrated(made_up(30, steps=1, seed=seed))
    found = intervals.of(np.sort(np.array(sizes, np.float32))[:, None])
    assert found is not None
    assert found.dtype == np.float32
    assert found.shape == (len(sizes), 1, 3)
    assert (np.diff(found, axis=-1) >= 0.0).all()
    assert (np.diff(found, axis=0) >= 0.0).all()
    assert (found > 0.0).all()
    assert (found <= 255.0).all()


def test_where_the_uncertainty_knows_nothing_intervals_do_not_follow_it() -> None:
    errors = made_up()
    against = errors._replace(uncertainty=1.0 / errors.uncertainty)
    same = errors._replace(uncertainty=np.full_like(errors.uncertainty, 0.3))
    for blind in (against, same):
        assert calibrated(blind).exponents == ((0.0, 0.0, 0.0),) * 3


def test_a_fitted_episode_is_never_tested() -> None:
    errors = made_up()
    found = left_out(errors)
    assert found is not None
    for name in range(6):
        own = errors.episodes == name
        np.testing.assert_array_equal(found[own], calibrated(errors.part(~own)).of(errors.uncertainty[own]))
    # an episode that is unlike the others counts as such, whatever its own windows say
    odd = errors._replace(error=np.where((errors.episodes == 2)[:, None], 200.0, errors.error))
    tested = left_out(odd)
    assert tested is not None
    assert not inside(tested, odd.error)[odd.episodes == 2].any()


def test_coverage_is_that_of_new_data_of_the_same_kind() -> None:
    errors = made_up(600, steps=5, episodes=30)
    found = uncertainty_figures(errors, calibrated(made_up(600, steps=5, seed=1)))
    for name in ("checkpoint", "other_episodes"):
        judged = found["intervals"][name]
        assert judged["all"] == pytest.approx(0.8, abs=0.04)
        assert judged["per_step"] == pytest.approx([0.8] * 5, abs=0.08)
        assert judged["by_uncertainty"] == pytest.approx([0.8] * 5, abs=0.08)
        assert judged["above"] == pytest.approx(0.1, abs=0.03)
    assert found["calibrated"]["coverage"] == found["intervals"]["other_episodes"]["all"]
    assert "80% intervals: " in in_a_line(found)


def test_dropping_the_uncertain_frames_leaves_those_of_a_slow_reference() -> None:
    errors = made_up(20, steps=2)
    found = risk_coverage(errors)
    every = sorted(zip(errors.uncertainty.ravel(), errors.error.ravel(), strict=True))
    for index, share in enumerate(DROPPED):
        kept = [error for _, error in every[: 40 - round(40 * share)]]
        assert found["all"][index] == pytest.approx(sum(kept) / len(kept), abs=1e-4)
        columns = []
        for step in range(2):
            pairs = sorted(zip(errors.uncertainty[:, step], errors.error[:, step], strict=True))
            columns += [error for _, error in pairs[: 20 - round(20 * share)]]
        assert found["within_steps"][index] == pytest.approx(sum(columns) / len(columns), abs=1e-4)
    assert found["all"][0] == found["within_steps"][0] == found["best"][0]
    assert all(best <= own for best, own in zip(found["best"], found["within_steps"], strict=True))


def test_the_order_of_windows_at_a_step_is_judged() -> None:
    uncertainty = np.array([[0.1, 0.9], [0.2, 0.8], [0.4, 0.5]])
    error = np.array([[2.0, 8.0], [5.0, 7.0], [25.0, 5.0]])
    found = uncertainty_figures(Errors(uncertainty, error, np.zeros(3, np.int64)), None)
    assert found["rank_correlation"] == [1.0, 1.0]
    assert found["expected"] == pytest.approx([0.7 / 3, 2.2 / 3], abs=1e-4)
    assert uncertainty_figures(Errors(uncertainty, -error, np.zeros(3, np.int64)), None)[
        "rank_correlation"
    ] == [-1.0, -1.0]


def test_one_episode_calibrates_and_says_that_nothing_was_tested() -> None:
    intervals = calibrated(made_up(episodes=1))
    assert intervals.coverage is None
    assert "not tested" in described(intervals)


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected at least 20 windows, got 19; give more bags"):
        calibrated(made_up(FEWEST_WINDOWS - 1))


def test_frames_farther_ahead_than_was_calibrated_have_none() -> None:
    intervals = calibrated(made_up())
    assert intervals.of(np.ones(3, np.float32)) is not None
    assert intervals.of(np.ones(4, np.float32)) is None
    second = intervals.of(np.ones((5, 1), np.float32), first_step=2)
    assert second is not None
    assert second[0, 0] == pytest.approx(intervals.factors[1], rel=1e-6)  # 1 to whatever power
    assert intervals.of(np.ones(2, np.float32), first_step=3) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": ((1.0, 2.0, 3.0),)}, "factors must have 3 rows, got 1"),
        ({"factors": ((0.0, 1.0, 2.0),) * 3}, "greater than 0"),
        ({"exponents": ((-1.0, 0.0, 0.0),) * 3}, "greater than or equal to 0"),
        ({"exponents": ((float("nan"), 0.0, 0.0),) * 3}, "exponents"),
        ({"coverage": 1.5}, "less than or equal to 1"),
    ],
)
def test_intervals_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    entries = calibrated(made_up()).model_dump()
    with pytest.raises(ValidationError, match=message):
        ErrorIntervals.model_validate(entries | changes)
