# SPDX-License-Identifier: Apache-2.0
"""Steps beside a device wait for nothing: on torch's ``meta`` device, where whatever reads a value fails.

Its tensors have shapes and no values, so ``.item()``, boolean masks and ``nonzero`` raise; what copies between devices
is refused here as well.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from short_run import short_recipe
from tiny import tiny_config
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dd_ros.checkpoint import Model
from dd_ros_training.batch_random import BatchRandom
from dd_ros_training.losses import image_error
from dd_ros_training.run_stage import STAGES
from dd_ros_training.stages import distillation
from dd_ros_training.stages.base import LOG_EVERY, Stage

CLIPS = 4
DEVICE = torch.device("meta")


class HalfTime:
    """Tells that half of a stage is over."""

    def fraction(self) -> float:
        return 0.5


class NothingCrosses(TorchDispatchMode):
    """Refuses operations on tensors of several devices; scalars of the CPU may enter, as they do by value."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        found = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        devices = {x.device.type for x in found if x.ndim}
        assert len(devices) < 2, f"{func} takes or gives tensors of {devices}"
        return out


class UnseededRandom(BatchRandom):
    """Random numbers without a generator, which a DEVICE that is not there has none of."""

    def __init__(self) -> None:
        super().__init__(1)
        self.device = DEVICE

    def uniform(self, rows: int, *shape: int) -> Tensor:
        return torch.rand(rows, *shape, device=DEVICE)

    def normal(self, rows: int, *shape: int) -> Tensor:
        return torch.randn(rows, *shape, device=DEVICE)


def on_device(name: str) -> Stage:
    """A stage of the tiny network on the stand-in, its optimisers without Lightning around them."""
    config, recipe = tiny_config(), getattr(short_recipe(1000, batch_size=CLIPS, validate_every=50), name)
    if name == "distillation":
        recipe = recipe.model_copy(update={"long_rollouts": 0.5})
    stage = STAGES[name](config, Model(config), recipe=recipe, clock=HalfTime()).to(DEVICE)
    optimizers = stage.configure_optimizers()
    stage.all_optimizers = lambda: optimizers  # type: ignore[method-assign]
    stage.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign,assignment]
    stage.batch_random = UnseededRandom  # type: ignore[method-assign]
    return stage


@pytest.mark.parametrize("name", list(STAGES))
def test_no_step_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "ssim_error", image_error)  # its autocast knows no meta device
    config = tiny_config()
    height, width, dim = config.streams.height, config.streams.width, config.action.dim
    frames, earlier = config.context_frames + config.horizon, config.context_frames
    stage = on_device(name)
    batch = {
        "frames": torch.zeros(CLIPS, frames, height, width, 3, dtype=torch.uint8, device=DEVICE),
        "actions": torch.zeros(CLIPS, frames, dim, device=DEVICE),
        "earlier_frames": torch.zeros(CLIPS, earlier, height, width, 3, dtype=torch.uint8, device=DEVICE),
        "earlier_actions": torch.zeros(CLIPS, earlier, dim, device=DEVICE),
    }
    with NothingCrosses():
        for _ in range(LOG_EVERY - 1):  # in the tenth the losses are read
            stage.training_step(batch, 0)
    assert stage.steps == LOG_EVERY - 1
