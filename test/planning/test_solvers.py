# SPDX-License-Identifier: Apache-2.0
"""Searches whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dd_ros.errors import InputError
from dd_ros.planning.solvers import CEM, ICEM, Actions, Cost, Settings, Solution, coloured, shifted, solve

HORIZON = 6
GOAL = np.linspace(-0.8, 0.6, 2 * HORIZON).reshape(HORIZON, 2)


def quadratic(goal: np.ndarray) -> Cost:
    return lambda actions: ((actions - goal) ** 2).sum((1, 2))


def search(cost: Cost, seed: int = 0, **options: object) -> Solution:
    arguments: dict[str, object] = {"horizon": HORIZON, "low": [-1, -1], "high": [1, 1]} | options
    return solve(cost=cost, rng=np.random.default_rng(seed), **arguments)  # type: ignore[arg-type]


# Smooth noise and kept elites narrow the search down before it is at the very least.
@pytest.mark.parametrize(("kind", "within"), [(CEM, 0.05), (ICEM, 0.15)], ids=["cem", "icem"])
def test_the_least_of_a_quadratic_is_found(kind: Settings, within: float) -> None:
    found = search(
        quadratic(GOAL), settings=replace(kind, samples=300, iterations=30, elites=60, least_noise=0.0)
    )
    np.testing.assert_allclose(found.actions, GOAL, atol=within)
    np.testing.assert_allclose(found.cost, ((found.actions - GOAL) ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(found.mean, GOAL, atol=within)
    assert (found.iterations, found.evaluated) == (30, 9000)
    assert found.actions.dtype == np.float32


@pytest.mark.parametrize("kind", [CEM, ICEM], ids=["cem", "icem"])
def test_a_goal_out_of_bounds_is_approached_as_far_as_they_go(kind: Settings) -> None:
    high = np.array([0.3, 0.1])
    found = search(quadratic(GOAL), high=high, settings=replace(kind, samples=200, iterations=30, elites=30))
    np.testing.assert_allclose(found.actions, np.minimum(GOAL, high), atol=0.1)
    np.testing.assert_allclose(found.actions[-1], high, atol=1e-2)


def test_coloured_noise_finds_smooth_sequences_sooner() -> None:
    goal = 0.8 * np.sin(np.linspace(0, np.pi, 40))[:, None] * [1.0, -1.0]
    costs = {
        colour: [
            search(quadratic(goal), seed, horizon=40, settings=Settings(iterations=5, colour=colour)).cost
            for seed in range(10)
        ]
        for colour in (0.0, 2.0)
    }
    assert np.mean(costs[2.0]) < 0.8 * np.mean(costs[0.0])


def test_kept_elites_never_let_the_best_of_an_iteration_get_worse() -> None:
    best: list[float] = []

    def cost(actions: Actions) -> np.ndarray:
        costs = quadratic(GOAL)(actions)
        best.append(float(np.min(costs)))
        return np.asarray(costs)

    found = search(cost, settings=replace(ICEM, samples=12, elites=4, keep=0.5))
    assert found.cost == min(best)
    assert len(best) == ICEM.iterations


def test_a_warm_start_is_a_candidate_itself() -> None:
    few = Settings(samples=8, elites=2, iterations=1)
    assert search(quadratic(GOAL), mean=GOAL, settings=few).cost < 1e-12
    assert search(quadratic(GOAL), settings=few).cost > 0.1


def test_blocks_are_of_equal_actions_and_the_last_may_be_shorter() -> None:
    seen = []

    def cost(actions: Actions) -> np.ndarray:
        seen.append(actions)
        return np.abs(actions).sum((1, 2))

    found = search(
        cost, horizon=8, settings=Settings(repeat=3), mean=np.repeat([[0.1], [0.2]], 4, 0) * [1, 1]
    )
    for actions in (*seen, found.actions[None], found.mean[None]):
        assert actions.shape[1:] == (8, 2)
        for start in (0, 3, 6):
            block = actions[:, start : start + 3]
            np.testing.assert_array_equal(block, np.broadcast_to(block[:, :1], block.shape))
    np.testing.assert_allclose(
        seen[0][0][:, 0], [0.1] * 3 + [(0.1 + 0.2 + 0.2) / 3] * 3 + [0.2] * 2, rtol=1e-6
    )


def test_it_ends_between_iterations_with_the_best_so_far() -> None:
    calls = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == 3

    found = search(quadratic(GOAL), stop=stop)
    assert (found.iterations, found.evaluated) == (3, 3 * CEM.samples)
    assert search(quadratic(GOAL), stop=lambda: True).iterations == 1
    np.testing.assert_array_equal(
        found.actions, search(quadratic(GOAL), settings=replace(CEM, iterations=3)).actions
    )


def test_the_seed_decides() -> None:
    first, again, other = (search(quadratic(GOAL), seed).actions for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_cost_that_is_not_finite_never_wins(bad: float) -> None:
    def cost(actions: Actions) -> np.ndarray:
        costs = quadratic(GOAL)(actions)
        return np.where(actions[:, 0, 0] < 0.0, bad, costs)

    found = search(cost)
    assert found.actions[0, 0] >= 0.0
    assert np.isfinite(found.cost)


def test_costs_of_which_none_is_finite_are_refused() -> None:
    with pytest.raises(InputError, match="cost: none of 64 candidates has a finite one"):
        search(lambda actions: np.full(len(actions), np.nan))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": [1.0, 0.0], "high": [0.0, 1.0]}, "low not above high"),
        ({"low": [np.nan, 0.0]}, "finite bounds"),
        ({"high": [1.0]}, "one bound per number of an action"),
        ({"horizon": 0}, "horizon: expected 1 or more"),
        ({"mean": np.zeros((HORIZON, 3))}, r"mean: expected shape \[6, 2\], got \[6, 3\]"),
        ({"mean": np.full((HORIZON, 2), np.nan)}, "mean: expected finite"),
        ({"previous": [0.0]}, r"previous: expected shape \[2\]"),
        ({"max_change": -0.1}, "max_change: expected 0 or more"),
    ],
)
def test_bad_input_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        search(quadratic(GOAL), **options)


def test_costs_of_another_shape_are_named() -> None:
    with pytest.raises(InputError, match=r"one number for each of 64 candidates, got shape \(64, 6, 2\)"):
        search(lambda actions: actions)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "samples: expected 1 or more"),
        ({"elites": 65}, "elites: expected at most 64"),
        ({"keep": 1.5}, "keep: expected 0 to 1"),
        ({"noise": float("nan")}, "noise: expected 0 to 10"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_bad_settings_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CEM, **values)  # type: ignore[arg-type]


number = st.floats(-1e4, 1e4, width=32)
pairs = st.tuples(number, number).map(sorted)


@settings(max_examples=150, deadline=None)
@given(
    bounds=st.lists(pairs, min_size=1, max_size=3),
    horizon=st.integers(1, 9),
    repeat=st.integers(1, 4),
    kind=st.sampled_from([CEM, ICEM]),
    noise=st.floats(0.0, 10.0),
    change=st.none() | st.floats(0.0, 1e4),
    with_previous=st.booleans(),
    warm=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_that_is_tried_keeps_to_the_bounds(
    bounds: list[list[float]], horizon: int, repeat: int, kind: Settings, noise: float, change: float | None,
    with_previous: bool, warm: bool, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    low, high = np.array(bounds).T
    previous = rng.uniform(-2e4, 2e4, len(low)) if with_previous else None
    seen = []

    def cost(actions: Actions) -> np.ndarray:
        seen.append(actions.copy())
        return rng.normal(size=len(actions))

    found = solve(
        cost=cost, horizon=horizon, low=low, high=high, rng=rng, previous=previous, max_change=change,
        settings=replace(kind, samples=7, elites=3, iterations=3, repeat=repeat, noise=noise),
        mean=rng.uniform(-2e4, 2e4, (horizon, len(low))) if warm else None,
    )  # fmt: skip
    for actions in (*seen, found.actions[None], found.mean[None]):
        assert (actions >= low).all()
        assert (actions <= high).all()
        if change is not None:
            if previous is not None:
                first = np.broadcast_to(np.clip(previous, low, high), (len(actions), 1, len(low)))
                actions = np.concatenate([first, actions], axis=1)
            assert (np.abs(np.diff(actions.astype(float), axis=1)) <= change + 1e-6 * 2e4).all()


def test_bounds_that_float32_cannot_hold_are_kept_all_the_same() -> None:
    low, high = 0.1, np.nextafter(0.1, 1) + 1e-7
    found = search(lambda actions: actions.sum((1, 2)), low=low, high=high)
    assert low <= float(found.actions.min()) <= float(found.actions.max()) <= high


def test_a_warm_start_goes_on_with_the_last_action() -> None:
    actions = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(shifted(actions, 1), actions[[1, 2, 3, 3]])
    np.testing.assert_array_equal(shifted(actions, 9), actions[[3, 3, 3, 3]])


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_coloured_noise_has_unit_variance_and_its_neighbours_agree(power: float, steps: int) -> None:
    noise = coloured((4000, steps, 2), power, np.random.default_rng(0))
    assert noise.shape == (4000, steps, 2)
    np.testing.assert_allclose(noise.var(axis=0), 1.0, atol=0.12)
    if steps == 16:
        neighbours = (noise[:, 1:] * noise[:, :-1]).mean()
        assert (neighbours > 0.3) == (power > 0)
