# SPDX-License-Identifier: Apache-2.0
"""Minutes of bags against skill: the same training time on more and more of the same robot's logs.

Example:
    python -m dd_ros_training.experiments.data_curve --bags DIR --image-topic T --action-topic T --minutes 1 --minutes 5 --out curve
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dd_ros.config import parse_actions
from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.data.split import SplitRule, split
from dd_ros.data.survey import inspect_bag
from dd_ros.evaluation.evaluate import evaluate
from dd_ros.json_files import write_json
from dd_ros_training.finetune import finetune


@click.command(cls=Command)
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="A bag or a folder of bags."
)
@click.option("--image-topic", required=True, help="Camera topic.")
@click.option(
    "--action-topic", "actions", multiple=True, required=True, help="Action topic; may be repeated."
)
@click.option(
    "--minutes", multiple=True, type=float, required=True, help="Minutes of training bags; may be repeated."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for checkpoints, table and plot."
)
@click.option("--init", default="pusht", show_default=True, help="Checkpoint to start from.")
@click.option("--max-minutes", default=20.0, show_default=True, help="Time of each fine-tuning.")
@click.option(
    "--max-windows", default=100, show_default=True, help="Windows of the held-back bags to evaluate on."
)
def main(
    bags: tuple[Path, ...], image_topic: str, actions: tuple[str, ...], minutes: tuple[float, ...], out: Path,
    init: str, max_minutes: float, max_windows: int,
) -> None:  # fmt: skip
    """Fine-tune on parts of BAGS and evaluate all on the same held-back bags."""
    training, validation = split(find_bags(bags))
    # By name: the rule by numbers goes by a bag's position among all where it has none, and here they get fewer.
    rule = SplitRule(validation=tuple(bag.name for bag in validation))
    rows = []
    for wanted in sorted(minutes):
        part, got = first_minutes(training, image_topic=image_topic, actions=actions, wanted=wanted)
        checkpoint = out / f"minutes_{wanted:g}"
        finetune(
            [*part, *validation],
            image_topic=image_topic,
            actions=actions,
            out=checkpoint,
            init=init,
            max_minutes=max_minutes,
            split=rule,
        )
        figures = evaluate(
            checkpoint, validation, json_path=out / f"minutes_{wanted:g}.json", max_windows=max_windows
        )
        rows.append({"minutes": round(got, 1), "bags": len(part), **summary(figures)})
        write_json(out / "curve.json", {"max_minutes": max_minutes, "init": init, "rows": rows})
    FigureCanvasAgg(plot(rows)).print_png(out / "curve.png")
    print(json.dumps(rows, indent=1))


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
    """The figures of one point of the curve."""
    mean = {name: metrics["psnr"] for name, metrics in figures["mean"].items()}
    skill = figures["skill_psnr"]
    return {
        "psnr": mean["model"],
        "skill": round(mean["model"] - mean["copy_last"], 2),
        "over_optical_flow": round(mean["model"] - mean["optical_flow"], 2),
        "true_actions_best": figures["actions"]["true_best_fraction"],
        "beats_copy_last_from_step": next(
            (step for step in figures["steps"] if all(value > 0 for value in skill[step - 1 :])), None
        ),
        "skill_by_step": skill,
        "seconds": [step / figures["fps"] for step in figures["steps"]],
    }


def plot(rows: Sequence[dict[str, Any]]) -> Figure:
    """Skill against seconds ahead, a line for each amount of data."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for row in rows:
        axes.plot(
            row["seconds"], row["skill_by_step"], "o-", markersize=3, label=f"{row['minutes']:g} min of bags"
        )
    axes.axhline(0.0, color="tab:gray", linestyle="--", label="copy last")
    axes.set(xlabel="seconds ahead", ylabel="PSNR above copy-last in dB")
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
