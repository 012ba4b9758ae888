# SPDX-License-Identifier: Apache-2.0
"""A block of the transformer, and the norms in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_ros.config import TransformerConfig
from dd_ros.model.numbers import placed

EPSILON = 1e-6


class HeadNorm(nn.Module):
    """A weight for each channel of a head, by which RMS-normed queries or keys count; see ``Block.project``."""

    def __init__(self, head: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head))


class Block(nn.Module):
    """Attention and MLP, each modulated per frame (adaptive norm with weights shared by all blocks)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width, self.heads = config.width, config.heads
        head = width // self.heads
        self.modulation = nn.Parameter(placed(torch.randn(6, width, device="cpu") / width**0.5))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = HeadNorm(head), HeadNorm(head)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [N, F, tokens, width] -> normed queries and keys, and values.

        Both in one tensor [2, N, heads, F * tokens, head], which halves the kernels of norm and rotation; float32.
        """
        qkv = self.qkv(x).flatten(1, 2).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        qk, values = qkv[:2], qkv[2]
        weights = torch.stack((self.query_norm.weight, self.key_norm.weight))[:, None, None, None]
        return rms_normed(qk) * weights, values

    def modulate(self, shared: Tensor) -> Sequence[Tensor]:
        """Shared modulation [N, F, 6, width] -> shift, scale and gate of attention and of MLP, [N, F, 1, width] each."""
        return (shared + self.modulation)[:, :, :, None].unbind(dim=2)


def rms_normed(x: Tensor) -> Tensor:
    """``x`` over the root of its mean square over the last dimension, float32.

    The root by itself is one kernel on a CPU, where ``F.rms_norm`` is eight; on a GPU that is one for all.
    """
    if x.is_cuda:
        return F.rms_norm(x.float(), x.shape[-1:], eps=EPSILON**2)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return x / (norm * x.shape[-1] ** -0.5 + EPSILON)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """RMS norm of tokens [N, F, tokens, width], scaled and shifted per frame."""
    return torch.addcmul(shift, rms_normed(x), scale)
