# SPDX-License-Identifier: Apache-2.0
"""KV cache of fixed size: observed frames that stay, generated chunks that are rolled back."""

from __future__ import annotations

from collections import deque

import torch

from dd_ros.model.attention import KeysValues


class KVCache:
    """Keys and values of the last observed frames and of the chunks of the rollout under way.

    Memory is bounded by construction: ``context_frames`` observed frames and ``window_chunks``
    generated chunks. Before as many frames were seen, the first one stands for its predecessors (a
    camera that did not move), so shapes are the same from the first frame on.
    """

    def __init__(self, context_frames: int, window_chunks: int):
        self.context_frames, self.window_chunks = context_frames, window_chunks
        self.observed: list[KeysValues] = []
        self.generated: deque[list[KeysValues]] = deque(maxlen=window_chunks)

    def observe(self, keys_values: list[KeysValues]) -> None:
        """Append one observed frame (per block [B, heads, tokens, head]); drop the oldest."""
        if not self.observed:
            self.observed = [
                KeysValues(*(part.repeat(1, 1, self.context_frames, 1) for part in kv)) for kv in keys_values
            ]
            return
        for old, new in zip(self.observed, keys_values, strict=True):
            for kept, part in zip(old, new, strict=True):
                tokens = part.shape[2]
                kept.copy_(torch.cat((kept[:, :, tokens:], part), dim=2))  # in place: one address for good

    def append(self, keys_values: list[KeysValues]) -> None:
        """Add a generated chunk; the oldest leaves the window."""
        self.generated.append(keys_values)

    def rollback(self) -> None:
        """Forget every generated chunk."""
        self.generated.clear()

    def copy(self) -> KVCache:
        """The observed frames in a cache of their own, which later observations do not change."""
        other = KVCache(self.context_frames, self.window_chunks)
        other.observed = [KeysValues(*(part.clone() for part in kv)) for kv in self.observed]
        return other

    def clear(self) -> None:
        """Forget everything."""
        self.observed = []
        self.rollback()
