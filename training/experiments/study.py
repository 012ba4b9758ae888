# SPDX-License-Identifier: Apache-2.0
"""The method beside its rivals, and without each of its parts: one network, the same data, the same minutes.

Example:
    python -m dd_ros_training.experiments.study config/study.yaml --bags DIR --out out/study

Everything is kept in ``--out``, each variant as a checkpoint: what was trained or judged is not done again, and an
interrupted stage goes on. Only the milliseconds are measured anew, when all else is done, one variant after the other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, Literal

import click
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter
from pydantic import Field

from dd_ros.benchmark.latency import Stream
from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.config import Settings, merged, read_yaml, write_yaml
from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.errors import InputError
from dd_ros.evaluation.drift import MEASURES, drift
from dd_ros.evaluation.evaluate import evaluate_episodes, write_json
from dd_ros.evaluation.metrics import bootstrap_interval
from dd_ros.predictor import Predictor
from dd_ros_training.device import die_with_parent, share_of_cores
from dd_ros_training.recipe import Recipe
from dd_ros_training.train import STAGES, Run

BEGIN, END = "<!-- study -->", "<!-- end of study -->"
PLOT, STRIP = "study.png", "drift.png"
FIGURES, CHECKPOINT, LOG = "figures.json", "checkpoint", "log.txt"  # of a row, in its folder
BASE = "base"  # folder of the stages that variants share
RUNS = 5  # timed predictions of a variant
Stage = Literal["autoencoder", "teacher", "distillation"]


class Variant(Settings):
    """One row of the study.

    Attributes:
        title: what the tables call it.
        kind: whether it is a rival of the method, or the method without one part.
        start: the shared stage whose weights it starts from.
        stages: what is trained of it.
        changes: entries of the recipe that differ from the base's; those of a stage are merged.
        drift: whether it also makes long rollouts, as the method itself does.
    """

    title: str
    kind: Literal["rival", "ablation"]
    start: Literal["autoencoder", "teacher"] = "teacher"
    stages: tuple[Stage, ...] = Field(default=("distillation",), min_length=1)
    changes: dict[str, Any] = Field(default_factory=dict)
    drift: bool = False


class Study(Settings):
    """What is compared.

    Attributes:
        base: the recipe of the method.
        windows: windows that each variant is judged on, at most.
        drift_steps: model steps of a long rollout; chunks must divide it.
        seeds: times that each row is made, with other random draws from the same shared stages; the tables have the means.
        jobs: rows that are made at a time, each on its share of the cores: on a CPU two small trainings on a core each
            get on faster than one after the other on both.
        variants: the rows; the first is the method itself.
    """

    base: Recipe
    windows: int = Field(default=150, ge=1)
    drift_steps: int = Field(default=208, ge=1)
    seeds: int = Field(default=1, ge=1)
    jobs: int = Field(default=1, ge=1)
    variants: dict[str, Variant] = Field(min_length=1)

    @property
    def method(self) -> str:
        """Name of the method's own row."""
        return next(iter(self.variants))


def recipe_of(base: Recipe, name: str, variant: Variant, seed: int = 0) -> Recipe:
    """The base's recipe with the variant's changes; the stages that it trains draw by ``seed``."""
    seeds = {stage: {"seed": seed} for stage in variant.stages} if seed else {}
    entries = merged(merged(base.model_dump(), variant.changes), seeds)
    return Recipe.model_validate({**entries, "name": name})


def completed(run: Run, stages: Sequence[str]) -> Model:
    """Train ``stages`` to their ends; KeyboardInterrupt where the user ended one early."""
    model = run.train(stages)
    if run.interrupted:
        raise KeyboardInterrupt
    return model


def train(study: Study, name: str, seed: int, bags: Sequence[Path], out: Path) -> tuple[Run, Model]:
    """Train a variant, from a stage that the base has made."""
    variant = study.variants[name]
    run = Run(recipe_of(study.base, name, variant, seed), bags, folder_of(out, name, seed))
    before = list(STAGES)[list(STAGES).index(variant.stages[0]) - 1]
    if not run.weights(before).exists():
        shutil.copy(out / BASE / f"{variant.start}.pt", run.weights(before))
    return run, completed(run, variant.stages)


def same_base(study: Study, out: Path) -> None:
    """Keep the base's recipe in ``out``; InputError where what was made there was made by another."""
    path = out / BASE / "recipe.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_yaml(path, study.base)
    elif read_yaml(path, Recipe) != study.base:
        raise InputError(
            f"{out}: its variants share another base ({path}); expected the study's, or a new --out"
        )


def folder_of(out: Path, name: str, seed: int) -> Path:
    """Where a row is kept: one folder per variant and seed."""
    return out / (f"{name}.{seed}" if seed else name)


def make_rows(study: Study, names: Sequence[str], bags: Sequence[Path], out: Path) -> None:
    """Make all rows, ``study.jobs`` at a time; the first that fails or is ended by Ctrl-C ends the study."""
    rows = [(name, seed) for seed in range(study.seeds) for name in names]
    with ProcessPoolExecutor(study.jobs, get_context("spawn"), initializer=die_with_parent) as pool:
        try:
            for made in as_completed([pool.submit(logged_row, study, *row, bags, out) for row in rows]):
                made.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def logged_row(study: Study, name: str, seed: int, bags: Sequence[Path], out: Path) -> None:
    """``row`` on a job's share of the cores; what is said of it goes to a file beside its weights."""
    torch.set_num_threads(share_of_cores(study.jobs))
    path = folder_of(out, name, seed) / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    click.echo(f"{path.parent.name}: {path}")
    with path.open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        row(study, name, seed, bags, out)


def row(study: Study, name: str, seed: int, bags: Sequence[Path], out: Path) -> None:
    """Make a variant's checkpoint and its figures: as ``dd_ros evaluate`` has them, and drift."""
    run, model = train(study, name, seed, bags, out)
    folder = folder_of(out, name, seed)
    path = folder / FIGURES
    asked = study.variants[name].model_dump(mode="json") | {
        "windows": study.windows,
        "steps": study.drift_steps,
    }
    if path.exists() and json.loads(path.read_text())["asked"] == asked:
        return
    save_checkpoint(folder / CHECKPOINT, run.config, model, f"# {study.variants[name].title}\n")
    predictor = Predictor.load(folder / CHECKPOINT)
    figures = evaluate_episodes(
        predictor, run.validation_episodes, folder / "evaluate.json", plots=folder, max_windows=study.windows
    )
    if study.variants[name].drift or name == study.method:
        figures["drift"] = drift(
            predictor, run.validation_episodes, steps=study.drift_steps, strip=folder / STRIP
        )
    write_json(path, {"asked": asked, **figures})


def figures_of(study: Study, name: str, out: Path) -> dict[str, Any]:
    """Means over seeds of what ``row`` left of a variant, its milliseconds, and ``psnr_of_seeds``, the mean of each."""
    folders = [folder_of(out, name, seed) for seed in range(study.seeds)]
    found = [json.loads((folder / FIGURES).read_text()) for folder in folders]
    return {
        **mean_of(found),
        **times(Predictor.load(folders[0] / CHECKPOINT)),
        "psnr_of_seeds": [figures["mean"]["model"]["psnr"] for figures in found],
    }


def mean_of(parts: Sequence[Any]) -> Any:
    """Structures of one shape -> one whose numbers are means; what is no number is the first one's."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: mean_of([part[key] for part in parts]) for key in first}
    if isinstance(first, list):
        return [mean_of(values) for values in zip(*parts, strict=True)]
    numbers = all(isinstance(part, int | float) for part in parts)
    return fmean(parts) if numbers and any(part != first for part in parts) else first


def times(predictor: Predictor) -> dict[str, float]:
    """Median milliseconds from image in to first chunk and to horizon."""
    stream = Stream(predictor)
    stream.run()
    runs = [stream.run() for _ in range(RUNS)]
    return {
        name: round(median(column), 1)
        for name, column in zip(("first_ms", "horizon_ms"), zip(*runs, strict=True), strict=True)
    }


def table(rows: dict[str, dict[str, Any]], study: Study, kind: str) -> str:
    """Markdown rows of the method and all variants of ``kind``."""
    lines = [
        "| variant | passes | first frame | horizon | PSNR | step 4 | step 16 | above ours | SSIM | features | moving | true best |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in rows.items():
        if name == study.method or study.variants[name].kind == kind:
            lines.append(line(study.variants[name].title, figures, rows[study.method], name == study.method))
    return "\n".join(lines)


def line(title: str, figures: dict[str, Any], method: dict[str, Any], first: bool) -> str:
    """One row of a table; the difference to the method is paired by episode, with its 95% interval."""
    mean, steps = figures["mean"]["model"], figures["predictors"]["model"]["psnr"]
    difference = "" if first else "{:+.2f} ({:+.2f} to {:+.2f})".format(*above(figures, method))
    features = "-" if mean["features"] is None else f"{mean['features']:.4f}"
    seeds = figures["psnr_of_seeds"]
    psnr = f"{mean['psnr']:.2f}" + (f" ± {stdev(seeds):.2f}" if len(seeds) > 1 else "")
    cells = (
        title, figures["passes"], f"{figures['first_ms']:.0f} ms", f"{figures['horizon_ms']:.0f} ms",
        psnr, f"{steps[3]:.2f}", f"{steps[-1]:.2f}", difference, f"{mean['ssim']:.4f}",
        features, f"{mean['psnr_moving']:.2f}", f"{figures['actions']['true_best_fraction']:.0%}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def above(figures: dict[str, Any], method: dict[str, Any]) -> tuple[float, float, float]:
    """Mean PSNR above ours's, and the ends of its interval: bootstrap over episodes."""
    windows = np.array([episode["windows"] for episode in figures["per_episode"]])
    pairs = zip(figures["per_episode"], method["per_episode"], strict=True)
    gains = np.array([own["model"] - other["model"] for own, other in pairs])
    groups = np.repeat(np.arange(len(gains)), windows)
    low, high = bootstrap_interval(np.repeat(gains, windows)[:, None], groups)[0]
    return float(np.average(gains, weights=windows)), float(low), float(high)


def features_table(rows: dict[str, dict[str, Any]], study: Study) -> str:
    """Markdown: distance of features at every step, of the method and its rivals."""
    steps = rows[study.method]["steps"]
    lines = [f"| step | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 1) + "|"]
    for name, figures in rows.items():
        if study.variants[name].kind == "rival":
            distances = figures["predictors"]["model"]["features"]
            cells = ("-" if distance is None else f"{distance:.3f}" for distance in distances)
            lines.append(f"| {study.variants[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drift_tables(rows: dict[str, dict[str, Any]], study: Study) -> str:
    """Markdown: own output by segment, and the chunks after one real frame, of the variants that have it."""
    lines = [f"| variant | steps from | PSNR | {' | '.join(MEASURES)} |", "|---|---|---|---|---|---|"]
    mended = ["| variant | chunk | after one real frame | without drift |", "|---|---|---|---|"]
    for name, figures in rows.items():
        if "drift" in figures:
            title, found = study.variants[name].title, figures["drift"]
            for part in found["spans"]:
                ratios = " | ".join(f"{part[measure]:.3f}" for measure in MEASURES)
                lines.append(f"| {title} | {part['from']} | {part['psnr']:.2f} | {ratios} |")
            pairs = zip(found["recovery"]["one_real_frame"], found["recovery"]["no_drift"], strict=True)
            mended += [
                f"| {title} | {chunk} | {own:.2f} | {real:.2f} |"
                for chunk, (own, real) in enumerate(pairs, 1)
            ]
    return "\n".join([*lines, "", *mended])


def plot(rows: dict[str, dict[str, Any]], study: Study) -> Figure:
    """PSNR above copy-last, and features' distance, against seconds ahead; quality against milliseconds."""
    figure = Figure(figsize=(16, 4.5), dpi=110, layout="constrained")
    skill, features, cost = axes = figure.subplots(1, 3)
    for axis in axes:
        axis.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for name, figures in rows.items():
        title = study.variants[name].title
        seconds = np.array(figures["steps"]) / figures["fps"]
        width = 2.5 if name == study.method else 1.0
        style = "-" if study.variants[name].kind == "rival" else ":"
        skill.plot(seconds, figures["skill_psnr"], style, linewidth=width, label=title)
        features.plot(
            seconds, np.array(figures["predictors"]["model"]["features"], float), style, linewidth=width
        )
        cost.semilogx(figures["horizon_ms"], figures["mean"]["model"]["psnr"], "o")
    skill.axhline(0.0, color="tab:gray", linestyle="--")
    skill.set(xlabel="seconds ahead", ylabel="PSNR above copy-last in dB")
    figure.legend(loc="outside right center", fontsize=8)
    features.set(xlabel="seconds ahead", ylabel="distance of features")
    cost.set(xlabel="milliseconds for the horizon", ylabel="PSNR in dB")
    cost.xaxis.set_minor_locator(LogLocator(subs=(2.0, 3.0, 5.0)))
    for axis in (cost.xaxis.set_major_formatter, cost.xaxis.set_minor_formatter):
        axis(ScalarFormatter())
    return figure


def report(rows: dict[str, dict[str, Any]], study: Study, text: str) -> str:
    """``text`` with what lies between the marks replaced by the study's tables."""
    first = rows[study.method]
    seeds = f"; {study.seeds} seeds, ± their deviation" if study.seeds > 1 else ""
    body = f"""
{first["windows"]} windows of {first["episodes"]} held-back episodes, on {first["device"]}; PSNR in dB, intervals 95% over episodes{seeds}.

{table(rows, study, "rival")}

What each part brings:

{table(rows, study, "ablation")}

Distance of features by step:

{features_table(rows, study)}

Long rollouts, on the cache of own chunks; brightness, saturation and sharpness over the
real video's. Then one real frame:

{drift_tables(rows, study)}

![true frames, and those on own output at the same steps]({STRIP})

![skill, features, cost]({PLOT})
"""
    before, rest = text.split(BEGIN, 1)
    return before + BEGIN + "\n" + body + END + rest.split(END, 1)[1]


@click.command(cls=Command)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="Bags or folders."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for all that is made.")
@click.option("--variant", "wanted", multiple=True, help="Only these rows; the method's own always.")
@click.option(
    "--with",
    "on_top",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File whose entries replace STUDY's.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Times to make each row; default STUDY's.")
@click.option("--report", "page", type=click.Path(path_type=Path), help="Page to write the tables into.")
def main(
    study: Path, bags: tuple[Path, ...], out: Path, wanted: tuple[str, ...], on_top: tuple[Path, ...],
    seeds: int | None, page: Path | None,
) -> None:  # fmt: skip
    """Train and judge the variants of STUDY and report on all that are done."""
    settings = read_yaml(study, Study, on_top)
    settings = settings.model_copy(update={"seeds": seeds or settings.seeds})
    if unknown := set(wanted) - set(settings.variants):
        raise InputError(f"{study}: no variants {sorted(unknown)}; it has {list(settings.variants)}")
    chosen = [name for name in settings.variants if not wanted or name in (settings.method, *wanted)]
    text = page.read_text() if page else f"{BEGIN}{END}"
    if not (BEGIN in text and END in text):
        raise InputError(f"{page}: expected the marks {BEGIN} and {END} round the study's tables, found none")
    same_base(settings, out)
    found, threads = find_bags(bags), torch.get_num_threads()
    torch.set_num_threads(share_of_cores(settings.jobs))
    completed(Run(settings.base, found, out / BASE), ("autoencoder", "teacher"))
    make_rows(settings, chosen, found, out)
    torch.set_num_threads(threads)
    rows = {name: figures_of(settings, name, out) for name in chosen}
    FigureCanvasAgg(plot(rows, settings)).print_png(out / PLOT)
    made = report(rows, settings, text)
    (out / "study.md").write_text(made)
    if page:
        page.write_text(made)
        shutil.copy(out / PLOT, page.with_name(PLOT))
        shutil.copy(out / settings.method / STRIP, page.with_name(STRIP))


if __name__ == "__main__":
    main()
