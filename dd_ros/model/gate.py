# SPDX-License-Identifier: Apache-2.0
"""The gate between decoder and image: see ``dd_ros.gate``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dd_ros.gate import LEVELS, REACH

WHITE = 127.5  # grey levels that a unit of the model's range stands for


def gated(pixels: Tensor, last: Tensor, shares: Tensor) -> Tensor:
    """The last observed frame and a share of the change from it to what was predicted.

    Args:
        pixels: predicted frames [N, c, 3, H, W]; from -1 to 1 counts, as in an image.
        last: the last observed frame [1, 3, H, W].
        shares: of c lead steps, [c, levels].

    Returns:
        [N, c, 3, H, W].
    """
    flat, rows = pixels.flatten(0, 1).clamp(-1.0, 1.0), shares.repeat(len(pixels), 1)  # [M, ...], [M, levels]
    change = flat - last
    squared = change.square().mean(dim=1, keepdim=True)
    around = F.avg_pool2d(squared, 2 * REACH + 1, 1, REACH, count_include_pad=False).clamp_min(0.0)
    octave = (
        torch.log2((WHITE / LEVELS[0] * around.sqrt()).clamp_min(1.0)).clamp_max(len(LEVELS) - 1).flatten(1)
    )
    below = octave.long().clamp_max(len(LEVELS) - 2)
    share = torch.lerp(rows.gather(1, below), rows.gather(1, below + 1), octave - below)
    return torch.addcmul(last, share.view_as(squared), change).unflatten(0, pixels.shape[:2])
