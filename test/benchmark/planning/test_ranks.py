# SPDX-License-Identifier: Apache-2.0
"""The search that knows the simulator, and whether costs rank candidates as it does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dd_ros.benchmark.planning.predicted import (
    Known,
    as_readouts,
    fitting,
    observe,
    simulated_costs,
    true_cost,
)
from dd_ros.benchmark.planning.protocol import run
from dd_ros.benchmark.planning.ranks import (
    SETS,
    candidate_sets,
    compared,
    main,
    mean_of,
    predicted_costs,
)
from dd_ros.benchmark.planning.rows import Search
from dd_ros.benchmark.planning.tasks import Drawn, Task, draw, read_demonstrations
from dd_ros.demo.behaviours import Weak
from dd_ros.demo.simulate import write_episode
from dd_ros.demo.table import Table
from dd_ros.errors import InputError
from dd_ros.planning.costs import Goal, make_cost, rate
from dd_ros.planning.solvers import Settings
from dd_ros.predictor import Predictor

OFFSET = 8


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    for seed in range(3):
        write_episode(folder / f"{seed}", Weak(seed), steps=50, with_state=True)
    return folder


@pytest.fixture(scope="module")
def tasks(bags: Path) -> list[Task]:
    shown = read_demonstrations(sorted(bags.iterdir()))
    return draw(shown, offset=OFFSET, count=4, context=4, rng=np.random.default_rng(0)).tasks


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return fitting(Predictor.load("pusht", "cpu"), OFFSET)


def test_states_become_what_the_checkpoint_reads(predictor: Predictor) -> None:
    state = np.array([[10.0, 20.0, 30.0, 40.0, np.pi / 6, 1.0, 2.0]])
    np.testing.assert_allclose(
        as_readouts(state, predictor), [[10, 20, 30, 40, np.sqrt(0.75), 0.5]], rtol=1e-6
    )


def test_a_checkpoint_that_reads_nothing_is_named(tasks: list[Task], tiny_checkpoint: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected read-outs of pusher_x.*got none; make them with dd_ros readout"
    ):
        as_readouts(tasks[0].goal, Predictor.load(tiny_checkpoint, "cpu"))


@pytest.mark.parametrize("cost", ["pixels", "latents:least", "readouts + 0.1*features"])
def test_a_cost_that_the_simulator_does_not_know_is_named(
    cost: str, tasks: list[Task], predictor: Predictor
) -> None:
    with pytest.raises(InputError, match="expected one of read-outs and actions, which the simulator knows"):
        true_cost(cost, state=tasks[0].goal, image=tasks[0].goal_image, predictor=predictor)


def test_the_true_cost_is_the_distance_to_the_goal_where_it_is_nearest(
    tasks: list[Task], predictor: Predictor
) -> None:
    task = tasks[0]
    cost = true_cost("readouts:least", state=tasks[0].goal, image=tasks[0].goal_image, predictor=predictor)
    actions = np.stack([task.demonstrated, np.repeat(task.commands[-1:], OFFSET, axis=0)]).astype(np.float32)
    found = simulated_costs(cost, actions, table=Table(), state=task.start, predictor=predictor)
    assert found[0] < 1e-4 < found[1]  # the demonstration came there
    assert predictor.config.readouts is not None
    std, table, nearest = np.array(predictor.config.readouts.std), Table(), np.inf
    table.place(task.start)
    for command in actions[1]:
        table.step(command)
        apart = (as_readouts(table.state, predictor) - as_readouts(task.goal, predictor)) / std
        nearest = min(nearest, float(np.square(apart).mean()))
    assert found[1] == pytest.approx(nearest, rel=1e-3)


def test_the_search_that_knows_solves_what_standing_still_does_not(
    tasks: list[Task], predictor: Predictor
) -> None:
    search = Search(Settings(samples=32, iterations=6, elites=6, repeat=4), horizon=OFFSET, executed=OFFSET)
    row = Known("known", predictor, "readouts:least", search)
    result = run(row, [Drawn(tasks, unmoved=0, solved=0)], executed=OFFSET)
    assert result["success"]["mean"] >= 0.75


def test_candidates_are_spread_at_first_and_near_the_goal_at_last(
    tasks: list[Task], predictor: Predictor
) -> None:
    settings = Settings(samples=16, iterations=5, elites=4, repeat=4)
    found = candidate_sets(tasks[0], predictor, settings=settings, rng=np.random.default_rng(0))
    assert tuple(found) == SETS
    (wide, wide_costs), (narrow, narrow_costs) = found.values()
    assert wide.shape == narrow.shape == (16, OFFSET, 2)
    assert wide.std(axis=0).mean() > 2 * narrow.std(axis=0).mean()
    assert np.median(wide_costs) > np.median(narrow_costs)


def test_costs_of_shared_rollouts_are_those_of_each_by_itself(
    tasks: list[Task], predictor: Predictor
) -> None:
    task = tasks[0]
    actions = task.demonstrated[None] + np.array([0.0, 5.0, -9.0])[:, None, None]
    costs = [
        make_cost(name, goal=Goal(image=task.goal_image), predictor=predictor)
        for name in ("readouts:least", "latents:mean", "pixels")
    ]

    def seeded() -> None:
        predictor.seed(3)
        observe(predictor, task.images, task.commands)

    seeded()
    together = predicted_costs(predictor, actions.astype(np.float32), costs)
    for cost, found in zip(costs, together, strict=True):
        seeded()
        np.testing.assert_allclose(found, rate(predictor, actions, cost), rtol=1e-5)


def test_ranks_are_told() -> None:
    true = np.array([3.0, 1.0, 2.0, 4.0, 5.0])
    assert compared(true**3, true) == {"correlation": pytest.approx(1.0), "rank_of_chosen": 0.0}
    assert compared(-true, true) == {"correlation": pytest.approx(-1.0), "rank_of_chosen": 1.0}
    found = compared(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), true)  # differences of ranks 2, 1, 1, 0, 0
    assert found == {"correlation": pytest.approx(1 - 6 * 6 / (5 * 24)), "rank_of_chosen": 0.5}
    assert compared(np.ones(5), true)["correlation"] == 0.0
    assert np.isnan(compared(true, np.ones(5))["correlation"])


def test_means_leave_out_what_cannot_be_ranked() -> None:
    found = mean_of(np.array([0.5, np.nan, 0.7]))
    assert (found["mean"], found["count"]) == (0.6, 2)
    half = 1.96 * np.std([0.5, 0.7], ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(found["interval"], [0.6 - half, 0.6 + half], atol=1e-3)
    assert mean_of(np.array([np.nan])) == {"mean": None, "interval": None, "count": 0}


def test_from_bags_to_a_table(bags: Path, tmp_path: Path) -> None:
    arguments = [
        "--bags",
        str(bags),
        "--checkpoint",
        "pusht",
        "--starts",
        "2",
        "--samples",
        "6",
        "--horizon",
        "4",
    ]
    arguments += ["--iterations", "2", "--json", str(tmp_path / "r.json"), "--table", str(tmp_path / "r.md")]
    arguments += ["--offset", str(OFFSET), "--cost", "readouts:least", "--cost", "latents:least"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "r.json").read_text())
    assert set(figures["costs"]) == {"readouts:least", "latents:least"}
    assert figures["costs"]["latents:least"]["all"]["correlation"]["count"] == 2
    assert (tmp_path / "r.md").read_text().count("\n") == 4
