# SPDX-License-Identifier: Apache-2.0
"""Whether predicted costs rank candidates as true ones do.

python -m dd_ros.benchmark.planning.ranks --bags demos --checkpoint pusht --json out/ranks.json --table out/ranks.md

Of each task, two sets of candidates: those of a search's first iteration, spread over all that may be done, and those of its
last iteration, an elite among which a planner really has to choose. The search is by the true cost, so that the sets are the
same for every predictor. A cost that ranks the first set well and the second one badly finds the way, but not the goal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from dd_ros.benchmark.planning.predicted import (
    PLACES,
    Actions,
    fitting,
    observe,
    simulated_costs,
    true_cost,
)
from dd_ros.benchmark.planning.tasks import Task, draw, read_demonstrations
from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.demo.table import Table, Vector
from dd_ros.json_files import write_json
from dd_ros.planning.costs import Cost, Goal, candidates_of, make_cost
from dd_ros.planning.solvers import Settings
from dd_ros.predictions import Frames
from dd_ros.predictor import Predictor
from dd_ros.progress import progress

COSTS = ("readouts:least", "latents:least", "pixels:least")
TRUTH = "readouts:least"  # of the true states
SETS = ("all", "elite")
CONTEXT = 4
Z = 1.96  # of a 95% interval


def candidate_sets(
    task: Task, predictor: Predictor, *, settings: Settings, rng: np.random.Generator
) -> dict[str, tuple[Actions, Vector]]:
    """Candidates [N, K, 2] of the first and the last iteration of a search on the simulator, with their true costs [N]."""
    cost = true_cost(TRUTH, state=task.goal, image=task.goal_image, predictor=predictor)
    table = Table()
    seen: list[tuple[Actions, Vector]] = []

    def rated(actions: Actions) -> Vector:
        costs = simulated_costs(cost, actions, table=table, state=task.start, predictor=predictor)
        seen.append((actions, costs))
        return costs

    before = task.commands[-1]
    mean = np.repeat(before[None], predictor.horizon, axis=0)
    PLACES.search(rated, before=before, mean=mean, settings=settings, rng=rng)
    return dict(zip(SETS, (seen[0], seen[-1]), strict=True))


def predicted_costs(predictor: Predictor, actions: Actions, costs: Sequence[Cost]) -> list[Vector]:
    """What each of ``costs`` says of candidates [N, K, 2], from what the predictor has observed: [N] each."""
    found: list[list[Vector]] = [[] for _ in costs]
    done = 0
    frames: Frames | None = "all" if any(cost.frames for cost in costs) else None
    for part in predictor.rollouts(actions, frames=frames, latents=any(cost.latents for cost in costs)):
        own = candidates_of(actions[done : done + len(part.uncertainty)], part, predictor)
        for cost, values in zip(costs, found, strict=True):
            values.append(cost(own))
        done += len(part.uncertainty)
    return [np.concatenate(values) for values in found]


def compared(predicted: Vector, true: Vector) -> dict[str, float]:
    """Spearman's rank correlation, and how the candidate that seems best ranks in truth, from 0 (best) to 1; NaN where
    candidates do not differ."""
    from scipy.stats import rankdata, spearmanr  # slow to import

    if np.ptp(true) == 0.0:
        return {"correlation": float("nan"), "rank_of_chosen": float("nan")}
    place = rankdata(true)[int(np.argmin(predicted))] - 1.0
    correlation = float(spearmanr(predicted, true).statistic) if np.ptp(predicted) > 0.0 else 0.0
    return {"correlation": correlation, "rank_of_chosen": float(place / (len(true) - 1))}


def ranks(
    predictor: Predictor, tasks: Sequence[Task], *, costs: Sequence[str], settings: Settings
) -> dict[str, Any]:
    """For each cost and set of candidates, the mean over tasks of what ``compared`` says, with 95% intervals."""
    rows: dict[tuple[str, str], list[dict[str, float]]] = {
        (cost, kind): [] for cost in costs for kind in SETS
    }
    for number, task in enumerate(progress(list(tasks), "ranking candidates")):
        observe(predictor, task.images, task.commands)
        made = [make_cost(cost, goal=Goal(image=task.goal_image), predictor=predictor) for cost in costs]
        rng = np.random.default_rng(number)
        for kind, (actions, true) in candidate_sets(task, predictor, settings=settings, rng=rng).items():
            for cost, values in zip(costs, predicted_costs(predictor, actions, made), strict=True):
                rows[cost, kind].append(compared(values, true))
    return {
        cost: {
            kind: {
                name: mean_of(np.array([row[name] for row in rows[cost, kind]]))
                for name in ("correlation", "rank_of_chosen")
            }
            for kind in SETS
        }
        for cost in costs
    }


def mean_of(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean of the finite ones, its 95% interval, and their number."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"mean": None, "interval": None, "count": 0}
    half = Z * float(known.std(ddof=1)) / np.sqrt(len(known)) if len(known) > 1 else float("nan")
    mean = float(known.mean())
    return {
        "mean": round(mean, 4), "interval": [round(mean - half, 4), round(mean + half, 4)], "count": len(known)
    }  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """The results as a table."""
    lines = [
        "| cost | rank correlation, all | among the elite | true rank of the one chosen, all | among the elite |",
        "|---|---|---|---|---|",
    ]
    for cost, row in result["costs"].items():
        cells = [_shown(row[kind][name]) for name in ("correlation", "rank_of_chosen") for kind in SETS]
        lines.append(f"| `{cost}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shown(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    low, high = value["interval"]
    return f"{value['mean']:.2f} ({low:.2f} to {high:.2f})"


@click.command(cls=Command)
@click.option(
    "--bags", type=click.Path(path_type=Path), multiple=True, required=True, help="Demonstrations, with --state."
)  # fmt: skip
@click.option("--checkpoint", required=True, help="Folder or shipped name, with read-outs of the table.")
@click.option("--cost", "costs", multiple=True, default=COSTS, show_default=True, help="What to compare.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), required=True, help="Where figures go.")
@click.option("--table", type=click.Path(path_type=Path), help="Where a Markdown table goes.")
@click.option(
    "--offset", type=click.IntRange(1, 1000), default=25, show_default=True, help="Steps to the goal."
)
@click.option("--starts", type=click.IntRange(1, 10_000), default=24, show_default=True, help="Tasks.")
@click.option("--seed", default=0, show_default=True, help="Of the drawing of tasks.")
@click.option("--samples", default=32, show_default=True, help="Candidates of a set.")
@click.option("--iterations", default=8, show_default=True, help="After which candidates are the elite.")
@click.option("--horizon", type=click.IntRange(1, 1000), default=24, show_default=True, help="Steps of each.")
def main(
    bags: tuple[Path, ...], checkpoint: str, costs: tuple[str, ...], json_path: Path, table: Path | None, offset: int,
    starts: int, seed: int, samples: int, iterations: int, horizon: int,
) -> None:  # fmt: skip
    """Compare predicted costs of candidates with true ones."""
    predictor = fitting(Predictor.load(checkpoint), horizon)
    settings = Settings(samples=samples, iterations=iterations, elites=max(1, samples // 5), repeat=6)
    demonstrations = read_demonstrations(find_bags(bags))
    drawn = draw(
        demonstrations, offset=offset, count=starts, context=CONTEXT, rng=np.random.default_rng(seed)
    )
    result = {
        "checkpoint": predictor.config.name, "tasks": starts, "offset": offset, "samples": samples,
        "iterations": iterations, "horizon": predictor.horizon,
        "costs": ranks(predictor, drawn.tasks, costs=costs, settings=settings),
    }  # fmt: skip
    write_json(json_path, result)
    if table:
        table.write_text(markdown(result))
    click.echo(markdown(result))


if __name__ == "__main__":
    main()
