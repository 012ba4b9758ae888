# SPDX-License-Identifier: Apache-2.0
"""Attention over a shared context and own chunks, and rotary positions in space and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeysValues(NamedTuple):
    """Keys and values of some tokens: two tensors [N, heads, tokens, head]."""

    keys: Tensor
    values: Tensor


def attend(query: Tensor, shared: KeysValues, own: Sequence[KeysValues]) -> Tensor:
    """Softmax attention of ``query`` [N, heads, S, head] over shared and own tokens.

    ``shared`` has batch size B; N is a multiple of B. With several futures per context (N > B) the
    shared part is read in place, never copied per future: only the scores are per future.
    """
    n, _, s, head = query.shape
    b = shared.keys.shape[0]
    keys = torch.cat([part.keys for part in own], dim=2)
    values = torch.cat([part.values for part in own], dim=2)
    if n == b:  # several futures would need a copy of the context each
        return attention(
            query, torch.cat((shared.keys, keys), dim=2), torch.cat((shared.values, values), dim=2)
        )
    folded = query.unflatten(0, (b, -1)).transpose(1, 2).flatten(2, 3)  # [B, heads, futures * S, head]
    to_shared = (folded @ shared.keys.transpose(2, 3)).unflatten(2, (-1, s)).transpose(1, 2).flatten(0, 1)
    scores = torch.cat((to_shared, query @ keys.transpose(2, 3)), dim=-1) * head**-0.5
    weights = scores.softmax(dim=-1)
    first, second = weights.split((shared.keys.shape[2], keys.shape[2]), dim=-1)
    first = first.unflatten(0, (b, -1)).transpose(1, 2).flatten(2, 3)
    from_shared = (first @ shared.values).unflatten(2, (-1, s)).transpose(1, 2).flatten(0, 1)
    return from_shared + second @ values


def attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention of [N, heads, S, head] over [N, heads, T, head].

    By the fused kernel, except for bfloat16 on a CPU: there it is slower than products written out,
    1.7 times forward and 2.2 times with its gradient (192 queries, 480 keys, heads of 32).
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        scores = (query * query.shape[-1] ** -0.5) @ keys.transpose(2, 3)
        return scores.softmax(dim=-1) @ values
    return F.scaled_dot_product_attention(query, keys, values)


class SpaceTimeRotation(nn.Module):
    """Rotary positions: 3/8 of a head's channels turn with time, 5/8 with row and column.

    Time is counted in model steps from the last observed frame, which stands at 0, so positions
    are bounded by the length of one rollout however long the stream runs. In a rollout beyond
    ``reach`` steps the observed frames are held at that distance: no farther than training went.
    """

    space_angles: Tensor
    time_frequencies: Tensor

    def __init__(self, head: int, rows: int, columns: int, reach: int):
        super().__init__()
        self.reach = reach
        pairs = head // 2
        self.time_pairs = pairs * 3 // 8
        row_pairs = (pairs - self.time_pairs) // 2
        column_pairs = pairs - self.time_pairs - row_pairs
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        angles = torch.cat(
            (
                row.flatten()[:, None] * frequencies(row_pairs, longest=4.0 * rows),
                column.flatten()[:, None] * frequencies(column_pairs, longest=4.0 * columns),
            ),
            dim=-1,
        )
        self.register_buffer("space_angles", angles, persistent=False)  # [tokens, pairs - time_pairs]
        self.register_buffer(
            "time_frequencies", frequencies(self.time_pairs, longest=128.0), persistent=False
        )

    def angles(self, steps: Tensor) -> Tensor:
        """Model steps [F] -> angles [F * tokens, pairs]."""
        time = (steps[:, None] * self.time_frequencies)[:, None].expand(-1, len(self.space_angles), -1)
        space = self.space_angles.expand(len(steps), -1, -1)
        return torch.cat((time, space), dim=-1).flatten(0, 1)

    def space(self, x: Tensor) -> Tensor:
        """Rotate tokens of single frames [N, heads, tokens, head] by their place only."""
        return rotated_by(self.angles(self.space_angles.new_zeros(1)))(x)

    def at(self, first_step: int, frames: int) -> Callable[[Tensor], Tensor]:
        """Rotation for tokens of ``frames`` frames from model step ``first_step`` on."""
        steps = torch.arange(first_step, first_step + frames, device=self.space_angles.device)
        return rotated_by(self.angles(steps))

    def before(
        self, last_step: int, observed: Sequence[KeysValues], tokens: int
    ) -> Callable[[Tensor], Tensor]:
        """Rotation for observed frames as seen from a chunk that ends at ``last_step``."""
        frames = observed[0].keys.shape[2] // tokens
        shift = max(0, last_step - self.reach)
        steps = torch.arange(shift - frames + 1, shift + 1, device=self.space_angles.device)
        return rotated_by(self.angles(steps))


def frequencies(pairs: int, longest: float) -> Tensor:
    """Angular frequencies from 1 down to one turn per ``longest`` positions."""
    lowest = 2.0 * torch.pi / longest
    return lowest ** torch.linspace(0.0, 1.0, pairs)


def rotated_by(angles: Tensor) -> Callable[[Tensor], Tensor]:
    """Function turning channel pairs (i, i + head / 2) of [N, heads, S, head] by ``angles`` [S, head / 2]."""
    cos, sin = angles.cos(), angles.sin()

    def rotate(x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)

    return rotate
