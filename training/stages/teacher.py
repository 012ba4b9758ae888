# SPDX-License-Identifier: Apache-2.0
"""Stage 2: the teacher, by flow matching with a noise level drawn per chunk."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from dd_ros.checkpoint import Model
from dd_ros.config import CheckpointConfig
from dd_ros.diffusion.path import add_noise, chunk_levels
from dd_ros.model.autoencoder import Reference, to_model_range
from dd_ros.model.transformer import Denoised, LastObservation, VideoTransformer
from dd_ros_training.batch_random import BatchRandom
from dd_ros_training.losses import flow_matching, uncertainty
from dd_ros_training.recipe import TeacherRecipe
from dd_ros_training.stages.base import Clock, Stage, optimisers
from dd_ros_training.validation import RolloutCheck

DROPPED_ACTIONS = 0.1  # share of clips whose actions are hidden, for guidance
SHORT_HISTORY = 0.15  # share of clips that start at the first frame ever seen


class LatentClips(NamedTuple):
    """A batch in the terms of the transformer; latents normalised, B clips.

    Attributes:
        context, context_actions: [B, C, c, h, w] and [B, C, A], observed frames.
        future, actions: [B, F, c, h, w] and [B, F, A].
        reference: the last observed frame as the decoder wants it.
        images: the future in pixels, [B, F, 3, H, W] in [-1, 1].
        past, past_actions: where the observed frames are from long before, a frame and the chunk that lie
            before the future, [B, 1 + chunk_frames, c, h, w], and the chunk's actions; None where the future
            follows the observed frames.
    """

    context: Tensor
    context_actions: Tensor
    future: Tensor
    actions: Tensor
    reference: Reference
    images: Tensor
    past: Tensor | None = None
    past_actions: Tensor | None = None

    @property
    def last_observation(self) -> LastObservation:
        """The last observed frame."""
        return LastObservation.last_of(self.context, self.context_actions)


class TeacherStage(Stage):
    """Trains the transformer with the autoencoder frozen."""

    recipe: TeacherRecipe

    def __init__(self, config: CheckpointConfig, model: Model, *, recipe: TeacherRecipe, clock: Clock):
        super().__init__(config, model, recipe=recipe, clock=clock)
        self.model.autoencoder.requires_grad_(False).eval()
        self.check = RolloutCheck("teacher")

    def configure_optimizers(self) -> list[Optimizer]:
        return optimisers(self.model.transformer, self.recipe.learning_rate)

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        batch_random = self.batch_random()
        clips = encode(
            self.model, batch, context_frames=self.config.context_frames, batch_random=batch_random
        )
        loss, error = self.losses(clips, batch_random)
        self.descend(self.all_optimizers(), list(self.model.transformer.parameters()), loss + 0.1 * error)
        self.record({"teacher/loss": loss, "teacher/uncertainty": error})

    def losses(self, clips: LatentClips, batch_random: BatchRandom) -> tuple[Tensor, Tensor]:
        """Flow-matching loss and uncertainty loss of one batch."""
        network = self.model.transformer
        observed = network.observe(*noised_context(clips, batch_random, self.recipe.context_noise))
        rows, size = len(clips.future), self.config.schedule.chunk_frames
        levels = chunk_levels(batch_random.uniform(rows, self.config.horizon // size), size)
        drop = batch_random.uniform(rows) < DROPPED_ACTIONS
        noisy = add_noise(clips.future, batch_random.normal(*clips.future.shape), levels)
        result = denoise_clip(
            network,
            clips,
            clean=clips.future,
            noisy=noisy,
            levels=levels,
            observed=observed,
            chunk_frames=size,
            drop=drop,
        )
        return flow_matching(result, clips.future, levels), uncertainty(result, clips.future)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        self.check.step(self, batch)

    def on_validation_epoch_end(self) -> None:
        self.check.finish(self)


@torch.no_grad()
def encode(
    model: Model, batch: dict[str, Tensor], *, context_frames: int, batch_random: BatchRandom
) -> LatentClips:
    """Frames and actions of a batch in latents; some clips start at the first frame ever seen."""
    images, actions = to_model_range(batch["frames"]), batch["actions"]
    latents, references = encode_frames(model, images)
    context, future = latents[:, :context_frames], latents[:, context_frames:]
    context_actions = actions[:, :context_frames]
    fresh = (
        batch_random.uniform(len(context), 1) < SHORT_HISTORY
    )  # chosen without asking the device which they are
    context = torch.where(fresh[..., None, None, None], context[:, -1:], context)
    context_actions = torch.where(fresh[..., None], context_actions[:, -1:], context_actions)
    return LatentClips(
        context=context,
        context_actions=context_actions,
        future=future,
        actions=actions[:, context_frames:],
        reference=Reference(*(part[:, context_frames - 1] for part in references)),
        images=images[:, context_frames:],
    )


def encode_frames(model: Model, images: Tensor) -> tuple[Tensor, Reference]:
    """Images [B, F, 3, H, W] in [-1, 1] -> latents [B, F, c, h, w], and each as a reference, [B, F, ...]."""
    latents, references = model.autoencoder.encode(images.flatten(0, 1))
    latents, *parts = (part.unflatten(0, images.shape[:2]) for part in (latents, *references))
    return latents, Reference(*parts)


def noised_context(
    clips: LatentClips, batch_random: BatchRandom, most: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Observed latents, in half of the clips noised up to level ``most``, their actions, and the levels [B, C].

    In the order of ``VideoTransformer.observe``.
    """
    levels = most * batch_random.uniform(*clips.context.shape[:2])
    levels = levels * (batch_random.uniform(len(levels), 1) < 0.5)
    noise = batch_random.normal(*clips.context.shape)
    return add_noise(clips.context, noise, levels), clips.context_actions, levels


def denoise_clip(
    network: VideoTransformer,
    clips: LatentClips,
    *,
    clean: Tensor,
    noisy: Tensor,
    levels: Tensor,
    observed: Tensor,
    chunk_frames: int,
    drop: Tensor | None = None,
) -> Denoised:
    """All chunks of each clip in one pass.

    Args:
        network: the denoiser.
        clips: what the frames belong to.
        clean: [B, F, c, h, w]; a chunk is conditioned on the last frame of the one before as it is here.
        noisy: [B, F, c, h, w], the same at noise ``levels`` [B, F]; a chunk sees the noisy ones before it.
        observed: keys and values of the observed frames.
        chunk_frames: frames of a chunk.
        drop: bool [B], clips whose actions are hidden.
    """
    ends = clean[:, chunk_frames - 1 : -1 : chunk_frames]
    return network(
        noisy=noisy,
        levels=levels,
        actions=clips.actions,
        last_observation=clips.last_observation,
        latest=torch.cat((clips.last_observation.latent[:, None], ends), dim=1),
        observed=observed,
        past=[],
        chunk_frames=chunk_frames,
        drop=drop,
    )
