# SPDX-License-Identifier: Apache-2.0
"""How soon a robot that no checkpoint knows is predicted: minutes of bags and of training, from which start.

Each row is a fine-tuning as ``dd_ros finetune`` makes it, judged on other bags than those that its gate was fitted to. Rows
lie in the folder one by one, those that are there are not made again, and the table is of all.

Example:
    python -m dd_ros_training.experiments.strangers --robot car --bags DIR --image-topic T --action-topic T \\
        --bag-minutes 3 --start g1_pick --start base --steps 150 --seed 0 --seed 1 --out strangers
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.data.split import SplitRule, split
from dd_ros.data.stream_choice import choose_streams
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.evaluation.evaluate import evaluate_episodes
from dd_ros.evaluation.gating import fitted_gate
from dd_ros.evaluation.windows import make_windows
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor
from dd_ros.report import Report
from dd_ros.resources import read_config
from dd_ros.streams import parse_actions
from dd_ros_training.data.augment import Augment
from dd_ros_training.finetune import default_recipe
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import STRIDE, Run, tell
from dd_ros_training.run_stage import STAGES

NOTHING = "nothing"  # the start that has no weights
NETWORK = "g1_pick"  # whose network that has
# Steps of the other stages beside one of distillation, as the shares of time have them on two cores (docs/results.md).
BESIDE = {"autoencoder": 0.34, "teacher": 0.16}
SHOWN = (1, 4, 16)  # steps ahead in the table


@dataclass(frozen=True)
class Row:
    """One fine-tuning.

    Attributes:
        robot: what the robot is called.
        start: checkpoint to start from, or NOTHING.
        bag_minutes: of training bags.
        minutes: of training; None goes by ``steps``.
        steps: of distillation, the other stages accordingly; None goes by ``minutes``.
        seed: of all draws.
    """

    robot: str
    start: str
    bag_minutes: float
    minutes: float | None
    steps: int | None
    seed: int

    @property
    def budget(self) -> str:
        """How long it trains, in words."""
        return f"{self.steps} steps" if self.steps else f"{self.minutes:g} min"

    @property
    def name(self) -> str:
        """The name of its folder."""
        start = Path(self.start).name
        return f"{self.robot}_{start}_{self.bag_minutes:g}min_{self.budget.replace(' ', '')}_{self.seed}"


@click.command(cls=Command)
@click.option("--robot", required=True, help="What the robot is called in the table.")
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="A bag or a folder of bags."
)
@click.option("--image-topic", required=True, help="Camera topic.")
@click.option(
    "--action-topic", "actions", multiple=True, required=True, help="Action topic; may be repeated."
)
@click.option(
    "--bag-minutes",
    multiple=True,
    type=float,
    required=True,
    help="Minutes of training bags; may be repeated.",
)
@click.option(
    "--start",
    "starts",
    multiple=True,
    required=True,
    help=f"Checkpoint to start from, or {NOTHING}; may be repeated.",
)
@click.option(
    "--max-minutes", "minutes", multiple=True, type=float, help="Time of a training; may be repeated."
)
@click.option(
    "--steps", multiple=True, type=int, help="Steps of distillation instead of a time; may be repeated."
)
@click.option(
    "--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True, help="May be repeated."
)
@click.option(
    "--max-windows", default=60, show_default=True, help="Windows of the held-back bags to judge on."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for checkpoints, rows and table."
)
def main(
    robot: str, bags: tuple[Path, ...], image_topic: str, actions: tuple[str, ...], bag_minutes: tuple[float, ...],
    starts: tuple[str, ...], minutes: tuple[float, ...], steps: tuple[int, ...], seeds: tuple[int, ...],
    max_windows: int, out: Path,
) -> None:  # fmt: skip
    """Fine-tune from each start on parts of BAGS and judge all on the same held-back bags."""
    budgets = [(length, None) for length in minutes] + [(None, count) for count in steps]
    if not budgets:
        raise InputError("--max-minutes or --steps: expected at least one, got none")
    training, validation = split(find_bags(bags))
    parts = {
        wanted: first_minutes(training, image_topic=image_topic, actions=actions, wanted=wanted)
        for wanted in bag_minutes
    }
    for wanted, start, (length, count), seed in product(parts, starts, budgets, seeds):
        row = Row(robot, start, wanted, length, count, seed)
        file = out / f"{row.name}.json"
        if not file.exists():
            tell(f"{row.name}:")
            part, got = parts[wanted]
            found = made(
                row, [*part, *validation], image_topic=image_topic, actions=actions, validation=validation,
                windows=max_windows, out=out / row.name,
            )  # fmt: skip
            write_json(
                file,
                {
                    **vars(row),
                    "budget": row.budget,
                    "bags": len(part),
                    "bag_minutes_got": round(got, 1),
                    **found,
                },
            )
    rows = [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]
    (out / "strangers.md").write_text(table(rows))
    FigureCanvasAgg(plot(rows)).print_png(out / "strangers.png")
    click.echo(table(rows))


def made(
    row: Row, bags: Sequence[Path], *, image_topic: str, actions: Sequence[str], validation: Sequence[Path], windows: int,
    out: Path,
) -> dict[str, Any]:  # fmt: skip
    """Train a row into the folder ``out`` and judge it; ``validation`` are those of the ``bags`` that are held back."""
    settings = read_config(NETWORK if row.start == NOTHING else row.start)
    streams = choose_streams(bags, image_topic, parse_actions(actions), problems=Report())
    recipe = recipe_of(
        row, default_recipe(row.name, settings.model_copy(update={"streams": streams}), row.minutes or 1e6)
    )
    # By name: the rule by numbers goes by a bag's position among all where it has none, and here they are fewer.
    rule = SplitRule(validation=tuple(bag.name for bag in validation))
    run = Run(recipe.model_copy(update={"split": rule}), bags, work=out.with_name(f"{out.name}.work"))
    if row.start == NOTHING:
        torch.manual_seed(row.seed)
        model = Model(run.config)
    else:
        model = run.start_like([row.start])
    save_checkpoint(out, run.config, run.train(list(STAGES), model), card="")
    return judged(Predictor.load(out), run, windows)


def recipe_of(row: Row, recipe: Recipe) -> Recipe:
    """The recipe of ``dd_ros finetune`` with the row's seed and length."""
    changes = dict[str, Any]()
    for name in STAGES:
        stage = getattr(recipe, name).model_copy(update={"seed": row.seed})
        if row.steps:
            share = BESIDE.get(name, 1.0)
            stage = stage.model_copy(update={"steps": max(1, round(share * row.steps)), "minutes": 1e6})
        changes[name] = stage
    return recipe.model_copy(update={"augment": Augment(), **changes})


def judged(predictor: Predictor, run: Run, windows: int) -> dict[str, Any]:
    """Figures on every second held-back episode, with a gate that was fitted to the others."""
    episodes, config = run.logs.validation, predictor.config
    others, own = episodes[1::2] or episodes, episodes[::2]
    chosen = make_windows(
        others, context=config.context_frames, horizon=config.horizon, stride=STRIDE, limit=windows
    )
    gated = predictor.with_gate(fitted_gate(predictor, others, chosen))
    figures = evaluate_episodes(gated, own, run.work / "evaluate.json", stride=STRIDE, max_windows=windows)
    return summary(figures)


def first_minutes(
    bags: Sequence[Path], *, image_topic: str, actions: Sequence[str], wanted: float
) -> tuple[list[Path], float]:
    """As many of the first ``bags`` as make ``wanted`` minutes of images, or all; and their minutes."""
    part: list[Path] = []
    total = 0.0
    for bag in bags:
        if total >= wanted:
            break
        part.append(bag)
        total += inspect_bag(bag, parse_actions(actions)).topic(image_topic).duration / 60.0
    return part, total


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of one row."""
    mean = {name: metrics["psnr"] for name, metrics in figures["mean"].items()}
    features = {name: values["features"] for name, values in figures["predictors"].items()}
    skill = figures["skill_psnr"]
    return {
        "windows": figures["windows"],
        "psnr": mean["model"],
        "skill": round(mean["model"] - mean["copy_last"], 2),
        "over_optical_flow": round(mean["model"] - mean["optical_flow"], 2),
        "features": features["model"],
        "features_of_copy_last": features["copy_last"],
        "true_actions_best": figures["actions"]["true_best_fraction"],
        "beats_copy_last_from_step": next(
            (step for step in figures["steps"] if all(value > 0 for value in skill[step - 1 :])), None
        ),
        "skill_by_step": skill,
        "seconds": [step / figures["fps"] for step in figures["steps"]],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, a line for each row: PSNR in dB, features as their mean over the steps beside copy-last's."""
    steps = " | ".join(f"step {step}" for step in SHOWN)
    lines = [
        f"| robot | minutes of bags | training | start | seed | above copy-last | {steps} | above optical flow | features (copy-last) | true actions best |",
        "|" + "---|" * (9 + len(SHOWN)),
    ]
    for row in rows:
        skill, features = row["skill_by_step"], (row["features"], row["features_of_copy_last"])
        near, last = (sum(values) / len(values) for values in features)
        at = " | ".join(f"{skill[min(step, len(skill)) - 1]:+.2f}" for step in SHOWN)
        lines.append(
            f"| {row['robot']} | {row['bag_minutes_got']:g} | {row['budget']} | {Path(row['start']).name} | {row['seed']} | {row['skill']:+.2f} | {at} | "
            f"{row['over_optical_flow']:+.2f} | {near:.3f} ({last:.3f}) | {row['true_actions_best']:.0%} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]]) -> Figure:
    """Skill against seconds ahead, a line for each row."""
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for row in rows:
        label = f"{row['robot']} from {Path(row['start']).name}, {row['bag_minutes_got']:g} min of bags, {row['budget']}"
        axes.plot(row["seconds"], row["skill_by_step"], "o-", markersize=3, label=label)
    axes.axhline(0.0, color="tab:gray", linestyle="--", label="copy last")
    axes.set(xlabel="seconds ahead", ylabel="PSNR above copy-last in dB")
    axes.legend(fontsize="x-small")
    return figure


if __name__ == "__main__":
    main()
