# SPDX-License-Identifier: Apache-2.0
"""Numbers read off latents: poses, joints, whatever was recorded beside the images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 32
GLANCES = 16  # places that are looked at


class Readout(nn.Module):
    """Reads numbers off single frames.

    Where things are is what most numbers tell of. So the head looks at some places, weighted means over the cells of
    features and of the cells' own coordinates (as spatial softmax, Finn et al. 2016), and computes the numbers from those.

    Args:
        latent_channels: channels of a latent cell.
        values: how many numbers.
    """

    def __init__(self, latent_channels: int, values: int):
        super().__init__()
        self.first = nn.Conv2d(latent_channels + 2, WIDTH, 3, padding=1)
        self.second = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.places = nn.Conv2d(WIDTH, GLANCES, 1)
        self.hidden = nn.Linear(GLANCES * (WIDTH + 2), 2 * WIDTH)
        self.values = nn.Linear(2 * WIDTH, values)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [..., c, h, w] -> normalised numbers, float32 [..., values]."""
        x = latents.flatten(0, -4)
        where = coordinates(x)
        x = F.gelu(self.first(torch.cat([x, where.expand(len(x), -1, -1, -1)], dim=1)))
        x = x + F.gelu(self.second(x))
        weights = self.places(x).flatten(2).float().softmax(dim=-1)  # [B, GLANCES, h * w]
        seen = torch.cat([x, where.to(x.dtype).expand(len(x), -1, -1, -1)], dim=1).flatten(2)
        glances = weights.to(seen.dtype) @ seen.transpose(1, 2)  # [B, GLANCES, WIDTH + 2]
        numbers = self.values(F.gelu(self.hidden(glances.flatten(1))))
        return numbers.float().unflatten(0, latents.shape[:-3])


def coordinates(x: Tensor) -> Tensor:
    """Rows and columns of the cells of [B, c, h, w], each from -1 to 1: [1, 2, h, w]."""
    rows, columns = (torch.linspace(-1.0, 1.0, size, device=x.device, dtype=x.dtype) for size in x.shape[-2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
