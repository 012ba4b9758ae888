# SPDX-License-Identifier: Apache-2.0
"""Make the rows of a study: train each variant from the shared stages, and evaluate it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import fmean, median
from typing import Any

import click
import torch

from dd_ros.benchmark.latency import Stream
from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.errors import InputError
from dd_ros.evaluation.drift import drift
from dd_ros.evaluation.evaluate import evaluate_episodes
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor
from dd_ros.settings import validated, write_yaml
from dd_ros.yaml_files import load_yaml
from dd_ros_training.device import share_of_cores
from dd_ros_training.experiments.study.settings import Study, Variant, recipe_of
from dd_ros_training.recipe import Recipe
from dd_ros_training.renamed import Renaming
from dd_ros_training.run import Run
from dd_ros_training.run_stage import STAGES

BASE = "base"  # folder of the stages that variants share
FIGURES, CHECKPOINT, LOG, STRIP = (
    "figures.json",
    "checkpoint",
    "log.txt",
    "drift.png",
)  # of a row, in its folder
RUNS = 5  # timed predictions of a variant


@dataclass(frozen=True)
class Row:
    """A variant, trained with one seed.

    Attributes:
        study: what it is part of.
        name: of the variant.
        seed: of its random draws.
        out: folder of the study.
    """

    study: Study
    name: str
    seed: int
    out: Path

    @property
    def variant(self) -> Variant:
        return self.study.variants[self.name]

    @property
    def folder(self) -> Path:
        """Where it is kept: one folder per variant and seed."""
        return self.out / (f"{self.name}.{self.seed}" if self.seed else self.name)

    @property
    def drifts(self) -> bool:
        """Whether it makes long rollouts."""
        return self.variant.drift or self.name == self.study.method


def completed(run: Run, stages: Sequence[str]) -> Model:
    """Train ``stages`` to their ends; KeyboardInterrupt where the user ended one early."""
    model = run.train(stages)
    if run.interrupted:
        raise KeyboardInterrupt
    return model


def make_base(study: Study, bags: Sequence[Path], out: Path) -> None:
    """Train the stages that the variants share, and keep their recipe.

    Raises:
        InputError: what was made in ``out`` was made by another recipe.
    """
    path = out / BASE / "recipe.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_yaml(path, study.base)
    elif kept_recipe(path) != study.base:
        raise InputError(
            f"{out}: its variants share another base ({path}); expected the study's, or a new --out"
        )
    completed(Run(study.base, bags, work=out / BASE), ("autoencoder", "teacher"))


def kept_recipe(path: Path) -> Recipe:
    """The recipe in ``path``, which this program wrote, maybe in an older version."""
    return validated(Renaming(str(path)).recipe(load_yaml(path)), Recipe, str(path))


def make_rows(study: Study, names: Sequence[str], bags: Sequence[Path], *, out: Path) -> None:
    """Make all rows, ``study.jobs`` at a time; the first that fails or is ended by Ctrl-C ends the study."""
    rows = [Row(study, name, seed, out) for seed in range(study.seeds) for name in names]
    context = get_context("forkserver")  # whose children begin with what it has imported, once for all
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(study.jobs, context, initializer=end_with_study) as pool:
        try:
            for made in as_completed([pool.submit(make_logged, row, bags) for row in rows]):
                made.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def end_with_study() -> None:
    """End this job when the study ends, however it does; for the system, its parent is what it was forked from."""

    def watch(study: BaseProcess) -> None:
        study.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, args=(parent_process(),), daemon=True).start()


def make_logged(row: Row, bags: Sequence[Path]) -> None:
    """``make`` on a job's share of the cores; what is said of it goes to a file beside its weights."""
    torch.set_num_threads(share_of_cores(row.study.jobs))
    path = row.folder / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    click.echo(f"{path.parent.name}: {path}")
    with path.open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        make(row, bags)


def make(row: Row, bags: Sequence[Path]) -> None:
    """Make a row's checkpoint and its figures: as ``dd_ros evaluate`` has them, and drift."""
    run, model = train(row, bags)
    path, windows, steps = row.folder / FIGURES, row.study.windows, row.study.drift_steps
    asked = row.variant.model_dump(mode="json") | {"windows": windows, "steps": steps}
    if path.exists() and same_asked(json.loads(path.read_text())["asked"], asked, path):
        return
    save_checkpoint(row.folder / CHECKPOINT, run.config, model, card=f"# {row.variant.title}\n")
    predictor = Predictor.load(row.folder / CHECKPOINT)
    figures = evaluate_episodes(
        predictor,
        run.logs.validation,
        json_path=row.folder / "evaluate.json",
        plots=row.folder,
        max_windows=windows,
    )
    if row.drifts:
        figures["drift"] = drift(predictor, run.logs.validation, steps=steps, strip=row.folder / STRIP)
    write_json(path, {"asked": asked, **figures})


def same_asked(kept: dict[str, Any], asked: dict[str, Any], path: Path) -> bool:
    """Whether figures in ``path`` are of what is asked for now; they may have been ``kept`` by an older version."""
    return kept | {"changes": Renaming(str(path)).recipe(kept["changes"])} == asked


def train(row: Row, bags: Sequence[Path]) -> tuple[Run, Model]:
    """Train a variant, from a stage that the base has made."""
    variant = row.variant
    recipe = recipe_of(row.study.base, variant, name=row.name, seed=row.seed)
    run = Run(recipe, bags, work=row.folder)
    before = list(STAGES)[list(STAGES).index(variant.stages[0]) - 1]
    if not run.weights(before).exists():
        shutil.copy(row.out / BASE / f"{variant.start}.pt", run.weights(before))
    return run, completed(run, variant.stages)


def figures_of(study: Study, name: str, out: Path) -> dict[str, Any]:
    """Means over seeds of what ``make`` left of a variant, its milliseconds, and ``psnr_of_seeds``, each one's mean."""
    folders = [Row(study, name, seed, out).folder for seed in range(study.seeds)]
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
