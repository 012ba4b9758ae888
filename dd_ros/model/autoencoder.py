# SPDX-License-Identifier: Apache-2.0
"""Per-frame image autoencoder whose decoder also sees the last observed frame.

A robot's background hardly moves, so the latent only has to carry what the last observed frame (the
reference) cannot tell: the decoder warps the reference and paints where that does not explain the
image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_ros.config import AutoencoderConfig

CELL = 8  # pixels a latent cell stands for, in each direction
MAX_FLOW = 32.0  # pixels the decoder may move the reference


class Reference(NamedTuple):
    """What the decoder keeps of the last observed frame, computed once per observation.

    Attributes:
        image: float [B, 3, H, W] in [-1, 1].
        fine: features [B, fine_width, H/4, W/4].
        coarse: features [B, coarse_width, H/8, W/8].
    """

    image: Tensor
    fine: Tensor
    coarse: Tensor


class ResidualBlock(nn.Module):
    """Residual block: depthwise 5x5, then two 1x1 layers (after ConvNeXt)."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.up = nn.Conv2d(width, 2 * width, 1)
        self.down = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(image_norm(self.mix(x), self.norm))))


def image_norm(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """``norm``, of one group, over images [B, C, H, W]: on a GPU by all of it, where torch's kernel uses a multiprocessor
    per image."""
    if not x.is_cuda:
        return norm(x)
    x = x.float()
    variance, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
    scale = (variance + norm.eps).rsqrt() * norm.weight[:, None, None]
    return torch.addcmul(norm.bias[:, None, None] - mean * scale, x, scale)


def blocks(count: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class Encoder(nn.Module):
    """Image [B, 3, H, W] in [-1, 1] -> (latent [B, c, H/8, W/8], its Reference)."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        fine, coarse = config.fine_width, config.coarse_width
        self.stem = nn.Conv2d(3 * 16, fine, 3, padding=1)
        self.fine = blocks((config.encoder_blocks + 1) // 2, fine)
        self.downsample = nn.Conv2d(fine, coarse, 2, stride=2)
        self.coarse = blocks(config.encoder_blocks, coarse)
        self.head = nn.Conv2d(coarse, config.latent_channels, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Reference]:
        fine = self.fine(self.stem(F.pixel_unshuffle(image, 4)))
        coarse = self.coarse(self.downsample(fine))
        return self.head(coarse), Reference(image, fine, coarse)


class Decoder(nn.Module):
    """(latents [B * n, c, H/8, W/8], B references) -> images [B * n, 3, H, W], not clamped."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        fine, coarse = config.fine_width, config.coarse_width
        self.stem = nn.Conv2d(config.latent_channels, coarse, 3, padding=1)
        self.coarse_skip = nn.Conv2d(coarse, coarse, 1)
        self.coarse = blocks(config.decoder_blocks, coarse)
        self.upsample = nn.Conv2d(coarse, 4 * fine, 1)
        self.fine_skip = nn.Conv2d(fine, fine, 1)
        self.fine = blocks((config.decoder_blocks + 1) // 2, fine)
        self.head = nn.Conv2d(fine, 16 * 4 + 2, 3, padding=1)  # 16 x (rgb, keep) and a flow per 4x4 pixels

    def forward(self, latent: Tensor, reference: Reference) -> Tensor:
        count = len(latent) // len(reference.image)
        coarse_skip, fine_skip = self.coarse_skip(reference.coarse), self.fine_skip(reference.fine)
        coarse_skip, fine_skip, image = (
            part.repeat_interleave(count, dim=0) for part in (coarse_skip, fine_skip, reference.image)
        )
        x = self.coarse(self.stem(latent) + coarse_skip)
        x = self.head(self.fine(F.pixel_shuffle(self.upsample(x), 2) + fine_skip))
        x = x.to(image.dtype)  # lerp wants one number format, and a CPU resizes float32 sooner
        paint, flow = F.pixel_shuffle(x[:, :64], 4), x[:, 64:]
        keep = torch.sigmoid(paint[:, 3:] + 2.0)  # starts by trusting the reference
        return torch.lerp(paint[:, :3], warp(image, flow), keep)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample ``image`` [B, 3, H, W] where ``flow`` [B, 2, H/4, W/4] points, at most MAX_FLOW away."""
    h, w = image.shape[-2:]
    flow = flow.contiguous()  # two channels last take a CPU four times as long to resize
    flow = F.interpolate(flow, size=(h, w), mode="bilinear", align_corners=False)
    flow = MAX_FLOW * torch.tanh(flow / MAX_FLOW)
    y = torch.arange(h, device=image.device, dtype=image.dtype)[:, None]
    x = torch.arange(w, device=image.device, dtype=image.dtype)[None, :]
    grid = torch.stack(((2 * (x + flow[:, 0]) + 1) / w - 1, (2 * (y + flow[:, 1]) + 1) / h - 1), dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


class Autoencoder(nn.Module):
    """Encoder and decoder with latents normalised to zero mean and unit deviation per channel.

    The statistics are buffers set by ``fit_normalisation`` after training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("mean", torch.zeros(config.latent_channels, 1, 1))
        self.register_buffer("std", torch.ones(config.latent_channels, 1, 1))

    def encode(self, image: Tensor) -> tuple[Tensor, Reference]:
        """Image [B, 3, H, W] in [-1, 1] -> (normalised latent [B, c, H/8, W/8], Reference)."""
        latent, reference = self.encoder(image)
        return (latent - self.mean) / self.std, reference

    def decode(self, latent: Tensor, reference: Reference) -> Tensor:
        """Normalised latents [B * n, c, H/8, W/8] of B references -> images [B * n, 3, H, W]."""
        return self.decoder(latent * self.std + self.mean, reference)

    @torch.no_grad()
    def fit_normalisation(self, images: Tensor) -> None:
        """Set mean and deviation from ``images`` [B, 3, H, W] in [-1, 1]."""
        latent = self.encoder(images)[0]
        self.mean.copy_(latent.mean(dim=(0, 2, 3))[:, None, None])
        self.std.copy_(latent.std(dim=(0, 2, 3)).clamp_min(1e-4)[:, None, None])


def to_model_range(images: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in [-1, 1]."""
    return images.movedim(-1, -3).float() / 127.5 - 1.0


def to_uint8(images: Tensor) -> Tensor:
    """float [..., 3, H, W] in [-1, 1] -> uint8 [..., H, W, 3], contiguous."""
    return ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).contiguous()
