# SPDX-License-Identifier: Apache-2.0
"""Run the stages of a recipe one after the other: bags in, checkpoint out.

Example:
    python -m dd_ros_training.train config/training/g1_pick.yaml --bags DIR --out checkpoints/g1_pick
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import lightning
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from dd_ros.bags import find_bags, split
from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.config import CheckpointConfig, read_yaml
from dd_ros.diffusion.schedule import preset
from dd_ros.evaluation.evaluate import evaluate
from dd_ros_training.card import card
from dd_ros_training.data import BagData, StoredEpisode, fit_actions, store_bags
from dd_ros_training.precision import precision
from dd_ros_training.recipe import Recipe, StageRecipe
from dd_ros_training.stages.autoencoder import AutoencoderStage
from dd_ros_training.stages.base import Stage
from dd_ros_training.stages.distillation import DistillationStage
from dd_ros_training.stages.teacher import TeacherStage

SAVE_SECONDS = 60.0
STAGES: dict[str, type[Stage]] = {
    "autoencoder": AutoencoderStage,
    "teacher": TeacherStage,
    "distillation": DistillationStage,
}


class StageClock(Callback):
    """Time used of a stage's share, over interruptions too."""

    def __init__(self, minutes: float):
        self.budget, self.before, self.start = 60.0 * minutes, 0.0, 0.0

    def elapsed(self) -> float:
        return self.before + (time.monotonic() - self.start if self.start else 0.0)

    def fraction(self) -> float:
        return self.elapsed() / self.budget

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self.start = time.monotonic()

    def state_dict(self) -> dict[str, float]:
        return {"elapsed": self.elapsed()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.before = state["elapsed"]


class Saver(Callback):
    """Saves the whole state of a stage once a minute and at its end; the file is always a whole one.

    Lightning's ModelCheckpoint keeps no time interval under manual optimisation.
    """

    def __init__(self, path: Path):
        self.path, self.saved = path, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        staging = self.path.with_suffix(".tmp")
        trainer.save_checkpoint(staging)  # on every process: some strategies gather here
        if trainer.is_global_zero:
            staging.replace(self.path)
        self.saved = time.monotonic()


def checkpoint_config(recipe: Recipe, episodes: Sequence[StoredEpisode]) -> CheckpointConfig:
    """Settings of the checkpoint that ``recipe`` makes from ``episodes``."""
    return CheckpointConfig(
        name=recipe.name,
        streams=recipe.streams,
        action=fit_actions(episodes, recipe.action_names),
        autoencoder=recipe.image_network,
        transformer=recipe.network,
        schedule=preset(recipe.schedule, recipe.chunk_frames, recipe.horizon),
        horizon=recipe.horizon,
        context_frames=recipe.context_frames,
    )


def run_stage(
    name: str, config: CheckpointConfig, model: Model, recipe: StageRecipe, data: BagData, work: Path
) -> Model:
    """Train one stage, resuming where an earlier run of it in ``work`` was cut off."""
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs
    torch.set_autocast_cache_enabled(False)  # it would keep weights cast without gradient by a rollout
    clock = StageClock(recipe.minutes)
    stage = STAGES[name](config, model, recipe, clock)
    last = work / name / "last.ckpt"
    last.parent.mkdir(parents=True, exist_ok=True)
    trainer = lightning.Trainer(
        max_epochs=-1,
        precision=precision(),
        callbacks=[clock, Saver(last), TQDMProgressBar(refresh_rate=20)],
        enable_checkpointing=False,
        logger=TensorBoardLogger(work / "logs", name=name, version=""),
        val_check_interval=recipe.validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=8,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        enable_model_summary=False,
    )
    trainer.fit(stage, data, ckpt_path=last if last.exists() else None, weights_only=False)
    return stage.averaged


class Run:
    """A training run in the folder ``work``: episodes, logs, and the weights each stage left.

    Args:
        recipe: what to train.
        bags: training and validation bags, split by ``bags.split``.
        work: folder for everything that a resumed run needs.
    """

    def __init__(self, recipe: Recipe, bags: Sequence[Path], work: Path):
        self.recipe, self.work = recipe, work
        self.training_bags, self.validation_bags = split(bags)
        cache = work / "episodes"
        self.episodes = store_bags(self.training_bags, recipe.streams, cache)
        self.held_back = store_bags(self.validation_bags, recipe.streams, cache) or self.episodes
        self.config = checkpoint_config(recipe, self.episodes)

    def train(self, stages: Sequence[str], model: Model | None = None) -> Model:
        """Run ``stages``; the first starts from ``model``, or from what the stage before it left."""
        order = list(STAGES)
        first = order.index(stages[0])
        if model is None:
            model = Model(self.config)
            if first:
                model.load_state_dict(torch.load(self.weights(order[first - 1]), weights_only=True))
        for name in stages:
            recipe: StageRecipe = getattr(self.recipe, name)
            length = self.recipe.context_frames + self.recipe.horizon
            data = BagData(self.episodes, self.held_back, self.config.action, length, recipe.batch_size)
            model = run_stage(name, self.config, model, recipe, data, self.work).requires_grad_(True)
            torch.save(model.state_dict(), self.weights(name))
        return model

    def weights(self, stage: str) -> Path:
        return self.work / f"{stage}.pt"

    def save(self, out: Path, model: Model) -> None:
        """Write the checkpoint, judge it on the validation bags, and put the figures on its card."""
        save_checkpoint(out, self.config, model, card(self.config, self.recipe, self.facts(), None))
        if self.validation_bags:
            plots = self.work / "evaluation"
            figures = evaluate(out, self.validation_bags, plots / "evaluate.json", plots)
            save_checkpoint(out, self.config, model, card(self.config, self.recipe, self.facts(), figures))

    def facts(self) -> dict[str, str]:
        """What the card says about the data."""
        frames = sum(len(episode) for episode in self.episodes)
        return {
            "training": f"{len(self.training_bags)} bags, {frames} model steps, "
            f"{frames / self.recipe.streams.rate_hz / 60:.1f} minutes",
            "validation": f"{len(self.validation_bags)} bags",
            "device": "CUDA" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads",
        }


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="A bag or a folder of bags."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint folder to write.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for logs and resumable state; default OUT.work."
)
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="Only these stages.")
def main(recipe: Path, bags: tuple[Path, ...], out: Path, work: Path | None, stages: tuple[str, ...]) -> None:
    """Train the stages of RECIPE on bags and write a checkpoint."""
    run = Run(read_yaml(recipe, Recipe), find_bags(bags), work or out.with_name(out.name + ".work"))
    run.save(out, run.train([name for name in STAGES if name in stages or not stages]))


if __name__ == "__main__":
    main()
