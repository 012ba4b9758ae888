# SPDX-License-Identifier: Apache-2.0
"""Attention over a shared context and own chunks, and rotary positions in space and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_ros.model.numbers import counted, placed, spaced


class KeysValues(NamedTuple):
    """Keys and values of some tokens: two tensors [N, heads, tokens, head]."""

    keys: Tensor
    values: Tensor


def attend(query: Tensor, shared: KeysValues, own: Sequence[KeysValues]) -> Tensor:
    """Softmax attention of ``query`` [N, heads, S, head] over shared and own tokens.

    ``shared`` has batch size B; N is a multiple of B, and row i of ``query`` belongs to row i // (N / B) of it.
    """
    rollouts = len(query) // len(shared.keys)
    parts = [KeysValues(*(per_rollout(part, rollouts) for part in shared)), *own]
    keys, values = (torch.cat(tokens, dim=2) for tokens in zip(*parts, strict=True))
    return attention(query, keys, values)


def per_rollout(tokens: Tensor, rollouts: int) -> Tensor:
    """[B, heads, T, head] -> [B * rollouts, heads, T, head], each row ``rollouts`` times; one rollout is no copy."""
    return tokens[:, None].expand(-1, rollouts, -1, -1, -1).flatten(0, 1)


def attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention of [N, heads, S, head] over [N, heads, T, head].

    By the fused kernel, except for training in bfloat16 on a CPU: with its gradient it takes twice the time of
    products written out, without it three fifths (192 queries, 480 keys, heads of 32).
    """
    if query.requires_grad and query.device.type == "cpu" and query.dtype == torch.bfloat16:
        scores = (query * query.shape[-1] ** -0.5) @ keys.transpose(2, 3)
        return scores.softmax(dim=-1) @ values
    return F.scaled_dot_product_attention(query, keys, values)


class Rotation(NamedTuple):
    """Turns channel pairs (i, i + head / 2) of tokens, each token by angles of its own.

    Attributes:
        own: [S, head], what a channel counts.
        other: [S, head], what its partner counts.
    """

    own: Tensor
    other: Tensor

    @classmethod
    def by(cls, angles: Tensor) -> Rotation:
        """The rotation by ``angles`` [S, head / 2]."""
        cos, sin = angles.cos(), angles.sin()
        return cls(torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))

    def of(self, tokens: slice) -> Rotation:
        """That of some tokens."""
        return Rotation(self.own[tokens], self.other[tokens])

    def turn(self, x: Tensor) -> Tensor:
        """[..., S, head] turned."""
        return torch.addcmul(x * self.own, x.roll(x.shape[-1] // 2, dims=-1), self.other)


class SpaceTimeRotation(nn.Module):
    """Rotary positions: 3/8 of a head's channels turn with time, 5/8 with row and column.

    Time is counted in model steps from the last observed frame, which stands at 0, so positions
    are bounded by the length of one rollout however long the stream runs. In a rollout beyond
    ``max_trained_step`` steps the observed frames are held at that distance: no farther than training went.
    """

    space_angles: Tensor
    time_frequencies: Tensor

    def __init__(self, head: int, rows: int, columns: int, *, max_trained_step: int):
        super().__init__()
        self.max_trained_step = max_trained_step
        pairs = head // 2
        self.time_pairs = pairs * 3 // 8
        row_pairs = (pairs - self.time_pairs) // 2
        column_pairs = pairs - self.time_pairs - row_pairs
        row, column = torch.meshgrid(counted(rows), counted(columns), indexing="ij")
        angles = torch.cat(
            (
                row.flatten()[:, None] * frequencies(row_pairs, longest=4.0 * rows),
                column.flatten()[:, None] * frequencies(column_pairs, longest=4.0 * columns),
            ),
            dim=-1,
        )
        self.register_buffer("space_angles", placed(angles), persistent=False)  # [tokens, pairs - time_pairs]
        self.register_buffer(
            "time_frequencies", placed(frequencies(self.time_pairs, longest=128.0)), persistent=False
        )

    def angles(self, steps: Tensor) -> Tensor:
        """Model steps [F] -> angles [F * tokens, pairs]."""
        time = (steps[:, None] * self.time_frequencies)[:, None].expand(-1, len(self.space_angles), -1)
        space = self.space_angles.expand(len(steps), -1, -1)
        return torch.cat((time, space), dim=-1).flatten(0, 1)

    def space(self) -> Rotation:
        """For tokens of single frames [N, heads, tokens, head]: by their row and column only."""
        return Rotation.by(self.angles(self.space_angles.new_zeros(1)))

    def at(self, steps: Tensor) -> Rotation:
        """For tokens of frames at model steps ``steps`` [F]."""
        return Rotation.by(self.angles(steps))

    def before(self, last_step: int, *, frames: int) -> Rotation:
        """For the last ``frames`` observed frames as seen from a chunk that ends at ``last_step``."""
        shift = self.held(last_step)
        return self.at(torch.arange(shift - frames + 1, shift + 1, device=self.space_angles.device))

    def held(self, last_step: int) -> int:
        """Model steps by which observed frames follow a chunk that ends at ``last_step``."""
        return max(0, last_step - self.max_trained_step)


def frequencies(pairs: int, longest: float) -> Tensor:
    """Angular frequencies from 1 down to one turn per ``longest`` positions."""
    lowest = 2.0 * torch.pi / longest
    return lowest ** spaced(0.0, 1.0, pairs)
