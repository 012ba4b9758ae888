# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a training step that do not depend on how the batch is spread over processes."""

from __future__ import annotations

import random

import torch
from torch import Tensor


class BatchRandom:
    """Random numbers of one step: drawn for the global batch, handed out for this process's rows.

    Process r of W holds rows r * B to (r + 1) * B of the global batch of W * B clips, so that one
    process with batch W * B and W processes with batch B see the same noise beside the same clip.

    Args:
        seed: of the run and this step.
        rank, world: number of this process, and of all processes.
        device: where tensors are made.
    """

    def __init__(self, seed: int, *, rank: int = 0, world: int = 1, device: torch.device | None = None):
        self.rank, self.world = rank, world
        self.device = device or torch.device("cpu")
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._common = random.Random(seed)

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """Float32 [rows, *shape] in [0, 1)."""
        drawn = torch.rand(self.world * rows, *shape, generator=self._generator, device=self.device)
        return drawn[self.rank * rows : (self.rank + 1) * rows]

    def normal(self, rows: int, *shape: int) -> Tensor:
        """Float32 [rows, *shape], standard normal."""
        drawn = torch.randn(self.world * rows, *shape, generator=self._generator, device=self.device)
        return drawn[self.rank * rows : (self.rank + 1) * rows]

    def randint(self, count: int) -> int:
        """An integer in [0, count), the same in all processes."""
        return self._common.randrange(count)

    def random(self) -> float:
        """A number in [0, 1), the same in all processes."""
        return self._common.random()

    def bernoulli(self, share: float) -> bool:
        """True in a ``share`` of the calls, the same in all processes."""
        return self.random() < share

    def sample(self, count: int, size: int) -> list[int]:
        """``size`` different integers in [0, count), the same in all processes."""
        return self._common.sample(range(count), size)
