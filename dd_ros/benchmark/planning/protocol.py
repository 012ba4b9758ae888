# SPDX-License-Identifier: Apache-2.0
"""Rows at work on tasks, and what came of it.

The protocol of stable-worldmodel's PushT: the goal is a demonstration's state some steps (offset) after the start, the
budget is twice as many steps, success at any step counts. What differs there: targets beyond the table are
moved to its edge, and pairs that need nothing done are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dd_ros.benchmark.planning.rows import Row, View
from dd_ros.benchmark.planning.tasks import Drawn, Task
from dd_ros.demo.camera import Camera
from dd_ros.demo.goals import away, reached
from dd_ros.demo.pusht import IMAGE_SIZE
from dd_ros.demo.table import REACH, WORLD, Table, Vector, pusher_of
from dd_ros.errors import InputError

Z = 1.96  # of a 95% interval


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        solved: steps after which pusher and block were at the goal; None: never.
        block_solved: steps after which the block was.
        nearest: least distance of pusher and block to the goal, units.
        left: distance of the block at the end, units.
        turned: of its angle, rad.
        seconds: that each plan took.
    """

    solved: int | None
    block_solved: int | None
    nearest: float
    left: float
    turned: float
    seconds: tuple[float, ...]


def play(row: Row, task: Task, *, executed: int, rng: np.random.Generator) -> Outcome:
    """Let ``row`` work on ``task`` until it is solved or the budget is spent."""
    table, camera = Table(), Camera(IMAGE_SIZE)
    table.place(task.start)
    images, commands = list(task.images), list(task.commands)
    budget, context = 2 * len(task.demonstrated), len(task.images)
    ahead: list[Vector] = []
    seconds: list[float] = []
    block_solved: int | None = 0 if reached(task.start, task.goal)[1] else None
    nearest = np.inf
    solved = None
    row.begin(rng)
    for step in range(budget):
        if not ahead:
            view = View(
                images=np.stack(images), commands=np.stack(commands), pusher=pusher_of(table.state),
                goal_image=task.goal_image, goal=task.goal, budget=budget - step, executed=executed,
                truth=table.state, demonstrated=task.demonstrated, begun=step,
            )  # fmt: skip
            began = time.perf_counter()
            ahead = list(_plan(row, view)[:executed])
            seconds.append(time.perf_counter() - began)
        command = allowed(table.state, ahead.pop(0))
        table.step(command)
        images, commands = [*images, camera.image(table)][-context:], [*commands, command][-context:]
        whole, block = reached(table.state, task.goal)
        nearest = min(nearest, float(away(table.state, task.goal)[0]))
        if block and block_solved is None:
            block_solved = step + 1
        if whole:
            solved = step + 1
            break
    _, left, turned = away(table.state, task.goal)
    return Outcome(solved, block_solved, nearest, float(left), float(turned), tuple(seconds))


def allowed(state: Vector, command: Vector) -> Vector:
    """``command`` [2] moved to where the pusher of ``state`` may be told to go: within REACH of it, on the table."""
    return np.clip(np.clip(command, state[:2] - REACH, state[:2] + REACH), 0.0, WORLD)


def _plan(row: Row, view: View) -> Vector:
    commands = np.asarray(row.plan(view), dtype=float)
    if commands.ndim != 2 or commands.shape[1] != 2 or not len(commands) or not np.isfinite(commands).all():
        raise InputError(f"{row.name}: expected finite commands [1 or more, 2], got shape {commands.shape}")
    return commands


def run(
    row: Row, seeds: Sequence[Drawn], *, executed: int, told: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Let ``row`` work on the tasks of each seed.

    Args:
        row: the planner.
        seeds: tasks by seed.
        executed: steps of a plan that are run before the next one.
        told: takes a line after each seed.

    Returns:
        Shares of solved tasks with intervals, and errors, ready for JSON.
    """
    outcomes: list[list[Outcome]] = []
    for seed, drawn in enumerate(seeds):
        outcomes.append(
            [
                play(row, task, executed=executed, rng=np.random.default_rng([seed, number]))
                for number, task in enumerate(drawn.tasks)
            ]
        )
        solved = sum(outcome.solved is not None for outcome in outcomes[-1])
        told(f"{row.name}, seed {seed}: {solved} of {len(drawn.tasks)}")
    together = [outcome for part in outcomes for outcome in part]
    taken = [second for outcome in together for second in outcome.seconds]
    return {
        "row": row.name,
        "success": share([[outcome.solved is not None for outcome in part] for part in outcomes]),
        "block_success": share([[outcome.block_solved is not None for outcome in part] for part in outcomes]),
        "block_left_median": round(float(np.median([outcome.left for outcome in together])), 1),
        "degrees_left_median": round(
            float(np.degrees(np.median([outcome.turned for outcome in together]))), 1
        ),
        "nearest_median": round(float(np.median([outcome.nearest for outcome in together])), 1),
        "plans_mean": round(float(np.mean([len(outcome.seconds) for outcome in together])), 2),
        "plan_seconds_median": round(float(np.median(taken)), 3),
        "outcomes": [[[outcome.solved, outcome.block_solved] for outcome in part] for part in outcomes],
    }


def share(successes: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """Share of successes, with Wilson's 95% interval, and how far seeds differ."""
    flat = [success for part in successes for success in part]
    low, high = wilson(sum(flat), len(flat))
    by_seed = [float(np.mean(part)) for part in successes]
    return {
        "mean": round(float(np.mean(flat)), 4),
        "interval": [round(low, 4), round(high, 4)],
        "by_seed": [round(value, 4) for value in by_seed],
        "deviation": round(float(np.std(by_seed, ddof=1)), 4) if len(by_seed) > 1 else None,
    }


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share; it is honest near none and all as well."""
    middle = (successes + Z**2 / 2) / (count + Z**2)
    half = Z / (count + Z**2) * np.sqrt(successes * (count - successes) / count + Z**2 / 4)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))
