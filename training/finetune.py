# SPDX-License-Identifier: Apache-2.0
"""``dd_ros finetune``: a checkpoint for your own robot from your own bags, in one command."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from dd_ros.bags import find_bags
from dd_ros.checkpoint import Model, load_checkpoint
from dd_ros.config import CheckpointConfig, parse_actions, read_yaml
from dd_ros.progress import progress
from dd_ros.survey import describe_streams, inspect_bag
from dd_ros_training.recipe import DistillationRecipe, Recipe, StageRecipe
from dd_ros_training.train import STAGES, Run

SHARES = {"autoencoder": 0.2, "teacher": 0.45, "distillation": 0.25}  # the rest is for reading and judging


def finetune(
    bags: Sequence[Path],
    image_topic: str,
    actions: Sequence[str],
    out: Path,
    init: str = "pusht",
    config: Path | None = None,
    max_minutes: float = 60.0,
) -> None:
    """Train all stages on ``bags`` from the weights of ``init`` and write the checkpoint ``out``.

    Weights that do not fit (another action dimension) start fresh; the image size follows the
    camera's shape. The checkpoint's card holds its figures on the held-back bags.

    Args:
        bags: bags, or folders of bags.
        image_topic, actions: what to use of them; actions as ``config.parse_actions`` takes them.
        out: checkpoint folder to write.
        init: checkpoint to start from.
        config: recipe; None makes one that suits ``init`` and the time.
        max_minutes: time for all stages.

    Raises:
        InputError: unusable bags, topics, checkpoint or recipe.
    """
    start = time.monotonic()
    found = find_bags(bags)
    settings, weights = load_checkpoint(init)
    sources, problems = parse_actions(actions), list[str]()
    infos = [inspect_bag(bag, sources) for bag in progress(found, "looking at bags")]
    streams = describe_streams(infos, image_topic, sources, problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    recipe = read_yaml(config, Recipe) if config else default_recipe(out.name, settings, max_minutes)
    recipe = recipe.model_copy(update={"name": out.name, "streams": streams})
    run = Run(recipe, found, out.with_name(out.name + ".work"))
    if config is None:
        left = max_minutes - (time.monotonic() - start) / 60.0
        run.recipe = default_recipe(out.name, settings, left).model_copy(update={"streams": streams})
    model = Model(run.config)
    adopt(model, weights)
    run.save(out, run.train(list(STAGES), model))


def default_recipe(name: str, settings: CheckpointConfig, minutes: float) -> Recipe:
    """The recipe for ``minutes`` with network and schedule of the checkpoint ``settings``."""
    budget = {stage: max(0.01, share * minutes) for stage, share in SHARES.items()}
    schedule = settings.schedule
    chunks = schedule.chunks(settings.horizon)
    return Recipe(
        name=name,
        streams=settings.streams,
        network=settings.transformer,
        image_network=settings.autoencoder,
        schedule="-".join(str(len(schedule.chunk_levels(chunk))) for chunk in range(chunks)),
        chunk_frames=schedule.chunk_frames,
        horizon=settings.horizon,
        context_frames=settings.context_frames,
        autoencoder=StageRecipe(minutes=budget["autoencoder"], rate=1e-3),
        teacher=StageRecipe(minutes=budget["teacher"], rate=1e-3),
        distillation=DistillationRecipe(minutes=budget["distillation"], batch_size=4, rate=5e-4),
    )


@torch.no_grad()
def adopt(model: Model, weights: Model) -> None:
    """Copy every weight of ``weights`` that has the same name and shape in ``model``."""
    known = weights.state_dict()
    for name, value in model.state_dict().items():
        if name in known and known[name].shape == value.shape:
            value.copy_(known[name])
