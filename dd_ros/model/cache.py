# SPDX-License-Identifier: Apache-2.0
"""KV cache of fixed size: observed frames that stay, generated chunks that are rolled back."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from dd_ros.model.attention import KeysValues


class KVCache:
    """Keys and values of the last observed frames and of the chunks of the rollout under way.

    Memory is bounded by construction: ``context_frames`` observed frames and ``window_chunks``
    generated chunks. Before as many frames were seen, the first one stands for its predecessors (a
    camera that did not move), so shapes are the same from the first frame on.

    Attributes:
        observed: [depth, 2, B, heads, context_frames * tokens, head], as ``VideoTransformer.observe`` makes them; None
            before the first frame.
        generated: of each chunk, one KeysValues per block.
    """

    def __init__(self, context_frames: int, window_chunks: int):
        self.context_frames = context_frames
        self.observed: Tensor | None = None
        self.generated: deque[list[KeysValues]] = deque(maxlen=window_chunks)

    def observe(self, keys_values: Tensor) -> None:
        """Append one observed frame [depth, 2, B, heads, tokens, head]; drop the oldest."""
        if self.observed is None:
            self.observed = empty_cache(keys_values, self.context_frames)
            for _ in range(self.context_frames - 1):
                add_frame(self.observed, keys_values)
        add_frame(self.observed, keys_values)

    def append(self, keys_values: list[KeysValues]) -> None:
        """Add a generated chunk; the oldest leaves the window."""
        self.generated.append(keys_values)

    def rollback(self) -> None:
        """Forget every generated chunk."""
        self.generated.clear()


def empty_cache(keys_values: Tensor, context_frames: int) -> Tensor:
    """Room for ``context_frames`` observed frames like ``keys_values`` [depth, 2, B, heads, tokens, head]."""
    *lead, tokens, head = keys_values.shape
    return keys_values.new_zeros(*lead, context_frames * tokens, head)


def add_frame(cache: Tensor, keys_values: Tensor) -> None:
    """Put one more frame behind those in ``cache``, in place, and drop the oldest."""
    tokens = keys_values.shape[-2]
    cache.copy_(torch.cat((cache[..., tokens:, :], keys_values), dim=-2))
