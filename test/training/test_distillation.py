# SPDX-License-Identifier: Apache-2.0
"""Training is inference: the student's rollout is the predictor's, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tiny import random_model, tiny_config

from dd_ros import Predictor
from dd_ros.checkpoint import Model
from dd_ros.config import CheckpointConfig, Schedule
from dd_ros.diffusion.rollout import RolloutChunk, rollout
from dd_ros.diffusion.schedule import preset
from dd_ros.model.attention import KeysValues
from dd_ros.model.autoencoder import to_model_range
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import Denoised, VideoTransformer
from dd_ros_training.batch_random import BatchRandom
from dd_ros_training.callbacks import StageClock
from dd_ros_training.recipe import DistillationRecipe
from dd_ros_training.stages import distillation
from dd_ros_training.stages.distillation import DistillationStage
from dd_ros_training.stages.teacher import LatentClips


def random_clips() -> LatentClips:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    image = Model(tiny_config()).autoencoder.encode(random(3, 3, 32, 48))[1]
    return LatentClips(
        context=random(3, 2, 4, 4, 6),
        context_actions=random(3, 2, 2),
        future=random(3, 8, 4, 4, 6),
        actions=random(3, 8, 2),
        reference=image,
        images=random(3, 8, 3, 32, 48),
    )


def stage_of(**recipe: float) -> DistillationStage:
    """A stage with a random student; ``recipe`` has the entries that are not the default."""
    config = tiny_config(schedule=preset("4-3-2-1", 2, 8))
    settings = DistillationRecipe(minutes=1, **recipe)
    return DistillationStage(config, random_model(config), recipe=settings, clock=StageClock(1))


@pytest.fixture
def stage() -> DistillationStage:
    stage = stage_of()
    assert stage.critic is not None
    torch.manual_seed(1)
    for parameter in stage.critic.parameters():  # as after some critic steps
        parameter.data += 0.05 * torch.randn_like(parameter)
    return stage


def run(
    stage: DistillationStage,
    clips: LatentClips,
    *,
    steps: list[int] | None = None,
    schedule: Schedule | None = None,
) -> list[RolloutChunk]:
    return list(chunks_of(stage, clips, observed_cache(stage, clips), steps=steps, schedule=schedule))


def observed_cache(stage: DistillationStage, clips: LatentClips) -> KVCache:
    cache = KVCache(2, stage.config.transformer.window_frames // 2)
    cache.observed = stage.model.transformer.observe(clips.context, clips.context_actions)
    return cache


def chunks_of(
    stage: DistillationStage,
    clips: LatentClips,
    cache: KVCache,
    *,
    steps: list[int] | None = None,
    schedule: Schedule | None = None,
) -> Iterator[RolloutChunk]:
    return rollout(
        stage.model.transformer,
        cache,
        last_observation=clips.last_observation,
        actions=clips.actions,
        noise=torch.randn(clips.future.shape, generator=torch.Generator().manual_seed(5)),
        schedule=schedule or stage.config.schedule,
        trained_steps=steps,
    )


@contextmanager
def passes_of(network: VideoTransformer) -> Iterator[list[tuple[dict[str, Any], Denoised]]]:
    """Arguments by name, and result, of each pass that is made while the context lasts."""
    made: list[tuple[dict[str, Any], Denoised]] = []
    denoise = network.denoise

    def noted(**given: Any) -> Denoised:
        made.append((given, denoise(**given)))
        return made[-1][1]

    with patch.object(network, "denoise", noted):
        yield made


def test_the_training_rollout_is_the_one_of_inference(stage: DistillationStage) -> None:
    clips = random_clips()
    trained = run(stage, clips, steps=[0, 2, 1, 0])
    with torch.inference_mode():
        robot = run(stage, clips)
    for a, b in zip(trained, robot, strict=True):
        assert torch.allclose(a.latents, b.latents, atol=1e-6)


def test_only_the_drawn_step_carries_the_gradient(stage: DistillationStage) -> None:
    chunks = run(stage, random_clips(), steps=[3, 0, 1, 0])
    assert all(chunk.trained is not None and chunk.trained.latents.requires_grad for chunk in chunks)
    assert not any(chunk.latents.requires_grad for chunk in chunks)
    assert torch.equal(chunks[0].trained.latents, chunks[0].latents)  # the last of four steps was drawn
    assert not torch.equal(chunks[1].trained.latents, chunks[1].latents)  # the first of three


def test_a_refresh_pass_is_made_without_gradient(stage: DistillationStage) -> None:
    with passes_of(stage.model.transformer) as passes:
        run(stage, random_clips(), steps=[0] * 4, schedule=preset("1_clean_context", 2, 8))
    assert [result.latents.requires_grad for _, result in passes] == [True, False] * 4


def test_each_chunk_is_conditioned_on_the_frame_before_it(stage: DistillationStage) -> None:
    """In all its steps: the last observed one, then the estimate of the one that the chunk before ends with."""
    clips = random_clips()
    with passes_of(stage.model.transformer) as passes:
        first, second, third, _ = (chunk.latents[:, -1] for chunk in run(stage, clips))
    expected = [clips.last_observation.latent] * 4 + [first] * 3 + [second] * 2 + [third]
    assert all(
        torch.equal(given["latest"][:, 0], frame) for (given, _), frame in zip(passes, expected, strict=True)
    )


def test_scores_of_a_clip_see_the_frames_before_its_chunks(stage: DistillationStage) -> None:
    """All chunks at once are conditioned on what one by one they would be."""
    clips, generator = random_clips(), torch.Generator().manual_seed(3)
    generated = torch.randn(clips.future.shape, generator=generator)
    assert stage.critic is not None
    with passes_of(stage.critic) as passes:
        stage.scores(clips, generated, BatchRandom(0))
    ends = [generated[:, index] for index in (1, 3, 5)]
    ((given, _),) = passes
    assert torch.equal(given["latest"], torch.stack([clips.last_observation.latent, *ends], dim=1))


def test_every_step_of_every_chunk_gets_drawn(
    stage: DistillationStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, ...]] = []

    class AboutToRollOut(Exception):
        """All that matters here is known."""

    def spy(*_: Any, trained_steps: list[int], **__: Any) -> None:
        drawn.append(tuple(trained_steps))
        raise AboutToRollOut

    monkeypatch.setattr(distillation, "rollout", spy)
    clips = random_clips()
    for seed in range(60):
        with pytest.raises(AboutToRollOut):
            stage.estimate_with_gradient(clips, BatchRandom(seed))
    for chunk, count in enumerate((4, 3, 2, 1)):
        assert {steps[chunk] for steps in drawn} == set(range(count))


def test_the_student_can_be_shown_a_noisy_context(
    stage: DistillationStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[torch.Tensor] = []
    observe = stage.model.transformer.observe

    def spy(latents: torch.Tensor, actions: torch.Tensor, levels: torch.Tensor) -> list[KeysValues]:
        shown.append(levels)
        return observe(latents, actions, levels)

    monkeypatch.setattr(stage.model.transformer, "observe", spy)
    for most in (0.0, 0.4):
        stage.recipe = stage.recipe.model_copy(update={"context_noise": most})
        for seed in range(8):
            stage.estimate_with_gradient(random_clips(), BatchRandom(seed))
    levels = torch.stack(shown)
    assert not levels[:8].any()
    assert 0.3 < float(levels[8:].max()) <= 0.4
    assert bool((levels[8:].amax(dim=(1, 2)) == 0).any())  # some clips stay clean


def random_batch(config: CheckpointConfig) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    count, length = config.context_frames, config.context_frames + config.horizon
    size = (config.streams.height, config.streams.width, 3)

    def frames(number: int) -> torch.Tensor:
        return torch.randint(0, 256, (3, number, *size), generator=generator, dtype=torch.uint8)

    def actions(number: int) -> torch.Tensor:
        return torch.randn(3, number, config.action.dim, generator=generator)

    return {
        "frames": frames(length), "actions": actions(length),
        "earlier_frames": frames(count), "earlier_actions": actions(count),
    }  # fmt: skip


def test_a_long_rollout_sees_frames_from_long_before_and_its_last_chunk(stage: DistillationStage) -> None:
    config, batch = stage.config, random_batch(stage.config)
    clips = stage.far_ahead(batch)
    count, size = config.context_frames, config.schedule.chunk_frames
    encoder = stage.model.autoencoder
    latent, image = encoder.encode(to_model_range(batch["earlier_frames"][:, -1]))
    assert torch.allclose(clips.context[:, -1], latent, atol=1e-5)
    assert torch.equal(clips.reference.image, image.image)
    assert torch.equal(clips.images, to_model_range(batch["frames"][:, count + size :]))
    assert torch.equal(clips.actions, batch["actions"][:, count + size :])
    assert torch.equal(clips.past_actions, batch["actions"][:, count : count + size])
    before = batch["frames"][:, count - 1 : count + size]  # a frame and the chunk
    latents = encoder.encode(to_model_range(before.flatten(0, 1)))[0].unflatten(0, before.shape[:2])
    assert torch.allclose(clips.past, latents, atol=1e-5)
    losses = stage.student_losses(clips, BatchRandom(0), scored=True)
    # The teacher does not know long rollouts: neither matching nor motion.
    assert set(losses) == {"regression", "uncertainty", "pixels", "ssim"}
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


def test_long_rollouts_are_trained_where_the_predictor_goes(stage: DistillationStage) -> None:
    """Chunks of a training rollout far ahead have the steps and noise levels of the predictor's last ones."""
    max_trained_step, size = stage.config.transformer.max_trained_step, stage.config.schedule.chunk_frames
    with passes_of(stage.model.transformer) as passes:
        stage.estimate_with_gradient(stage.far_ahead(random_batch(stage.config)), BatchRandom(0))
    (real, level), *trained = steps_and_levels(passes)
    assert real == max_trained_step + 1
    assert level <= 0.5
    predictor = Predictor(stage.config, stage.model).with_horizon(max_trained_step + stage.config.horizon)
    predictor.observe(np.zeros((32, 48, 3), np.uint8), 0, np.zeros(2))
    with passes_of(predictor.model.transformer) as passes:
        predictor.predict(np.zeros((predictor.horizon, 2)))
    expected = [(max_trained_step + 1 + size * chunk, 1.0) for chunk in (1, 2, 3)]
    assert trained == expected == steps_and_levels(passes)[-3:]


def steps_and_levels(passes: list[tuple[dict[str, Any], Denoised]]) -> list[tuple[int, float]]:
    """First step and noise level of each pass."""
    conditions = [given["conditions"] for given, _ in passes]
    return [(int(part.steps[0]), float(part.levels[0, 0])) for part in conditions]


@pytest.mark.parametrize("name", ["regression", "uncertainty", "pixels", "ssim", "matching", "motion"])
def test_each_loss_reaches_the_students_weights(stage: DistillationStage, name: str) -> None:
    loss = stage.student_losses(random_clips(), BatchRandom(0), scored=True)[name]
    gradients = torch.autograd.grad(
        loss, list(stage.model.transformer.blocks.parameters()), allow_unused=True
    )
    assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0.0


def test_only_decoded_frames_train_the_decoder(stage: DistillationStage) -> None:
    losses = stage.student_losses(random_clips(), BatchRandom(0), scored=True)
    decoder = list(stage.model.autoencoder.decoder.parameters())
    trained = {
        name: any(
            g is not None for g in torch.autograd.grad(loss, decoder, retain_graph=True, allow_unused=True)
        )
        for name, loss in losses.items()
    }
    assert {name for name, found in trained.items() if found} == {"pixels", "ssim"}
    assert not any(part.requires_grad for part in stage.model.autoencoder.encoder.parameters())


def test_losses_of_pixels_join_when_the_recipe_says(stage: DistillationStage) -> None:
    stage.recipe = stage.recipe.model_copy(update={"pixel_loss_start": 0.5, "steps": 10})
    named = []
    for stage.steps in (4, 5):
        named.append(
            {"pixels", "ssim"} & set(stage.student_losses(random_clips(), BatchRandom(0), scored=True))
        )
    assert named == [set(), {"pixels", "ssim"}]


def test_the_critics_loss_leaves_the_student_alone(stage: DistillationStage) -> None:
    assert stage.critic is not None
    stage.critic_loss(stage.critic, random_clips(), BatchRandom(0)).backward()
    assert all(parameter.grad is None for parameter in stage.model.transformer.parameters())
    assert stage.critic.head.weight.grad.abs().sum() > 0


def test_context_of_a_chunk_is_the_last_step_of_the_chunk_before(stage: DistillationStage) -> None:
    """Without the clean refresh pass the cache holds exactly the last denoising step's keys and values."""
    clips = random_clips()
    diagonal = run(stage, clips)
    clean = run(stage, clips, schedule=stage.config.schedule.model_copy(update={"clean_context": True}))
    assert torch.equal(diagonal[0].latents, clean[0].latents)
    assert not torch.equal(diagonal[1].latents, clean[1].latents)
    cache = observed_cache(stage, clips)
    with passes_of(stage.model.transformer) as passes:
        chunks = chunks_of(stage, clips, cache)
        next(chunks)
        assert len(passes) == 4
        _, last_step = passes[-1]
        next(chunks)
    assert cache.generated[0] is last_step.keys_values


@pytest.mark.parametrize(
    ("recipe", "built"),
    [
        ({}, True),
        ({"motion": 0.0}, True),
        ({"matching": 0.0}, True),
        ({"matching": 0.0, "motion": 0.0}, False),
        ({"dmd_start": 1.0}, False),
    ],
)
def test_teacher_and_critic_are_built_where_a_weight_asks_for_them(
    recipe: dict[str, float], built: bool
) -> None:
    stage = stage_of(**recipe)
    parts = {name.partition(".")[0] for name in stage.state_dict()}
    assert parts == {"model", "averaged"} | ({"teacher", "critic"} if built else set())
    students = {id(part) for part in stage.model.parameters()}
    trained = {
        id(part)
        for optimizer in stage.configure_optimizers()
        for group in optimizer.param_groups
        for part in group["params"]
    }
    assert bool(trained - students) == built
    losses = stage.student_losses(random_clips(), BatchRandom(0), scored=built)
    assert ({"matching", "motion"} <= set(losses)) == built
