# SPDX-License-Identifier: Apache-2.0
"""What the transformer is conditioned on: noise level, action and model step of a frame, and the place of a token."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_ros.model.numbers import counted, placed, spaced

ACTION_WAVES = 4  # Fourier frequencies per action value
PER_VALUE = (
    2 + 2 * ACTION_WAVES
)  # inputs of the first layer for an action value: itself, its change, sines, cosines
STEP_WAVES = 5  # and of the model step; the slowest makes a quarter turn within max_trained_step


class Conditioning(nn.Module):
    """Embeds noise level, action and model step of each frame into one vector.

    The action enters as it is and as its difference to the action of the last observed frame, since
    what moves in the image is what the command changes; and as Fourier features, which multiply
    with those of ``PositionEmbedding`` to point at a spot in the image.
    """

    frequencies: Tensor
    action_frequencies: Tensor
    step_frequencies: Tensor

    def __init__(self, width: int, action_dim: int, max_trained_step: int):
        super().__init__()
        frequencies = torch.exp(spaced(0.0, math.log(1000.0), 32))
        self.register_buffer("frequencies", placed(frequencies), persistent=False)
        self.level = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        waves = torch.pi / 4.0 * 2.0 ** counted(ACTION_WAVES)  # the longest spans eight deviations
        self.register_buffer("action_frequencies", placed(waves), persistent=False)
        self.action = nn.Sequential(
            nn.Linear(PER_VALUE * action_dim, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.no_action = nn.Parameter(torch.zeros(width))
        self.max_trained_step = max_trained_step
        turns = torch.pi / (2.0 * max_trained_step) * 2.0 ** counted(STEP_WAVES)
        self.register_buffer("step_frequencies", placed(turns), persistent=False)
        self.step = nn.Linear(2 * STEP_WAVES, width, bias=False)
        nn.init.zeros_(self.step.weight)

    def forward(
        self, levels: Tensor, actions: Tensor, *, now: Tensor, steps: Tensor, drop: Tensor | None = None
    ) -> Tensor:
        """levels [N or 1, F], actions [N, F, A], now [N, A], steps int64 [F], drop bool [N] or None -> [N, F, width]."""
        phase = levels[..., None] * self.frequencies
        level = self.level(torch.cat((phase.sin(), phase.cos()), dim=-1))
        turn = (actions[..., None] * self.action_frequencies).flatten(-2)
        action = self.action(torch.cat((actions, actions - now[:, None], turn.sin(), turn.cos()), dim=-1))
        if drop is not None:
            action = torch.where(drop[:, None, None], self.no_action, action)
        turn = steps.clamp(max=self.max_trained_step)[:, None] * self.step_frequencies
        step = self.step(torch.cat((turn.sin(), turn.cos()), dim=-1))
        return F.silu(level + action + step)

    @staticmethod
    def columns(action_dim: int, values: range) -> Tensor:
        """Which inputs of the action's first layer come from some of the ``action_dim`` values: int64 [PER_VALUE * len(values)]."""
        own = torch.tensor(values)
        waves = (ACTION_WAVES * own[:, None] + torch.arange(ACTION_WAVES)).flatten()
        first = 2 * action_dim
        return torch.cat((own, action_dim + own, first + waves, first + ACTION_WAVES * action_dim + waves))

    @staticmethod
    def at_mean(action_dim: int) -> Tensor:
        """Those inputs where the action is the mean one and stays it: float32 [PER_VALUE * action_dim]."""
        return torch.cat(
            (torch.zeros((2 + ACTION_WAVES) * action_dim), torch.ones(ACTION_WAVES * action_dim))
        )


class PositionEmbedding(nn.Module):
    """Where in the image a token lies: commands are absolute, and rotary positions are not.

    Fourier features of row and column, so that weights fit any grid.
    """

    def __init__(self, width: int, rows: int, columns: int):
        super().__init__()
        row, column = torch.meshgrid(
            (counted(rows) + 0.5) / rows, (counted(columns) + 0.5) / columns, indexing="ij"
        )
        phase = torch.stack((row, column), dim=-1).flatten(0, 1)[..., None] * torch.pi * 2.0 ** counted(5)
        features = torch.cat((phase.sin(), phase.cos()), dim=-1).flatten(1)
        self.register_buffer("features", placed(features), persistent=False)
        self.project = nn.Linear(20, width, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self) -> Tensor:
        """Embedding [rows * columns, width]."""
        return self.project(self.features)
