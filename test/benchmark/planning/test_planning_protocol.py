# SPDX-License-Identifier: Apache-2.0
"""The protocol on true demonstrations, with rows whose result is known."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dd_ros.benchmark.planning.__main__ import main
from dd_ros.benchmark.planning.protocol import allowed, play, run, share, wilson
from dd_ros.benchmark.planning.rows import Demonstrated, NoOp, Oracle, Random, Search, View, rows
from dd_ros.benchmark.planning.tasks import UNMOVED, Demonstration, Drawn, Task, draw, read_demonstrations
from dd_ros.demo.behaviours import Weak
from dd_ros.demo.camera import Camera
from dd_ros.demo.goals import reached
from dd_ros.demo.pusht import HardPusher
from dd_ros.demo.simulate import write_episode
from dd_ros.demo.table import REACH, WORLD, Table, Vector
from dd_ros.errors import InputError
from dd_ros.planning.solvers import Settings

OFFSET, CONTEXT = 10, 3
FEW = Search(Settings(samples=24, iterations=4, elites=5, repeat=5), horizon=OFFSET, executed=OFFSET)


@cache
def demonstrations() -> tuple[Demonstration, ...]:
    return tuple(demonstrated(seed) for seed in range(3))


def demonstrated(seed: int, steps: int = 40) -> Demonstration:
    player = HardPusher(seed)
    images, commands, states = [], [player.world.pusher], []
    for _ in range(steps):
        images.append(player.world.image())
        states.append(player.world.state)
        commands.append(player.step())
    return Demonstration(np.stack(images), np.stack(commands[:-1]), np.stack(states))


def drawn(count: int = 6, seed: int = 0, offset: int = OFFSET) -> Drawn:
    rng = np.random.default_rng(seed)
    return draw(demonstrations(), offset=offset, count=count, context=CONTEXT, rng=rng)


def test_tasks_are_what_the_demonstrations_did() -> None:
    found = drawn(30)
    assert len({(task.episode, task.row) for task in found.tasks}) == 30
    for task in found.tasks:
        shown = demonstrations()[task.episode]
        np.testing.assert_array_equal(task.start, shown.states[task.row])
        np.testing.assert_array_equal(task.goal, shown.states[task.row + OFFSET, :5])
        np.testing.assert_array_equal(task.images[-1], shown.images[task.row])
        np.testing.assert_array_equal(task.goal_image, shown.images[task.row + OFFSET])
        assert len(task.images) == len(task.commands) == CONTEXT
        assert len(task.demonstrated) == OFFSET
        assert np.linalg.norm(task.start[2:4] - task.goal[2:4]) >= UNMOVED
        assert not reached(task.start, task.goal)[0]


def test_pairs_that_need_nothing_are_left_out_and_counted() -> None:
    possible = sum(len(shown.states) - OFFSET - CONTEXT + 1 for shown in demonstrations())
    with pytest.raises(
        InputError, match=rf"expected 1000 pairs 10 steps apart, got \d+ of {possible}"
    ) as told:
        drawn(1000)
    counts = [int(word) for word in str(told.value).replace("(", "").split() if word.isdigit()]
    got, unmoved, solved = counts[2], counts[4], counts[5]
    assert got + unmoved + solved == possible
    pairs = [
        (shown.states[row], shown.states[row + OFFSET])
        for shown in demonstrations()
        for row in range(CONTEXT - 1, len(shown.states) - OFFSET)
    ]
    assert unmoved == sum(bool(np.linalg.norm((a - b)[2:4]) < UNMOVED) for a, b in pairs) > 0


def test_repeating_the_demonstration_solves_its_task() -> None:
    """Which shows that starts are whole: places, angle and the pusher's velocity."""
    result = run(Demonstrated(), [drawn(20)], executed=OFFSET)
    assert result["success"]["mean"] >= 0.9
    late = [solved for solved, _ in result["outcomes"][0] if solved is not None and solved > OFFSET]
    assert not late


def test_doing_nothing_solves_nothing() -> None:
    result = run(NoOp(), [drawn(20)], executed=OFFSET)
    assert result["success"]["mean"] <= 0.1


def test_the_oracle_does_better_than_chance_and_the_seed_decides() -> None:
    tasks = drawn(4)
    oracle, random = (run(row, [tasks], executed=OFFSET) for row in rows(("oracle", "random"), FEW))
    assert oracle["success"]["mean"] > random["success"]["mean"] + 0.3
    again = run(rows(("oracle",), FEW)[0], [tasks], executed=OFFSET)
    assert again["outcomes"] == oracle["outcomes"]


class Watcher:
    """Goes where it is told and keeps what it saw."""

    name = "watcher"

    def __init__(self, command: Vector, length: int):
        self.views: list[View] = []
        self._commands = np.tile(command, (length, 1))

    def begin(self, rng: np.random.Generator) -> None:
        self.views.clear()

    def plan(self, view: View) -> Vector:
        self.views.append(view)
        return self._commands


def test_a_row_is_asked_when_its_plan_is_spent_and_is_shown_what_happened() -> None:
    task = drawn(1).tasks[0]
    row = Watcher(np.array([30.0, 480.0]), 50)
    outcome = play(row, task, executed=8, rng=np.random.default_rng(0))
    assert outcome.solved is None
    assert [view.budget for view in row.views] == [20, 12, 4]
    assert [view.begun for view in row.views] == [0, 8, 16]
    assert len(outcome.seconds) == 3
    np.testing.assert_array_equal(row.views[0].images, task.images)
    np.testing.assert_array_equal(row.views[0].commands, task.commands)
    table, camera = Table(), Camera(96)
    table.place(task.start)
    seen, said = [], []
    for _ in range(8):
        said.append(allowed(table.state, np.array([30.0, 480.0])))
        table.step(said[-1])
        seen.append(camera.image(table))
    second = row.views[1]
    np.testing.assert_array_equal(second.images, seen[-CONTEXT:])
    np.testing.assert_array_equal(second.commands, said[-CONTEXT:])
    np.testing.assert_array_equal(second.truth, table.state)
    np.testing.assert_array_equal(second.pusher, table.state[[0, 1, 5, 6]])


def test_a_short_plan_is_asked_for_again() -> None:
    row = Watcher(np.array([30.0, 480.0]), 5)
    play(row, drawn(1).tasks[0], executed=8, rng=np.random.default_rng(0))
    assert [view.begun for view in row.views] == [0, 5, 10, 15]


def test_success_counts_although_the_plan_would_go_on() -> None:
    shown = demonstrations()[0]
    start = np.array([100.0, 400.0, 350.0, 200.0, 1.0, 0.0, 0.0])
    goal = start[:5] + np.array([65.0, 0, 0, 0, 0])
    task = Task(
        0, 20, start=start, goal=goal, images=shown.images[:2], commands=shown.commands[:2],
        goal_image=shown.images[0], demonstrated=shown.commands[:8],
    )  # fmt: skip
    outcome = play(Watcher(np.array([190.0, 400.0]), 9), task, executed=9, rng=np.random.default_rng(0))
    assert outcome.solved == 2
    assert outcome.block_solved == 0
    away = play(Watcher(np.array([100.0, 490.0]), 9), task, executed=9, rng=np.random.default_rng(0))
    assert away.solved is None
    assert away.block_solved == 0


@pytest.mark.parametrize("command", [[-1e6, 1e6], [1e6, 256.0], [256.0, 256.0]])
def test_no_row_reaches_further_than_another(command: list[float]) -> None:
    state = np.array([40.0, 300.0, 200.0, 200.0, 0.0, 10.0, 10.0])
    found = allowed(state, np.array(command))
    assert (np.abs(found - state[:2]) <= REACH).all()
    assert 0 <= found.min() <= found.max() <= WORLD


@pytest.mark.parametrize("answer", [np.zeros((0, 2)), np.zeros(2), np.full((3, 2), np.nan), np.zeros((3, 3))])
def test_what_is_no_plan_is_named(answer: Vector) -> None:
    class Bad(Watcher):
        def plan(self, view: View) -> Vector:
            return answer

    with pytest.raises(InputError, match="watcher: expected finite commands"):
        play(Bad(np.zeros(2), 1), drawn(1).tasks[0], executed=5, rng=np.random.default_rng(0))


def test_intervals_are_honest_at_the_ends() -> None:
    low, high = wilson(0, 50)
    assert low == 0.0
    assert 0.05 < high < 0.09
    low, high = wilson(50, 50)
    assert 0.91 < low < 0.95
    assert high == 1.0
    np.testing.assert_allclose(wilson(37, 50), (0.604, 0.841), atol=2e-3)
    found = share([[True, False], [True, True]])
    assert (found["mean"], found["by_seed"]) == (0.75, [0.5, 1.0])


def test_random_actions_move_the_pusher_and_stay_on_the_table() -> None:
    row = Random()
    row.begin(np.random.default_rng(0))
    task = drawn(1).tasks[0]
    view = View(
        images=task.images, commands=task.commands, pusher=task.start[[0, 1, 5, 6]], goal_image=task.goal_image,
        goal=task.goal, budget=20, executed=12, truth=task.start, demonstrated=task.demonstrated, begun=0,
    )  # fmt: skip
    commands = row.plan(view)
    assert commands.shape == (12, 2)
    assert 0 <= commands.min() <= commands.max() <= WORLD
    assert np.ptp(commands, axis=0).min() > 20


def test_from_bags_to_figures(tmp_path: Path) -> None:
    for seed in range(2):
        write_episode(tmp_path / f"bags/{seed}", Weak(seed), steps=60, with_state=True)
    (shown,) = read_demonstrations([tmp_path / "bags/0"])
    player = Weak(0)
    for image, state in zip(shown.images, shown.states, strict=True):
        np.testing.assert_array_equal(image, player.world.image())
        turn = state[4] - player.world.state[4]
        assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 1e-5
        np.testing.assert_allclose(np.delete(state, 4), np.delete(player.world.state, 4), atol=1e-3)
        player.step()
    arguments = [
        "--bags",
        str(tmp_path / "bags"),
        "--json",
        str(tmp_path / "f.json"),
        "--table",
        str(tmp_path / "f.md"),
    ]
    arguments += [
        "--row",
        "no-op",
        "--row",
        "oracle-pixels",
        "--offset",
        "5",
        "--seeds",
        "2",
        "--starts",
        "2",
    ]
    arguments += ["--samples", "4", "--iterations", "2", "--elites", "2", "--horizon", "5", "--executed", "5"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "f.json").read_text())
    (offset,) = figures["results"]
    assert [row["row"] for row in offset["rows"]] == ["no-op", "oracle-pixels"]
    assert (offset["tasks"], figures["settings"]["samples"]) == (4, 4)
    assert "| 5 | oracle-pixels |" in (tmp_path / "f.md").read_text()


def test_bags_without_states_are_named(tmp_path: Path) -> None:
    write_episode(tmp_path / "bag", Weak(0), steps=5)
    with pytest.raises(InputError, match="/pusht/state"):
        read_demonstrations([tmp_path / "bag"])


def test_the_oracle_begins_anew_with_each_task() -> None:
    (row,) = rows(("oracle",), FEW)
    assert isinstance(row, Oracle)
    first, second = drawn(2).tasks
    play(row, first, executed=OFFSET, rng=np.random.default_rng(1))
    after = play(row, second, executed=OFFSET, rng=np.random.default_rng(2))
    (fresh,) = rows(("oracle",), FEW)
    alone = play(fresh, second, executed=OFFSET, rng=np.random.default_rng(2))
    assert (after.solved, after.nearest) == (alone.solved, alone.nearest)
