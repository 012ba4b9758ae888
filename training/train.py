# SPDX-License-Identifier: Apache-2.0
"""Run the stages of a recipe one after the other: bags in, checkpoint out.

Example:
    python -m dd_ros_training.train config/training/g1_pick.yaml --bags DIR --out checkpoints/g1_pick
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import click
import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from dd_ros.bags import find_bags, split
from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.config import CheckpointConfig, read_yaml
from dd_ros.diffusion.schedule import preset
from dd_ros_training.data import BagData, StoredEpisode, fit_actions, store_bags
from dd_ros_training.recipe import Recipe, StageRecipe
from dd_ros_training.stages.autoencoder import AutoencoderStage
from dd_ros_training.stages.base import Stage
from dd_ros_training.stages.distillation import DistillationStage
from dd_ros_training.stages.teacher import TeacherStage

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
        trainer.stage_clock = self  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, float]:
        return {"elapsed": self.elapsed()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.before = state["elapsed"]


def checkpoint_config(recipe: Recipe, episodes: list[StoredEpisode]) -> CheckpointConfig:
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
    name: str,
    config: CheckpointConfig,
    model: Model,
    recipe: StageRecipe,
    data: BagData,
    work: Path,
) -> Model:
    """Train one stage, resuming where an earlier run of it in ``work`` was cut off."""
    stage = STAGES[name](config, model, recipe)
    saver = ModelCheckpoint(
        work / name, filename="latest", save_last=True, train_time_interval=timedelta(minutes=1)
    )
    trainer = lightning.Trainer(
        max_epochs=-1,
        callbacks=[StageClock(recipe.minutes), saver, TQDMProgressBar(refresh_rate=20)],
        logger=TensorBoardLogger(work / "logs", name=name, version=""),
        val_check_interval=400,
        check_val_every_n_epoch=None,
        limit_val_batches=8,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        enable_model_summary=False,
    )
    last = work / name / "last.ckpt"
    trainer.fit(stage, data, ckpt_path=last if last.exists() else None, weights_only=False)
    return stage.averaged


def train(recipe: Recipe, bags: list[Path], work: Path, stages: list[str]) -> tuple[CheckpointConfig, Model]:
    """Run ``stages`` in order; each starts from the weights that the one before left in ``work``."""
    training, validation = split(bags)
    cache = work / "episodes"
    episodes, held_back = (store_bags(part, recipe.streams, cache) for part in (training, validation))
    config = checkpoint_config(recipe, episodes)
    model = Model(config)
    for name in STAGES:
        stage_recipe: StageRecipe = getattr(recipe, name)
        weights = work / f"{name}.pt"
        if name not in stages:
            model.load_state_dict(torch.load(weights, weights_only=True))
            continue
        length = recipe.context_frames + recipe.horizon
        data = BagData(episodes, held_back, config.action, length, stage_recipe.batch_size)
        model = run_stage(name, config, model, stage_recipe, data, work).requires_grad_(True)
        torch.save(model.state_dict(), weights)
        if stages[-1] == name:
            break
    return config, model


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--bags",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A bag or a folder of bags.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint folder to write.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder for logs and resumable state; default OUT.work.",
)
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="Only these stages.")
def main(recipe: Path, bags: tuple[Path, ...], out: Path, work: Path | None, stages: tuple[str, ...]) -> None:
    """Train the stages of RECIPE on bags and write a checkpoint."""
    settings = read_yaml(recipe, Recipe)
    work = work or out.with_name(out.name + ".work")
    config, model = train(settings, find_bags(bags), work, list(stages or STAGES))
    save_checkpoint(out, config, model, f"# {config.name}\n")


if __name__ == "__main__":
    main()
