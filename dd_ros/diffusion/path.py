# SPDX-License-Identifier: Apache-2.0
"""The straight noise path of flow matching: x_s = (1 - s) x_0 + s e, noise level s in [0, 1]."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

SHIFT = 5.0  # the paper's shift towards noise
SMALLEST_LEVEL = 0.25  # below it the loss weight 1 / s**2 no longer grows


Level = TypeVar("Level", float, Tensor)


def shift(u: Level, by: float = SHIFT) -> Level:
    """Warp evenly spread u in [0, 1] towards noise: s = by * u / (1 + (by - 1) * u)."""
    return by * u / (1.0 + (by - 1.0) * u)


def per_frame(levels: Tensor) -> Tensor:
    """Levels [N, F] -> [N, F, 1, 1, 1], to multiply latents [N, F, c, h, w]."""
    return levels[..., None, None, None]


def add_noise(clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """x_s of latents [N, F, c, h, w] at levels [N, F]."""
    s = per_frame(levels)
    return (1.0 - s) * clean + s * noise


def step(noisy: Tensor, clean: Tensor, level: float, to_level: float) -> Tensor:
    """Go from ``level`` to ``to_level`` on the straight line that ``clean``, the estimate, implies.

    One Euler step of the flow's equation: the velocity is e - x_0 with e = (x_s - (1 - s) x_0) / s.
    """
    noise = (noisy - (1.0 - level) * clean) / level
    return (1.0 - to_level) * clean + to_level * noise


def velocity_weight(levels: Tensor) -> Tensor:
    """Weight that turns a squared error of x_0 into one of the velocity: v - v' = -(x_0 - x_0') / s."""
    return levels.clamp_min(SMALLEST_LEVEL) ** -2


def chunk_levels(drawn: Tensor, chunk_frames: int) -> Tensor:
    """Training noise levels [B, chunks * chunk_frames] from one uniform draw per chunk, [B, chunks]."""
    return shift(drawn).repeat_interleave(chunk_frames, dim=1)
