# SPDX-License-Identifier: Apache-2.0
"""Skill of the rollout during training: the very rollout of the robot, against copy-last."""

from __future__ import annotations

import io
from typing import Any, cast

import imageio.v2 as imageio
import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from dd_ros.diffusion.rollout import rollout
from dd_ros.evaluation.metrics import BEST_PSNR
from dd_ros.model.autoencoder import to_model_range, to_uint8
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import LastObservation
from dd_ros_training.batch_random import BatchRandom
from dd_ros_training.stages.base import Stage

VIDEOS = 4  # clips whose videos are logged


class RolloutCheck:
    """Collects PSNR of rollouts over validation batches; logs skill, true against shuffled actions, a video."""

    def __init__(self, prefix: str):
        self.prefix = prefix
        self.rows: list[Tensor] = []

    @torch.no_grad()
    def step(self, stage: Stage, batch: dict[str, Tensor]) -> None:
        """Predict one batch with true and with shuffled actions."""
        config, model = stage.config, stage.averaged
        frames, actions, seen = batch["frames"], batch["actions"], config.context_frames
        images = to_model_range(frames)
        latents, _ = model.autoencoder.encode(images[:, :seen].flatten(0, 1))
        latents = latents.unflatten(0, (-1, seen))
        _, reference = model.autoencoder.encode(images[:, seen - 1])
        cache = KVCache(seen, config.transformer.window_frames // config.schedule.chunk_frames)
        for index in range(seen):
            part = slice(index, index + 1)
            cache.observe(model.transformer.observe(latents[:, part], actions[:, part]))
        # The same noise at every validation.
        batch_random = BatchRandom(len(self.rows), device=latents.device)
        noise = batch_random.normal(len(frames), config.horizon, *latents.shape[2:])
        predictions = []
        for commands in (actions[:, seen:], actions[:, seen:].roll(1, dims=0)):
            cache.rollback()
            chunks = rollout(
                model.transformer,
                cache,
                last_observation=LastObservation.last_of(latents, actions[:, :seen]),
                actions=commands,
                noise=noise,
                schedule=config.schedule,
            )
            predicted = torch.cat([chunk.latents for chunk in chunks], dim=1)
            decoded = model.autoencoder.decode(predicted.flatten(0, 1), reference)
            predictions.append(to_uint8(decoded).unflatten(0, predicted.shape[:2]))
        true = frames[:, seen:]
        last = frames[:, seen - 1 : seen].expand_as(true)
        self.rows.append(
            torch.stack([mean_psnr(true, candidate) for candidate in (*predictions, last)], dim=1)
        )
        if len(self.rows) == 1:
            self.log_video(stage, true[:VIDEOS], predictions[0][:VIDEOS])

    def finish(self, stage: Stage) -> None:
        """Log the means over all batches; skill tells which weights are best."""
        model, shuffled, last = torch.cat(self.rows).to(stage.device).unbind(dim=1)
        self.rows.clear()
        stage.log_dict(
            {
                f"{self.prefix}/skill": (model - last).mean(),
                f"{self.prefix}/psnr": model.mean(),
                f"{self.prefix}/true_actions_best": (model > shuffled).float().mean(),
            },
            prog_bar=True,
            sync_dist=True,
        )
        stage.track_best((model - last).mean())

    def log_video(self, stage: Stage, true: Tensor, predicted: Tensor) -> None:
        """True above predicted, clips side by side, as an animated image in TensorBoard."""
        if stage.logger is None or not stage.trainer.is_global_zero:
            return
        rows = [clips.permute(1, 2, 0, 3, 4).flatten(2, 3) for clips in (true, predicted)]  # [F, H, B * W, 3]
        frames = torch.cat(rows, dim=1).cpu().numpy()
        rate_hz = stage.config.streams.rate_hz
        gif = io.BytesIO()
        imageio.mimsave(gif, list(frames), format="GIF", duration=1000.0 / rate_hz, loop=0)
        image = Summary.Image(
            height=frames.shape[1], width=frames.shape[2], colorspace=3, encoded_image_string=gif.getvalue()
        )
        value = Summary.Value(tag=f"{self.prefix}/true_above_predicted", image=image)
        cast(Any, stage.logger).experiment.file_writer.add_summary(Summary(value=[value]), stage.global_step)


def mean_psnr(true: Tensor, predicted: Tensor) -> Tensor:
    """PSNR in dB of uint8 [B, F, H, W, 3], averaged over the F frames -> [B], where they are; see ``metrics.psnr``."""
    error = ((true.float() - predicted.float()) / 255.0).square().mean(dim=(-3, -2, -1))
    return (-10.0 * error.clamp_min(1e-12).log10()).clamp_max(BEST_PSNR).mean(dim=-1)
