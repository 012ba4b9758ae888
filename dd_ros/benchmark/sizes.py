# SPDX-License-Identifier: Apache-2.0
"""The sizes of networks that recipes make, as checkpoints of random weights: as fast as trained ones, and as good as none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import ConfigDict

from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.config import ActionSpec, AutoencoderConfig, CheckpointConfig, TransformerConfig
from dd_ros.diffusion.schedule import preset
from dd_ros.resources import shared_file
from dd_ros.settings import Settings, read_yaml
from dd_ros.streams import StreamSpec

RECIPES = {"S": "g1_pick", "M": "g1_pick_m", "L": "g1_pick_l"}  # files of config/training


class Network(Settings):
    """What a training recipe says of the network and not of its training; see ``dd_ros_training.recipe.Recipe``."""

    model_config = ConfigDict(extra="ignore")

    streams: StreamSpec
    network: TransformerConfig
    image_network: AutoencoderConfig
    schedule: str
    chunk_frames: int
    horizon: int
    context_frames: int


def config_of(size: str) -> CheckpointConfig:
    """Settings of a network of ``size`` (S, M or L) whose actions need no normalisation."""
    recipe = read_yaml(shared_file(f"config/training/{RECIPES[size]}.yaml"), Network)
    dim = sum(source.dim or 0 for source in recipe.streams.actions)
    return CheckpointConfig(
        name=f"{size}, random weights",
        streams=recipe.streams,
        action=ActionSpec(dim=dim, mean=(0.0,) * dim, std=(1.0,) * dim),
        autoencoder=recipe.image_network,
        transformer=recipe.network,
        schedule=preset(recipe.schedule, recipe.chunk_frames, recipe.horizon),
        horizon=recipe.horizon,
        context_frames=recipe.context_frames,
    )


@contextmanager
def untrained(size: str) -> Iterator[Path]:
    """A checkpoint of ``size`` with random weights, the same each time, as long as the context lasts."""
    config = config_of(size)
    with tempfile.TemporaryDirectory(prefix="dd_ros_") as folder, torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        path = Path(folder) / size
        save_checkpoint(path, config, Model(config), card=f"# {config.name}\n")
        yield path
