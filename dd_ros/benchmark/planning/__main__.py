# SPDX-License-Identifier: Apache-2.0
"""Planners on PushT: shares of solved tasks.

python -m dd_ros.demo.simulate --out demos --behaviour expert --episodes 60 --steps 150 --seed 500000 --state
python -m dd_ros.benchmark.planning --bags demos --json out/planning.json --table out/planning.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from dd_ros.benchmark.planning.predicted import Known, Predicted, fitting
from dd_ros.benchmark.planning.protocol import run
from dd_ros.benchmark.planning.rows import ROWS, Row, Search, rows
from dd_ros.benchmark.planning.tasks import Drawn, draw, read_demonstrations
from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.demo.goals import reached
from dd_ros.json_files import write_json
from dd_ros.planning.solvers import CEM, ICEM
from dd_ros.predictor import Predictor

SOLVERS = {"cem": CEM, "icem": ICEM}
CONTEXT = 4  # frames that a task has up to its start, at least as many as any row needs


def markdown(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    lines = [
        "| offset | row | success | 95% interval | block only | 95% interval | s per plan |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for row in result["rows"]:
            parts = []
            for name in ("success", "block_success"):
                low, high = row[name]["interval"]
                parts += [f"{100 * row[name]['mean']:.1f}%", f"{100 * low:.1f} to {100 * high:.1f}"]
            lines.append(
                f"| {result['offset']} | {row['row']} | {' | '.join(parts)} | {row['plan_seconds_median']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def counts(drawn: Sequence[Drawn]) -> dict[str, int]:
    """How many tasks there are, and how many pairs were left out while drawing them."""
    tasks = [task for part in drawn for task in part.tasks]
    return {
        "tasks": len(tasks),
        "unmoved_left_out": sum(part.unmoved for part in drawn),
        "solved_at_the_start_left_out": sum(part.solved for part in drawn),
        "block_solved_at_the_start": sum(bool(reached(task.start, task.goal)[1]) for task in tasks),
    }


@click.command(cls=Command)
@click.option(
    "--bags",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Demonstrations, with --state.",
)
@click.option("--checkpoint", help="Adds a row that acts on the predictions of this checkpoint.")
@click.option(
    "--cost",
    default="readouts:least",
    show_default=True,
    help="By which it rates them, against the goal's picture.",
)
@click.option(
    "--known",
    is_flag=True,
    help="Adds a row that makes the same search by the same cost on the true simulator.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), required=True, help="Where the figures go."
)
@click.option("--table", type=click.Path(path_type=Path), help="Where a Markdown table goes.")
@click.option(
    "--row",
    "names",
    type=click.Choice(list(ROWS)),
    multiple=True,
    help="Rows; without, all but those of pictures.",
)
@click.option(
    "--offset", "offsets", type=click.IntRange(1, 1000), multiple=True, default=(25,), show_default=True,
    help="Steps from start to goal; the budget is twice as many.",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Sets of starts.")
@click.option(
    "--starts", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Starts in each."
)
@click.option("--first-seed", default=0, show_default=True, help="Of the drawing of starts.")
@click.option("--solver", type=click.Choice(list(SOLVERS)), default="cem", show_default=True)
@click.option("--samples", default=64, show_default=True, help="Sequences per iteration.")
@click.option("--iterations", default=8, show_default=True, help="Iterations per plan.")
@click.option("--elites", default=8, show_default=True, help="Sequences that make the next mean.")
@click.option("--repeat", default=5, show_default=True, help="Equal actions in a row.")
@click.option("--horizon", type=click.IntRange(1, 1000), default=25, show_default=True, help="Steps planned.")
@click.option(
    "--executed",
    type=click.IntRange(1, 1000),
    default=25,
    show_default=True,
    help="Steps of a plan that are run.",
)
def main(
    bags: tuple[Path, ...], checkpoint: str | None, cost: str, known: bool, json_path: Path, table: Path | None, names: tuple[str, ...], offsets: tuple[int, ...],
    seeds: int, starts: int, first_seed: int, solver: str, samples: int, iterations: int, elites: int, repeat: int,
    horizon: int, executed: int,
) -> None:  # fmt: skip
    """Let planners bring pusher and block to where demonstrations brought them."""
    settings = replace(SOLVERS[solver], samples=samples, iterations=iterations, elites=elites, repeat=repeat)
    search = Search(settings, horizon, executed)
    demonstrations = read_demonstrations(find_bags(bags))
    chosen = names or (() if checkpoint else ("no-op", "random", "demonstration", "oracle", "oracle-block"))
    players: list[Row] = rows(chosen, search)
    if checkpoint:
        predictor = fitting(Predictor.load(checkpoint), horizon)
        if known:
            players.append(Known(f"{predictor.config.name} known, {cost}", predictor, cost, search))
        players.append(Predicted(f"{predictor.config.name}, {cost}", predictor, cost, search))
    results: list[dict[str, Any]] = []
    for offset in offsets:
        drawn = [
            draw(
                demonstrations, offset=offset, count=starts, context=CONTEXT, rng=np.random.default_rng(seed)
            )
            for seed in range(first_seed, first_seed + seeds)
        ]
        results.append({"offset": offset, **counts(drawn), "rows": []})
        for row in players:
            results[-1]["rows"].append(run(row, drawn, executed=executed, told=click.echo))
            # After each row, since the next may take an hour.
            write_json(json_path, {"solver": solver, **asdict(search), "results": results})
            if table:
                table.write_text(markdown(results))
    click.echo(markdown(results))


if __name__ == "__main__":
    main()
