# SPDX-License-Identifier: Apache-2.0
"""What all stages share: optimisers, the learning-rate curve, averaged weights, and their resume files."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import lightning
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from dd_ros.checkpoint import Model
from dd_ros.config import CheckpointConfig
from dd_ros.upgrades import FORMAT, upgraded_weight
from dd_ros_training.batch_random import BatchRandom
from dd_ros_training.muon import BatchedMuon
from dd_ros_training.recipe import StageRecipe

WARM_UP_STEPS = 50
LOG_EVERY = 10  # steps; to read a loss is to wait for the device


class Clock(Protocol):
    """Tells how much of a stage's time is used, 0 to 1."""

    def fraction(self) -> float: ...


class Stage(lightning.LightningModule):
    """Base of the stages: trains part of ``model`` and keeps an average of its weights.

    Args:
        config: settings of the checkpoint under training.
        model: its networks as the stage before left them; ``averaged`` is the copy that ships.
        recipe: learning rate, averaging and length of the stage.
        clock: tells how much of the stage's time is used.
    """

    def __init__(self, config: CheckpointConfig, model: Model, *, recipe: StageRecipe, clock: Clock):
        super().__init__()
        self.config, self.model, self.recipe, self.clock = config, model, recipe, clock
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval()
        self.automatic_optimization = False
        self.steps = 0
        self.best_score = -math.inf
        self.history: list[float] = []  # of all validations, in order
        self.best: dict[str, Tensor] = {}
        self.newest: dict[str, Tensor] = {}  # the newest of each
        self.figures: dict[str, float] = {}  # as they were logged
        self._averages: tuple[list[Tensor], list[Tensor]] = ([], [])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resume file holds beside Lightning's own; nothing but numbers, names and tensors."""
        checkpoint["format"] = FORMAT
        checkpoint["stage"] = {
            "steps": self.steps, "best_score": self.best_score, "best": self.best, "history": self.history,
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take that back, from a resume file of any format."""
        number, kept = checkpoint.get("format", 1), checkpoint["stage"]
        self.steps, self.best_score, self.history = kept["steps"], kept["best_score"], kept.get("history", [])
        self.best = {upgraded_weight(name, number): part for name, part in kept["best"].items()}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {upgraded_name(name, number): part for name, part in state.items()}
        if number == 1:
            for optimizer in checkpoint["optimizer_states"]:
                for group in optimizer["param_groups"]:
                    group["base_lr"] = group.pop("peak")

    def batch_random(self) -> BatchRandom:
        """Random numbers of this step."""
        return BatchRandom(
            hash((self.recipe.seed, self.steps)),
            rank=self.global_rank,
            world=self.trainer.world_size,
            device=self.device,
        )

    def progress_fraction(self) -> float:
        """How much of the stage is over, 0 to 1: of its steps or its time, whichever is further."""
        return min(1.0, max(self.steps / self.recipe.steps, self.clock.fraction()))

    def all_optimizers(self) -> list[Optimizer]:
        """The optimisers as a list, also where there is only one."""
        found = self.optimizers()
        return cast("list[Optimizer]", found if isinstance(found, list) else [found])

    def descend(
        self, optimizers: Sequence[Optimizer], parameters: Sequence[nn.Parameter], loss: Tensor
    ) -> None:
        """One optimiser step: warm-up, then a learning rate that falls linearly to the end."""
        factor = min(1.0, (self.steps + 1) / WARM_UP_STEPS) * max(0.01, 1.0 - self.progress_fraction())
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
        self.steps += 1
        self.update_average()
        if self.progress_fraction() >= 1.0:
            self.trainer.should_stop = True

    @torch.no_grad()
    def update_average(self) -> None:
        """Move ``averaged`` towards ``model``, faster in the beginning."""
        decay = min(self.recipe.ema_decay, (1 + self.steps) / (10 + self.steps))
        if not self._averages[0]:  # not before the networks are on their device
            kept, new = self.averaged.state_dict(), self.model.state_dict()
            self._averages = list(kept.values()), [new[name] for name in kept]
        torch._foreach_lerp_(*self._averages, 1.0 - decay)

    def record(self, losses: Mapping[str, Tensor]) -> None:
        """Keep the newest of each loss; every LOG_EVERY steps their means over all processes are logged.

        Lightning's ``log`` would read each of them, and so wait for the device, in every step.
        """
        self.newest |= {name: loss.detach().float() for name, loss in losses.items()}
        if self.steps % LOG_EVERY == 0:
            means = self.trainer.strategy.reduce(torch.stack(list(self.newest.values())), reduce_op="mean")
            self.figures = dict(zip(self.newest, cast(Tensor, means).tolist(), strict=True))
            if self.logger:
                self.logger.log_metrics(self.figures, step=self.steps)

    def track_best(self, score: Tensor) -> None:
        """Remember the averaged weights if no validation gave a higher ``score`` yet."""
        value = float(self.trainer.strategy.reduce(score, reduce_op="mean"))
        self.history.append(value)
        if value > self.best_score:
            self.best_score = value
            self.best = {name: part.cpu().clone() for name, part in self.averaged.state_dict().items()}

    def best_model(self) -> Model:
        """The averaged networks with the weights that validation liked best."""
        if self.best:
            self.averaged.load_state_dict(self.best)
        return self.averaged


def upgraded_name(name: str, number: int) -> str:
    """Today's name of a stage's weight, such as ``averaged.transformer.head.weight``, in format ``number``."""
    part, _, rest = name.partition(".")
    if part in ("model", "averaged"):
        return f"{part}.{upgraded_weight(rest, number)}"
    upgraded = upgraded_weight(f"transformer.{rest}", number)  # teacher and critic are transformers
    return f"{part}.{upgraded.removeprefix('transformer.')}"


def optimisers(module: nn.Module, learning_rate: float) -> list[Optimizer]:
    """Muon for the hidden matrices of a transformer, AdamW for all the rest.

    ``learning_rate`` is AdamW's; Muon's is ten times that, as its updates are orthogonalised.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        hidden = parameter.ndim == 2 and "blocks." in name and "modulation" not in name
        (matrices if hidden else others).append(parameter)
    built: list[Optimizer] = [
        AdamW(others, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=others[0].is_cuda or None)
    ]
    if matrices:
        built.append(BatchedMuon(matrices, lr=10.0 * learning_rate, weight_decay=0.01))
    for optimizer in built:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return built
