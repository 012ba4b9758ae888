# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the autoencoder, on pairs of a reference frame and later frames of the same clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from dd_ros.checkpoint import Model
from dd_ros.config import CheckpointConfig
from dd_ros.model.autoencoder import Autoencoder, to_model_range
from dd_ros_training.batch_random import BatchRandom
from dd_ros_training.losses import log_error
from dd_ros_training.recipe import StageRecipe
from dd_ros_training.stages.base import Clock, Stage, optimisers

TARGETS = 4  # later frames of each clip per step
LATENT_NOISE = 0.2  # the decoder must bear latents that are off by this many deviations
# For the normalisation of latents: clips, and frames between two that are looked at.
SAMPLE_CLIPS, SAMPLE_SPACING = 128, 8


class AutoencoderStage(Stage):
    """Reconstruct later frames from their latent and the reference."""

    def __init__(self, config: CheckpointConfig, model: Model, *, recipe: StageRecipe, clock: Clock):
        super().__init__(config, model, recipe=recipe, clock=clock)
        self.model.transformer.requires_grad_(False)
        self.scores: list[Tensor] = []

    def configure_optimizers(self) -> list[Optimizer]:
        return optimisers(self.model.autoencoder, self.recipe.learning_rate)

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        batch_random = self.batch_random()
        chosen = [1 + drawn for drawn in batch_random.sample(batch["frames"].shape[1] - 1, TARGETS)]
        images, restored = restore(
            self.model.autoencoder, batch["frames"], chosen=chosen, batch_random=batch_random
        )
        loss = log_error(restored, images)
        self.descend(self.all_optimizers(), list(self.model.autoencoder.parameters()), loss)
        self.record({"autoencoder/loss": loss})

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        chosen = range(1, batch["frames"].shape[1], 3)
        self.scores.append(psnr(*restore(self.averaged.autoencoder, batch["frames"], chosen=chosen)))

    def on_validation_epoch_end(self) -> None:
        score = torch.stack(self.scores).mean()
        self.scores.clear()
        self.log("autoencoder/psnr", score, prog_bar=True, sync_dist=True)
        self.track_best(score)

    def best_model(self) -> Model:
        """As in the base; latents are normalised over a sample of the training clips, for later stages."""
        model = super().best_model()
        clips = self.trainer.datamodule.training_sample(SAMPLE_CLIPS)  # type: ignore[attr-defined]
        sample = torch.cat([clip["frames"][::SAMPLE_SPACING] for clip in clips])
        model.autoencoder.fit_normalisation(to_model_range(sample.to(self.device)))
        return model


def restore(
    network: Autoencoder, frames: Tensor, *, chosen: Sequence[int], batch_random: BatchRandom | None = None
) -> tuple[Tensor, Tensor]:
    """Frames uint8 [B, L, H, W, 3] -> those ``chosen`` (their n indices) and restored, [B, n, 3, H, W] in [-1, 1].

    With ``batch_random`` the latents are off by up to LATENT_NOISE deviations.
    """
    images = to_model_range(torch.stack([frames[:, number] for number in chosen], dim=1))
    latents, _ = network.encoder(images.flatten(0, 1))
    if batch_random:
        rows = len(latents)
        spread = LATENT_NOISE * latents.detach().std(dim=(1, 2, 3), keepdim=True)
        latents = latents + spread * batch_random.uniform(rows, 1, 1, 1) * batch_random.normal(*latents.shape)
    _, reference = network.encoder(to_model_range(frames[:, 0]))
    return images, network.decoder(latents, reference).unflatten(0, images.shape[:2])


def psnr(images: Tensor, restored: Tensor) -> Tensor:
    """Mean PSNR in dB of [B, n, 3, H, W] in [-1, 1]."""
    error = F.mse_loss(restored.clamp(-1, 1), images, reduction="none").mean(dim=(-3, -2, -1))
    return (10.0 * torch.log10(4.0 / error.clamp_min(1e-8))).mean()
