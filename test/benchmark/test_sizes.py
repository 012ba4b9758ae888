# SPDX-License-Identifier: Apache-2.0
"""Sizes S, M and L: what the trainer makes of their recipes, and what the benchmark measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dd_ros.benchmark.sizes import RECIPES, config_of, untrained
from dd_ros.checkpoint import Model, load_checkpoint
from dd_ros.data.steps import Episode
from dd_ros.resources import read_config, shared_file
from dd_ros.settings import read_yaml
from dd_ros_training.data.clips import fit_actions
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import checkpoint_config

# Size: millions of parameters of transformer and image network; width and height.
SIZES = {"S": (3.14, 0.63, (128, 96)), "M": (15.87, 1.7, (256, 192)), "L": (119.69, 2.94, (512, 320))}


def millions(module: nn.Module) -> float:
    return round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 2)


@pytest.mark.parametrize("size", SIZES)
def test_the_trainer_makes_the_network_that_is_measured(size: str) -> None:
    recipe = read_yaml(shared_file(f"config/training/{RECIPES[size]}.yaml"), Recipe)
    actions = np.random.default_rng(0).normal(size=(20, 26)).astype(np.float32)
    episode = Episode(np.zeros((20, 1, 1, 3), np.uint8), actions, np.arange(20), "one")
    trained, measured = checkpoint_config(recipe, fit_actions([episode])), config_of(size)
    same = {"name": "", "action": measured.action}
    assert trained.model_copy(update=same) == measured.model_copy(update=same)
    assert trained.action.dim == measured.action.dim == 26
    with torch.device("meta"):
        model = Model(trained)
    assert (millions(model.transformer), millions(model.autoencoder)) == SIZES[size][:2]
    assert (trained.streams.width, trained.streams.height) == SIZES[size][2]
    assert trained.transformer.width // trained.transformer.heads == (32 if size == "S" else 64)


def test_the_smallest_is_the_shipped_network() -> None:
    shipped, same = (
        read_config("g1_pick"),
        ("transformer", "autoencoder", "schedule", "horizon", "context_frames"),
    )
    assert all(getattr(config_of("S"), name) == getattr(shipped, name) for name in same)


def test_random_weights_are_the_same_each_time() -> None:
    before = torch.get_rng_state()
    weights = []
    for _ in range(2):
        with untrained("S") as folder:
            weights.append(load_checkpoint(folder)[1].state_dict())
        assert not folder.exists()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert torch.equal(torch.get_rng_state(), before)
