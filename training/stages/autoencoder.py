# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the autoencoder, on pairs of a reference frame and later frames of the same clip."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from dd_ros.model.autoencoder import Autoencoder, to_model_range
from dd_ros_training.stages.base import Stage, optimisers

TARGETS = 4  # later frames of each clip per step
LATENT_NOISE = 0.2  # the decoder must bear latents that are off by this many deviations
MOVING = 0.1  # change in [-1, 1] pixels that counts as motion
MOVING_WEIGHT = 4.0


class AutoencoderStage(Stage):
    """Reconstruct later frames from their latent and the reference; moving pixels weigh more."""

    def configure_optimizers(self) -> list[Optimizer]:
        return optimisers(self.model.autoencoder, self.recipe.rate)

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        length = batch["frames"].shape[1]
        chosen = torch.randperm(length - 1)[:TARGETS] + 1
        images, restored = restore(self.model.autoencoder, batch["frames"], chosen, LATENT_NOISE)
        reference = to_model_range(batch["frames"][:, :1])
        moving = (images - reference).abs().amax(dim=2, keepdim=True) > MOVING
        weight = 1.0 + MOVING_WEIGHT * moving
        error = restored - images
        loss = (weight * (error.abs() + 5.0 * error.square())).mean()
        optimizers = cast(list[Optimizer], [self.optimizers()])
        self.descend(optimizers, list(self.model.autoencoder.parameters()), loss)
        self.log_dict({"autoencoder/loss": loss, "autoencoder/psnr": psnr(images, restored)}, prog_bar=True)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        chosen = torch.arange(1, batch["frames"].shape[1], 3)
        images, restored = restore(self.averaged.autoencoder, batch["frames"], chosen, 0.0)
        self.log("autoencoder/validation_psnr", psnr(images, restored), prog_bar=True)

    def on_train_end(self) -> None:
        """Latents are normalised over a sample of the training clips, for the stages to come."""
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        sample = torch.cat([batch["frames"][:, ::8] for batch, _ in zip(loader, range(32), strict=False)])
        self.averaged.autoencoder.fit_normalisation(to_model_range(sample.flatten(0, 1)).to(self.device))


def restore(network: Autoencoder, frames: Tensor, chosen: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Frames uint8 [B, L, H, W, 3] -> (chosen images, restored ones), [B, n, 3, H, W] in [-1, 1]."""
    images = to_model_range(frames[:, chosen])
    latents, _ = network.encoder(images.flatten(0, 1))
    latents = latents + noise * latents.detach().std() * torch.rand(
        len(latents), 1, 1, 1, device=latents.device
    ) * torch.randn_like(latents)
    _, reference = network.encoder(to_model_range(frames[:, 0]))
    repeated = type(reference)(*(part.repeat_interleave(len(chosen), dim=0) for part in reference))
    return images, network.decoder(latents, repeated).unflatten(0, images.shape[:2])


def psnr(images: Tensor, restored: Tensor) -> Tensor:
    """Mean PSNR in dB of [B, n, 3, H, W] in [-1, 1]."""
    error = F.mse_loss(restored.clamp(-1, 1), images, reduction="none").mean(dim=(-3, -2, -1))
    return (10.0 * torch.log10(4.0 / error.clamp_min(1e-8))).mean()
