# SPDX-License-Identifier: Apache-2.0
"""A recipe of the tiny network whose stages end after a few steps."""

from __future__ import annotations

from tiny import tiny_config

from dd_ros_training.recipe import DistillationRecipe, Recipe, StageRecipe, TeacherRecipe


def short_recipe(steps: int, batch_size: int, validate_every: int) -> Recipe:
    """Three stages of ``steps`` steps each; the time they may take never ends them."""
    config = tiny_config()
    length = {"minutes": 1000, "steps": steps, "batch_size": batch_size, "validate_every": validate_every}
    return Recipe(
        name="small",
        streams=config.streams,
        network=config.transformer,
        image_network=config.autoencoder,
        schedule="2-1",
        chunk_frames=2,
        horizon=8,
        context_frames=2,
        autoencoder=StageRecipe(**length),
        teacher=TeacherRecipe(**length),
        distillation=DistillationRecipe(**length),
    )
