# SPDX-License-Identifier: Apache-2.0
"""Stage 3: diagonal distillation. The student rolls out exactly as it will on the robot.

Steps, cache, window, sink and positions are those of ``diffusion.rollout``, the function that
inference calls. In every chunk the step that carries the gradient is drawn from that chunk's own
list, so every step of every chunk is trained. The decoder learns along, to make the best image of
latents as the student predicts them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from dd_ros.checkpoint import Model
from dd_ros.config import CheckpointConfig
from dd_ros.diffusion.path import add_noise, shift
from dd_ros.diffusion.rollout import RolloutChunk, rollout
from dd_ros.errors import InputError
from dd_ros.model.autoencoder import Reference, to_model_range
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import Denoised, VideoTransformer
from dd_ros_training.batch_random import BatchRandom
from dd_ros_training.losses import (
    distribution_matching,
    flow_matching,
    image_error,
    motion_matching,
    regression,
    ssim_error,
    uncertainty,
)
from dd_ros_training.recipe import DistillationRecipe
from dd_ros_training.stages.base import Clock, Stage, optimisers
from dd_ros_training.stages.teacher import LatentClips, denoise_clip, encode, encode_frames, noised_context
from dd_ros_training.validation import RolloutCheck

MOST_PAST_NOISE = 0.5  # level of a real chunk that stands for one of the student's
LEAST_NOISE, MOST_NOISE = 0.02, 0.98  # levels at which the two scores compare distributions


class DistillationStage(Stage):
    """The student (``model``) and, where the recipe matches distributions, the two scores it is matched by.

    Attributes:
        teacher: the student's frozen beginning, the real score; None without distribution matching.
        critic: the fake score, which learns the student's own distribution; None as well.
    """

    recipe: DistillationRecipe

    def __init__(self, config: CheckpointConfig, model: Model, *, recipe: DistillationRecipe, clock: Clock):
        super().__init__(config, model, recipe=recipe, clock=clock)
        self.model.autoencoder.encoder.requires_grad_(False)
        self.teacher: VideoTransformer | None = None
        self.critic: VideoTransformer | None = None
        if recipe.matches_distributions:
            self.teacher = copy.deepcopy(model.transformer).requires_grad_(False).eval()
            self.critic = copy.deepcopy(model.transformer).requires_grad_(True)
        self.check = RolloutCheck("distillation")

    def configure_optimizers(self) -> list[Optimizer]:
        """The student's, then the critic's."""
        student = optimisers(self.model.transformer, self.recipe.learning_rate)
        student += optimisers(self.model.autoencoder.decoder, self.recipe.learning_rate)
        self.student_optimisers = len(student)
        return student + (optimisers(self.critic, self.recipe.learning_rate) if self.critic else [])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As in the base; a teacher and a critic that the recipe does not use are left behind.

        Raises:
            InputError: the recipe uses them, and the run that goes on had none.
        """
        super().on_load_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        scores = {name for name in weights if name.startswith(("teacher.", "critic."))}
        if self.critic and not scores:
            raise InputError(
                f"{self.trainer.ckpt_path}: made without matching and motion, which the recipe has; "
                "remove it to begin the distillation anew"
            )
        if scores and not self.critic:
            checkpoint["state_dict"] = {name: weights[name] for name in weights if name not in scores}
            student = len(self.configure_optimizers())
            checkpoint["optimizer_states"] = checkpoint["optimizer_states"][:student]

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        batch_random = self.batch_random()
        optimizers = self.all_optimizers()
        critic = self.critic if self.scores_joined() else None
        if critic and self.steps % (self.recipe.critic_steps + 1) < self.recipe.critic_steps:
            loss = self.critic_loss(critic, self.encode(batch, batch_random), batch_random)
            self.descend(optimizers[self.student_optimisers :], list(critic.parameters()), loss)
            self.record({"distillation/critic": loss})
            return
        several = self.config.schedule.chunks(self.config.horizon) > 1
        if several and batch_random.bernoulli(self.recipe.long_rollouts):
            clips = self.far_ahead(batch)
        else:
            clips = self.encode(batch, batch_random)
        losses = self.student_losses(clips, batch_random, scored=critic is not None)
        total = torch.stack([self.weight(name) * loss for name, loss in losses.items()]).sum()
        self.descend(optimizers[: self.student_optimisers], list(self.model.parameters()), total)
        self.record({"distillation/loss": total, **{f"distillation/{name}": x for name, x in losses.items()}})

    def encode(self, batch: dict[str, Tensor], batch_random: BatchRandom) -> LatentClips:
        return encode(self.model, batch, context_frames=self.config.context_frames, batch_random=batch_random)

    def scores_joined(self) -> bool:
        """Whether critic, matching and motion take part by now, where the recipe has them."""
        return self.recipe.dmd_start <= self.progress_fraction() < 1.0

    def weight(self, name: str) -> float:
        """Weight of a loss now; the regression's falls linearly over the stage."""
        weight = getattr(self.recipe, name)
        if name == "regression":
            weight += (self.recipe.regression_end - weight) * self.progress_fraction()
        return weight

    def generate(self, clips: LatentClips, batch_random: BatchRandom) -> Tensor:
        """Latents [B, F, c, h, w] of the student's rollout, as the robot makes it."""
        chunks = self.student_rollout(clips, batch_random, trained=False)
        return torch.cat([chunk.latents for chunk in chunks], dim=1)

    def estimate_with_gradient(self, clips: LatentClips, batch_random: BatchRandom) -> Denoised:
        """What drawn steps of the student's rollout, one of each chunk, make of all its frames."""
        chunks = self.student_rollout(clips, batch_random, trained=True)
        latents, log_variances, _ = zip(*(cast(Denoised, chunk.trained) for chunk in chunks), strict=True)
        return Denoised(torch.cat(latents, dim=1), torch.cat(log_variances, dim=1), [])

    def student_rollout(
        self, clips: LatentClips, batch_random: BatchRandom, *, trained: bool
    ) -> Iterator[RolloutChunk]:
        """The robot's rollout over a batch; if ``trained``, a drawn step of each chunk carries the gradient."""
        schedule, first_step = self.config.schedule, 1
        window = self.config.transformer.window_frames // schedule.chunk_frames
        cache = KVCache(self.config.context_frames, window)
        network = self.model.transformer
        cache.observed = network.observe(*noised_context(clips, batch_random, self.recipe.context_noise))
        if clips.past is not None:
            # From here on the observed frames are held at their distance.
            beyond = network.config.max_trained_step + 1
            self.cache_past(cache, clips, batch_random=batch_random, first_step=beyond)
            first_step = beyond + schedule.chunk_frames
            schedule = schedule.model_copy(update={"levels": schedule.levels[-1:]})
        if trained:
            chunks = schedule.chunks(clips.future.shape[1])
            steps = [batch_random.randint(len(schedule.chunk_levels(chunk))) for chunk in range(chunks)]
        else:
            steps = None
        noise = batch_random.normal(*clips.future.shape)
        latest = None if clips.past is None else clips.past[:, -1]
        return rollout(
            network,
            cache,
            last_observation=clips.last_observation,
            actions=clips.actions,
            noise=noise,
            schedule=schedule,
            trained_steps=steps,
            first_step=first_step,
            latest=latest,
        )

    def student_losses(
        self, clips: LatentClips, batch_random: BatchRandom, *, scored: bool
    ) -> dict[str, Tensor]:
        """The losses by the names of their weights in the recipe; matching and motion where ``scored``."""
        result = self.estimate_with_gradient(clips, batch_random)
        generated = result.latents
        losses = {
            "regression": regression(generated, clips.future, self.recipe.error_floor),
            "uncertainty": uncertainty(result, clips.future),
        }
        if self.progress_fraction() >= self.recipe.pixel_loss_start:
            decoded = self.decoded_and_true(clips, generated, batch_random)
            losses |= {"pixels": image_error(*decoded), "ssim": ssim_error(*decoded)}
        if scored and clips.past is None:  # the teacher does not know long rollouts
            fake, real = self.scores(clips, generated.detach(), batch_random)
            losses["matching"] = distribution_matching(generated, fake, real)
            losses["motion"] = motion_matching(generated, fake, real)
        return losses

    @torch.no_grad()
    def far_ahead(self, batch: dict[str, Tensor]) -> LatentClips:
        """Clips as a long rollout meets them: observed frames from long before, and the chunk before the future."""
        count = self.config.context_frames
        first = count + self.config.schedule.chunk_frames
        images = to_model_range(torch.cat((batch["earlier_frames"], batch["frames"][:, count - 1 :]), dim=1))
        actions = torch.cat((batch["earlier_actions"], batch["actions"][:, count:]), dim=1)
        latents, references = encode_frames(self.model, images)
        return LatentClips(
            context=latents[:, :count],
            context_actions=actions[:, :count],
            future=latents[:, first + 1 :],
            actions=actions[:, first:],
            reference=Reference(*(part[:, count - 1] for part in references)),
            images=images[:, first + 1 :],
            past=latents[:, count : first + 1],
            past_actions=actions[:, count:first],
        )

    @torch.no_grad()
    def cache_past(
        self, cache: KVCache, clips: LatentClips, *, batch_random: BatchRandom, first_step: int
    ) -> None:
        """Put the chunk before the future into the cache, at some noise: it is real, and the student's are not."""
        level = MOST_PAST_NOISE * batch_random.random()
        latest, past = cast(Tensor, clips.past).tensor_split((1,), dim=1)
        noise = batch_random.normal(*past.shape)
        result = self.model.transformer(
            noisy=add_noise(past, noise, past.new_full(past.shape[:2], level)),
            levels=past.new_full(past.shape[:2], level),
            actions=cast(Tensor, clips.past_actions),
            last_observation=clips.last_observation,
            latest=latest,
            observed=cache.observed,
            past=[],
            chunk_frames=self.config.schedule.chunk_frames,
            first_step=first_step,
        )
        cache.append(result.keys_values)

    def decoded_and_true(
        self, clips: LatentClips, generated: Tensor, batch_random: BatchRandom
    ) -> tuple[Tensor, Tensor]:
        """Decoded and true frames [B, n, 3, H, W], one drawn from each chunk."""
        size = self.config.schedule.chunk_frames
        drawn = [first + batch_random.randint(size) for first in range(0, generated.shape[1], size)]
        latents, true = (
            torch.stack([part[:, at] for at in drawn], dim=1) for part in (generated, clips.images)
        )
        images = self.model.autoencoder.decode(latents.flatten(0, 1), clips.reference)
        return images.unflatten(0, latents.shape[:2]), true

    @torch.no_grad()
    def scores(
        self, clips: LatentClips, generated: Tensor, batch_random: BatchRandom
    ) -> tuple[Tensor, Tensor]:
        """Fake and real score's estimates of ``generated`` from one noised copy of it."""
        noisy, levels = self.noised(generated, batch_random)
        critic, teacher = (
            partial(
                self.estimate, cast(VideoTransformer, network), clips, generated, noisy=noisy, levels=levels
            )
            for network in (self.critic, self.teacher)
        )
        fake, real = critic().latents, teacher().latents
        if self.recipe.guidance:
            hidden = torch.ones(len(noisy), dtype=torch.bool, device=noisy.device)
            real = real + self.recipe.guidance * (real - teacher(drop=hidden).latents)
        return fake, real

    def noised(self, generated: Tensor, batch_random: BatchRandom) -> tuple[Tensor, Tensor]:
        """``generated`` noised to one level per clip, and the levels [B, F]: where scores are compared."""
        levels = shift(batch_random.uniform(len(generated), 1)).clamp(LEAST_NOISE, MOST_NOISE)
        levels = levels.expand(-1, generated.shape[1])
        return add_noise(generated, batch_random.normal(*generated.shape), levels), levels

    def estimate(
        self,
        network: VideoTransformer,
        clips: LatentClips,
        generated: Tensor,
        *,
        noisy: Tensor,
        levels: Tensor,
        drop: Tensor | None = None,
    ) -> Denoised:
        """What ``network`` makes of the ``generated`` latents from a noised copy of them, see ``denoise_clip``."""
        return denoise_clip(
            network,
            clips,
            clean=generated,
            noisy=noisy,
            levels=levels,
            observed=network.observe(clips.context, clips.context_actions),
            chunk_frames=self.config.schedule.chunk_frames,
            drop=drop,
        )

    def critic_loss(self, critic: VideoTransformer, clips: LatentClips, batch_random: BatchRandom) -> Tensor:
        """The critic learns the student's own distribution by flow matching."""
        with torch.no_grad():
            generated = self.generate(clips, batch_random)
        noisy, levels = self.noised(generated, batch_random)
        result = self.estimate(critic, clips, generated, noisy=noisy, levels=levels)
        return flow_matching(result, generated, levels) + 0.1 * uncertainty(result, generated)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        self.check.step(self, batch)

    def on_validation_epoch_end(self) -> None:
        self.check.finish(self)
