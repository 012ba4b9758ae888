# SPDX-License-Identifier: Apache-2.0
"""Parts of a round: ``bench``, ``train`` and ``tests`` add their figures to results.json and table.md in a folder; ``join``
makes a checkpoint of the weights that ``train`` left.

Example:
    scripts/gpu_round.sh --out round --minutes 10
    python -m dd_ros_training.experiments.gpu_round join round checkpoints/mine
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click

from dd_ros.benchmark.latency import measure
from dd_ros.benchmark.node import bench_node
from dd_ros.benchmark.sizes import RECIPES, untrained
from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.console import Group
from dd_ros.data.bags import find_bags
from dd_ros.errors import InputError
from dd_ros.predictor import Predictor
from dd_ros.processes import process_start
from dd_ros.settings import read_yaml
from dd_ros_training.experiments.gpu_round.results import Results, tests_of
from dd_ros_training.experiments.gpu_round.weights import PATTERN, join, leave
from dd_ros_training.pace import Pace, probe
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import STAGES, Run

PATH = click.Path(path_type=Path)
MOST_SECONDS = 20.0  # of each of a size's three parts
NODE_SECONDS = 15.0
OUT = click.argument("out", type=PATH)
MINUTES = click.option(
    "--minutes", type=click.FloatRange(0.05), default=5.0, help="Time for all, from start to end."
)


@click.group(cls=Group)
def main() -> None:
    """Parts of a round on a GPU that is at hand for minutes."""


main.prog_name = "gpu_round"


@main.command()
@OUT
@click.argument("junit", type=PATH)
def tests(out: Path, junit: Path) -> None:
    """Take over the outcome of pytest from its JUNIT file."""
    if junit.exists():
        Results(out).put("tests", value=tests_of(junit))


@main.command()
@OUT
@MINUTES
@click.option("--size", "sizes", multiple=True, default=(*RECIPES, "pusht"), help="S, M, L or a checkpoint.")
@click.option("--device", default="auto")
def bench(out: Path, minutes: float, sizes: Sequence[str], device: str) -> None:
    """Measure each size: latency, floor, rivals, candidates, and the node where there is ROS."""
    end = process_start() + 60.0 * minutes
    results = Results(out)
    for number, size in enumerate(sizes):
        left = max(0.0, end - time.monotonic())
        seconds = min(MOST_SECONDS, left / (len(sizes) - number) / 4)
        try:
            with untrained(size) if size in RECIPES else nullcontext(Path(size)) as checkpoint:
                predictor = Predictor.load(checkpoint, device)
                for row in measure(predictor, seconds=seconds, say=partial(say, size)):
                    results.put("bench", size, value=row)
                kind = predictor.device.type
                del predictor
                results.put("bench", size, "node", value=node(checkpoint, kind))
        except Exception as error:  # the next size may do: out of memory, a kernel that is not there
            traceback.print_exc()
            results.put("bench", size, "error", value=f"{type(error).__name__}: {error}")


def say(size: str, text: str) -> None:
    """What is measured next, for the log."""
    click.echo(f"{size}: {text}")


def node(checkpoint: Path, device: str) -> dict[str, object]:
    """Figures of the node end to end, or why there are none."""
    try:
        return bench_node(checkpoint, device, seconds=NODE_SECONDS)
    except (InputError, ImportError) as error:
        return {"error": str(error)}


@main.command()
@OUT
@MINUTES
@click.option("--recipe", type=PATH, required=True, help="Training recipe (YAML).")
@click.option("--bags", type=PATH, multiple=True, required=True, help="A bag or a folder of bags.")
@click.option(
    "--work", type=PATH, required=True, help="Work folder of the run, which may hold an earlier leg's."
)
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="Only these stages.")
@click.option(
    "--init", type=PATH, help="Checkpoint, or folder of an earlier round, whose networks are trained on."
)
def train(
    out: Path, minutes: float, recipe: Path, bags: Sequence[Path], work: Path, stages: Sequence[str], init: Path | None
) -> None:  # fmt: skip
    """Go on with a recipe's run for the minutes, judge it, and leave float16 weights in parts."""
    start, results = process_start(), Results(out)
    chosen = tuple(name for name in STAGES if name in stages or not stages)
    results.put(
        "train",
        value={"recipe": str(recipe), "stages": list(chosen), "minutes": minutes, "init": init and str(init)},
    )
    try:
        run = Run(read_yaml(recipe, Recipe), find_bags(bags), work=work)
        model = run.start_from(str(checkpoint_in(init, work))) if init else None
        model = model or run.start(chosen[0])
        run.pace = pace_of(run, model, chosen, seconds=60.0 * minutes, start=start)
        for name in chosen:
            if (work / name / "last.ckpt").exists():
                run.weights(name).unlink(missing_ok=True)  # an earlier leg's end is no end for this one
            model = run.train([name], model)
            leave(out, run.config, model)
            results.put("train", "done", value=name)
            if run.interrupted:
                break
        windows = run.pace.windows
        run.save(work / "checkpoint", model, made_by="a round on a GPU", windows=windows)
        figures = work / "evaluation" / "evaluate.json"
        if not run.interrupted and figures.exists():
            results.put("train", "evaluation", value=json.loads(figures.read_text()))
    except Exception as error:
        results.put("train", "error", value=f"{type(error).__name__}: {error}")
        raise


def checkpoint_in(init: Path, work: Path) -> Path:
    """``init``, or the checkpoint made of the parts in it."""
    if not list(init.glob(PATTERN)):
        return init
    join(init, work / "init")
    return work / "init"


def pace_of(run: Run, model: Model, stages: tuple[str, ...], *, seconds: float, start: float) -> Pace:
    """The time of a leg that began at ``start``, by how fast this machine evaluates."""
    save_checkpoint(run.work / "begun", run.config, model, card="")
    predictor = Predictor.load(run.work / "begun")
    return Pace(seconds, start, probe(predictor, run.logs.validation), stages=stages)


@main.command("join")
@click.argument("parts", type=PATH)
@click.argument("out", type=PATH)
def join_parts(parts: Path, out: Path) -> None:
    """Make the checkpoint OUT of the weights in the folder PARTS."""
    join(parts, out, name=out.name)


if __name__ == "__main__":
    main()
