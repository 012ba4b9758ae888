# SPDX-License-Identifier: Apache-2.0
"""``dd_ros finetune``: a checkpoint for your own robot from your own bags, in one command."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from dd_ros.bags import BagInfo, TopicInfo, find_bags, inspect_bag
from dd_ros.checkpoint import Model, load_checkpoint
from dd_ros.config import CheckpointConfig, StreamSpec, read_yaml
from dd_ros.errors import InputError
from dd_ros_training.recipe import DistillationRecipe, Recipe, StageRecipe
from dd_ros_training.train import STAGES, Run

FASTEST_HZ = 15.0  # model rate at most; a faster camera is thinned out by a whole factor
MOST_PIXELS = 128 * 96
CELL = 16  # image sides are multiples of it
SHARES = {"autoencoder": 0.2, "teacher": 0.45, "distillation": 0.25}  # the rest is for reading and judging


def finetune(
    bags: Sequence[Path],
    image_topic: str,
    action_topic: str,
    out: Path,
    init: str = "pusht",
    config: Path | None = None,
    max_minutes: float = 60.0,
) -> None:
    """Train all stages on ``bags`` from the weights of ``init`` and write the checkpoint ``out``.

    Weights that do not fit (another action dimension) start fresh; the image size follows the
    camera's shape. The checkpoint's card holds its figures on the held-back bags.

    Raises:
        InputError: unusable bags, topics, checkpoint or recipe.
    """
    start = time.monotonic()
    found = find_bags(bags)
    settings, weights = load_checkpoint(init)
    info = inspect_bag(found[0])
    streams = describe_streams(topic_of(info, image_topic), topic_of(info, action_topic))
    recipe = read_yaml(config, Recipe) if config else default_recipe(out.name, settings, max_minutes)
    recipe = recipe.model_copy(update={"name": out.name, "streams": streams})
    run = Run(recipe, found, out.with_name(out.name + ".work"))
    if config is None:
        left = max_minutes - (time.monotonic() - start) / 60.0
        run.recipe = default_recipe(out.name, settings, left).model_copy(update={"streams": streams})
    model = Model(run.config)
    adopt(model, weights)
    run.save(out, run.train(list(STAGES), model))


def topic_of(info: BagInfo, name: str) -> TopicInfo:
    """The topic ``name`` of a bag; InputError lists those there are."""
    for topic in info.topics:
        if topic.name == name:
            return topic
    there = ", ".join(topic.name for topic in info.topics) or "nothing readable"
    raise InputError(f"{info.path}: no messages of topic {name}; it holds {there}")


def describe_streams(image: TopicInfo, action: TopicInfo) -> StreamSpec:
    """Rate and image size that suit a camera: its own rate thinned out, its own shape."""
    if image.size is None:
        raise InputError(
            f"{image.name}: expected images, got {image.msgtype} ({image.detail or 'no picture in it'})"
        )
    if image.rate <= 0.0:
        raise InputError(f"{image.name}: expected several images, got {image.count}")
    width, height = image_size(*image.size)
    return StreamSpec(
        image_topic=image.name,
        action_topic=action.name,
        action_type=action.msgtype,
        rate_hz=round(image.rate / math.ceil(image.rate / FASTEST_HZ - 0.05), 3),
        width=width,
        height=height,
    )


def image_size(width: int, height: int) -> tuple[int, int]:
    """Model size nearest in shape to a camera's ``width`` x ``height``, and the largest of those."""
    sizes = [
        (w, h)
        for w in range(4 * CELL, 16 * CELL, CELL)
        for h in range(4 * CELL, 16 * CELL, CELL)
        if MOST_PIXELS / 2 <= w * h <= MOST_PIXELS
    ]
    return min(sizes, key=lambda s: (round(abs(math.log(s[0] * height / (s[1] * width))), 2), -s[0] * s[1]))


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
