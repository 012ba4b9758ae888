# SPDX-License-Identifier: Apache-2.0
"""One stage of a recipe, by Lightning: its trainer, its clock, its resume file."""

from __future__ import annotations

import logging
import math
import time
import warnings
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from dd_ros.checkpoint import Model
from dd_ros.config import CheckpointConfig
from dd_ros_training.callbacks import Interrupt, Saver, StageClock, StageProgress
from dd_ros_training.compiled import compile_blocks
from dd_ros_training.data.batches import BagData
from dd_ros_training.device import precision
from dd_ros_training.kept import resume_file
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
LAST = "last.ckpt"  # resume file of a stage, in its folder


def silence_lightning() -> None:
    """No tips, and no advice against what is meant so: networks in eval mode, few loader workers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for advice in ("Found .* in eval mode", ".* does not have many workers", ".*treespec, LeafSpec"):
        warnings.filterwarnings("ignore", advice)


def run_stage(
    name: str,
    *,
    config: CheckpointConfig,
    model: Model,
    recipe: Recipe,
    data: BagData,
    work: Path,
    interrupt: Interrupt,
    left: float = math.inf,
    validation: float = 0.0,
) -> Model:
    """Train one stage, resuming where an earlier run of it in ``work`` was cut off.

    Args:
        name: which stage.
        config: settings of the checkpoint under training.
        model: the networks as the stage before left them.
        recipe: how all stages train, and where.
        data: training and validation clips.
        work: folder for logs and resume files.
        interrupt: ends the stage early.
        left, validation: as of ``StageClock``.

    Returns:
        The averaged networks as validation liked them best.

    Raises:
        InputError: the resume file cannot be read, or is of another recipe's stage.
    """
    silence_lightning()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs
    torch.set_autocast_cache_enabled(False)  # it would keep weights cast without gradient by a rollout
    settings: StageRecipe = getattr(recipe, name)
    where = recipe.trainer.model_dump()
    if recipe.trainer.precision == "auto":
        where["precision"] = precision()
    now = time.process_time if recipe.processor_time else time.monotonic
    clock = StageClock(settings.minutes, interrupt, now, left=left, validation=validation)
    stage = STAGES[name](config, model, recipe=settings, clock=clock)
    if recipe.compile:
        compile_blocks(stage.model)
    last = work / name / LAST
    last.parent.mkdir(parents=True, exist_ok=True)
    trainer = lightning.Trainer(
        **where,
        max_epochs=-1,
        callbacks=[clock, Saver(last), StageProgress(name, clock)],
        enable_checkpointing=False,
        logger=TensorBoardLogger(work / "logs", name=name, version=""),
        val_check_interval=settings.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    trainer.fit(stage, data, ckpt_path=resume_file(last), weights_only=True)
    return stage.best_model().requires_grad_(True)
