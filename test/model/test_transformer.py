# SPDX-License-Identifier: Apache-2.0
"""The transformer with its cache against plain attention over everything with one dense mask."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dd_ros.config import TransformerConfig
from dd_ros.model.attention import KeysValues, attend, attention
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import LastObservation, VideoTransformer, merge_heads

CONTEXT, CHUNK, CHUNKS, ACTIONS = 3, 2, 5, 4
FRAMES = CHUNK * CHUNKS


@pytest.fixture(scope="module")
def network() -> VideoTransformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        width=64, depth=3, heads=2, window_frames=4, max_trained_step=6, condition_on_previous_frame=True
    )
    network = VideoTransformer(config, latent_channels=4, action_dim=ACTIONS, grid=(4, 6))
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clip() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "context": random(2, CONTEXT, 4, 4, 6),
        "context_actions": random(2, CONTEXT, ACTIONS),
        "noisy": random(2, FRAMES, 4, 4, 6),
        "latest": random(2, CHUNKS, 4, 4, 6),
        "actions": random(2, FRAMES, ACTIONS),
        "levels": torch.rand(2, FRAMES, generator=generator),
    }


def last_observation(clip: dict[str, Tensor]) -> LastObservation:
    return LastObservation.last_of(clip["context"], clip["context_actions"])


def with_cache(network: VideoTransformer, clip: dict[str, Tensor]) -> Tensor:
    """Frame by frame, then chunk by chunk, as on the robot."""
    cache = KVCache(CONTEXT, network.config.window_frames // CHUNK)
    older = torch.randn_like(clip["context"][:, :1])  # must have left the cache by the time it is used
    cache.observe(network.observe(older, clip["context_actions"][:, :1]))
    for index in range(CONTEXT):
        part = slice(index, index + 1)
        cache.observe(network.observe(clip["context"][:, part], clip["context_actions"][:, part]))
    outputs = []
    for start in range(0, FRAMES, CHUNK):
        part = slice(start, start + CHUNK)
        result = network(
            noisy=clip["noisy"][:, part],
            levels=clip["levels"][:, part],
            actions=clip["actions"][:, part],
            last_observation=last_observation(clip),
            latest=clip["latest"][:, start // CHUNK][:, None],
            observed=cache.observed,
            past=list(cache.generated),
            chunk_frames=CHUNK,
            first_step=start + 1,
        )
        cache.append(result.keys_values)
        outputs.append(result.latents)
    return torch.cat(outputs, dim=1)


def full_attention(network: VideoTransformer, clip: dict[str, Tensor]) -> Tensor:
    """Slow and obvious: all frames in one sequence, one dense mask, softmax written out.

    Observed frames are placed as far from a chunk as ``max_trained_step`` allows, so the rotation of their keys
    depends on the chunk that looks; everything else is one attention.
    """
    max_trained_step, tokens = network.config.max_trained_step, network.tokens
    now = clip["context_actions"][:, -1]
    context = network.conditioning(
        torch.zeros(2 * CONTEXT, 1), clip["context_actions"].flatten(0, 1)[:, None],
        now=clip["context_actions"].flatten(0, 1), steps=torch.zeros(1, dtype=torch.long),
    ).unflatten(0, (2, CONTEXT))[:, :, 0]  # fmt: skip
    future = network.conditioning(clip["levels"], clip["actions"], now=now, steps=torch.arange(1, FRAMES + 1))
    condition = torch.cat((context, future), dim=1)
    shared = network.modulation(condition).unflatten(-1, (6, -1))
    frames = torch.cat((clip["context"], clip["noisy"]), dim=1)
    last = clip["context"][:, -1:]
    reference = torch.cat((clip["context"], last.expand(-1, FRAMES, -1, -1, -1)), dim=1)
    moved = (last - clip["context"][:, -2:-1]).expand(-1, FRAMES, -1, -1, -1)
    velocity = torch.cat((torch.zeros_like(clip["context"]), moved), dim=1)
    latest = torch.cat((clip["context"], clip["latest"].repeat_interleave(CHUNK, dim=1)), dim=1)
    count = CONTEXT + FRAMES
    patches = [
        network.patchify(part.flatten(0, 1)).unflatten(0, (2, count))
        for part in (frames, reference, velocity, latest)
    ]
    x = network.embed(torch.cat(patches, dim=-1)) + network.position_embedding()
    frame = torch.arange(count).repeat_interleave(tokens)
    block = torch.where(frame < CONTEXT, frame, CONTEXT + (frame - CONTEXT) // CHUNK)
    observed = frame < CONTEXT
    age = block[:, None] - block[None, :]
    seen = (
        (age >= 0) & (age <= network.config.window_frames // CHUNK) & ~observed[None, :] & ~observed[:, None]
    )
    seen |= observed[None, :] & ~observed[:, None]
    seen |= (frame[:, None] == frame[None, :]) & observed[:, None]
    time = frame - CONTEXT + 1
    ends = (block - CONTEXT + 1) * CHUNK  # last model step of a token's chunk
    for layer in network.blocks:
        shift, scale, gate, shift2, scale2, gate2 = layer.modulate(shared)
        (q, keys), values = layer.project(normed(x, shift, scale))
        attended = torch.zeros_like(q)
        for token in range(count * tokens):
            move = 0 if observed[token] else max(0, int(ends[token]) - max_trained_step)
            positions = time + move * observed
            rotated = turn(network, keys, positions)
            query = turn(network, q, time)[:, :, token]
            scores = torch.einsum("nhd,nhkd->nhk", query, rotated) * q.shape[-1] ** -0.5
            weights = scores.masked_fill(~seen[token], float("-inf")).softmax(dim=-1)
            attended[:, :, token] = torch.einsum("nhk,nhkd->nhd", weights, values)
        x = x + layer.out(merge_heads(attended, count)) * (1 + gate)
        x = x + layer.mlp(normed(x, shift2, scale2)) * (1 + gate2)
    shift, scale = network.last_modulation(condition)[:, :, None].chunk(2, dim=-1)
    out = network.head(normed(x, shift, scale))
    estimate = patches[1] + out[..., -2:-1] * (patches[3] - patches[1]) + out[..., :-2]
    return network.unpatchify(estimate)[:, CONTEXT:]


def normed(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive RMS norm, by torch's own."""
    return nn.functional.rms_norm(x, x.shape[-1:]) * (1.0 + scale) + shift


def turn(network: VideoTransformer, x: Tensor, steps: Tensor) -> Tensor:
    """Rotate every token by its own model step, one frame's angles at a time."""
    per_frame = network.rotation.angles(steps.float())  # [len(steps) * tokens, pairs]
    picked = per_frame.unflatten(0, (len(steps), network.tokens))
    token = torch.arange(len(steps)) % network.tokens
    angles = picked[torch.arange(len(steps)), token]
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), dim=-1)


def test_cache_equals_full_attention(network: VideoTransformer, clip: dict[str, Tensor]) -> None:
    difference = (with_cache(network, clip) - full_attention(network, clip)).abs().max()
    assert difference < 1e-4


def test_only_a_network_conditioned_on_the_previous_frame_sees_it(
    network: VideoTransformer, clip: dict[str, Tensor]
) -> None:
    """One that does not computes what the other would if nothing had moved since the last observed frame."""
    still = dict(clip, latest=clip["context"][:, -1:].expand_as(clip["latest"]))
    plain = copy.deepcopy(network)
    plain.config = network.config.model_copy(update={"condition_on_previous_frame": False})
    assert torch.equal(with_cache(plain, clip), with_cache(plain, still))
    assert torch.allclose(with_cache(plain, clip), with_cache(network, still), atol=1e-5)
    assert not torch.allclose(with_cache(plain, clip), with_cache(network, clip), atol=1e-2)


def test_all_chunks_at_once_equal_one_by_one(network: VideoTransformer, clip: dict[str, Tensor]) -> None:
    # Beyond it the observed frames are held at a distance, in rollouts only.
    frames = network.config.max_trained_step
    observed = network.observe(clip["context"], clip["context_actions"])
    at_once = network(
        noisy=clip["noisy"][:, :frames],
        levels=clip["levels"][:, :frames],
        actions=clip["actions"][:, :frames],
        last_observation=last_observation(clip),
        latest=clip["latest"][:, : frames // CHUNK],
        observed=observed,
        past=[],
        chunk_frames=CHUNK,
    ).latents
    assert (with_cache(network, clip)[:, :frames] - at_once).abs().max() < 1e-4


def test_an_action_acts_from_its_own_chunk_on(network: VideoTransformer, clip: dict[str, Tensor]) -> None:
    changed = dict(clip, actions=clip["actions"].clone())
    changed["actions"][:, 2 * CHUNK] += 1.0
    difference = (with_cache(network, clip) - with_cache(network, changed)).abs().amax(dim=(0, 2, 3, 4))
    assert difference[: 2 * CHUNK].max() == 0.0
    assert difference[2 * CHUNK :].min() > 0.0


@pytest.mark.parametrize("rollouts", [2, 5])
def test_rollouts_that_share_a_context_equal_single_ones(rollouts: int) -> None:
    generator = torch.Generator().manual_seed(2)
    shared = KeysValues(*(torch.randn(2, 4, 7, 8, generator=generator) for _ in range(2)))
    own = [
        KeysValues(*(torch.randn(2 * rollouts, 4, 3, 8, generator=generator) for _ in range(2)))
        for _ in range(2)
    ]
    query = torch.randn(2 * rollouts, 4, 5, 8, generator=generator)
    together = attend(query, shared, own)
    for row in range(2 * rollouts):
        context = KeysValues(*(part[row // rollouts][None] for part in shared))
        alone = attend(
            query[row][None], context, [KeysValues(*(part[row][None] for part in kv)) for kv in own]
        )
        assert (together[row] - alone[0]).abs().max() < 1e-5


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_attention_is_what_its_formula_says(dtype: torch.dtype, tolerance: float, training: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    q, k, v = (
        torch.randn(2, 3, length, 32, generator=generator, dtype=torch.float64) for length in (5, 9, 9)
    )
    weights = torch.einsum("nhqd,nhkd->nhqk", q, k).div(32**0.5).softmax(dim=-1)
    expected = torch.einsum("nhqk,nhkd->nhqd", weights, v)
    got = attention(*(part.to(dtype).requires_grad_(training) for part in (q, k, v)))
    assert got.dtype == dtype
    assert got.requires_grad == training
    assert (got.double() - expected).abs().max() < tolerance
