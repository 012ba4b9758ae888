# SPDX-License-Identifier: Apache-2.0
"""Block-causal, action-conditioned video transformer.

Two kinds of frames enter it. *Observed* frames are clean and see only themselves, so that their keys
and values depend on nothing but the frame: they can be cached for as long as the frame is of use.
*Chunks* of future frames are noisy; a chunk sees the observed frames (the sink), the chunks within
the local window, and itself. Several chunks given at once (training, the teacher) and one chunk at
a time with a cache (the rollout) run through the same code and give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_ros.config import TransformerConfig
from dd_ros.model.attention import KeysValues, SpaceTimeRotation, attend, attention
from dd_ros.model.conditioning import Conditioning, PositionEmbedding

EPSILON = 1e-6


class LastObservation(NamedTuple):
    """What the network is conditioned on of the last observed frame of B contexts, beside its keys and values.

    Attributes:
        latent: [B, c, h, w].
        velocity: [B, c, h, w], how the latent changed since the frame before; zeros if that is unknown.
        action: [B, A], in force at the frame.
    """

    latent: Tensor
    velocity: Tensor
    action: Tensor

    @classmethod
    def last_of(cls, latents: Tensor, actions: Tensor) -> LastObservation:
        """The last of C >= 1 observed frames: latents [B, C, c, h, w], actions [B, C, A]."""
        return cls(latents[:, -1], latents[:, -1] - latents[:, -2:][:, 0], actions[:, -1])

    def repeated(self, count: int) -> LastObservation:
        """Each context ``count`` times in a row."""
        return LastObservation(*(part.repeat_interleave(count, dim=0) for part in self))


class Denoised(NamedTuple):
    """What one pass knows about the clean latents.

    Attributes:
        latents: [N, F, c, h, w], the estimate of the clean latents.
        log_variance: [N, F, h / patch, w / patch], log of the expected squared error per token.
        keys_values: one KeysValues per block, of these frames, for the cache.
    """

    latents: Tensor
    log_variance: Tensor
    keys_values: list[KeysValues]


class HeadNorm(nn.Module):
    """A weight for each channel of a head, by which RMS-normed queries or keys count; see ``Block.project``."""

    def __init__(self, head: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head))


class Block(nn.Module):
    """Attention and MLP, each modulated per frame (adaptive norm with weights shared by all blocks)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width, self.heads = config.width, config.heads
        head = width // self.heads
        self.modulation = nn.Parameter(torch.randn(6, width) / width**0.5)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = HeadNorm(head), HeadNorm(head)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [N, F, tokens, width] -> normed queries and keys, and values.

        Both in one tensor [2, N, heads, F * tokens, head], which halves the kernels of norm and rotation; float32.
        """
        qkv = self.qkv(x).flatten(1, 2).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        qk, values = qkv[:2].float(), qkv[2]
        weights = torch.stack((self.query_norm.weight, self.key_norm.weight))[:, None, None, None]
        return qk / rms(qk) * weights, values

    def modulate(self, shared: Tensor) -> Sequence[Tensor]:
        """Shared modulation [N, F, 6, width] -> shift, scale and gate of attention and of MLP, [N, F, 1, width] each."""
        return (shared + self.modulation)[:, :, :, None].unbind(dim=2)


class VideoTransformer(nn.Module):
    """See the module's docstring. All latents are normalised, actions too."""

    identity: Tensor

    def __init__(
        self,
        config: TransformerConfig,
        latent_channels: int,
        action_dim: int,
        *,
        grid: tuple[int, int],
    ):
        """``grid``: latent cells (rows, columns) of a frame."""
        super().__init__()
        self.config, self.channels = config, latent_channels
        self.rows, self.columns = grid[0] // config.patch, grid[1] // config.patch
        self.tokens = self.rows * self.columns
        token = latent_channels * config.patch**2
        self.embed = nn.Linear(4 * token, config.width)
        self.position_embedding = PositionEmbedding(config.width, self.rows, self.columns)
        self.conditioning = Conditioning(config.width, action_dim, config.max_trained_step)
        self.modulation = nn.Linear(config.width, 6 * config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.last_modulation = nn.Linear(config.width, 2 * config.width)
        self.head = nn.Linear(
            config.width, token + 2
        )  # a change, how much of the previous frame to keep, an uncertainty
        shift, scale, gate = 0.0, 1.0, 1.0  # of a block that has learnt nothing
        identity = torch.tensor([shift, scale, gate] * 2)[:, None]
        self.register_buffer("identity", identity, persistent=False)
        self.rotation = SpaceTimeRotation(
            config.width // config.heads, self.rows, self.columns, max_trained_step=config.max_trained_step
        )
        for layer in (self.modulation, self.last_modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def observe(self, latents: Tensor, actions: Tensor, levels: Tensor | None = None) -> list[KeysValues]:
        """Keys and values of observed frames, each seeing only itself.

        Args:
            latents: [N, F, c, h, w], clean or lightly noised.
            actions: [N, F, A], the action in force at each frame.
            levels: [N, F] noise levels; None means clean.

        Returns:
            One KeysValues per block, [N, heads, F * tokens, head], not rotated in time: an observed
            frame's age changes with every tick.
        """
        n, f = latents.shape[:2]
        latents, actions = latents.flatten(0, 1), actions.flatten(0, 1)
        levels = latents.new_zeros(n * f, 1) if levels is None else levels.reshape(n * f, 1)
        condition = self.conditioning(levels, actions[:, None], now=actions, first_step=0)
        shared = self.modulation(condition).unflatten(-1, (6, -1)) + self.identity
        tokens = self.patchify(latents)[:, None]
        x = (
            self.embed(torch.cat((tokens, tokens, torch.zeros_like(tokens), tokens), dim=-1))
            + self.position_embedding()
        )
        rotate, keys_values = self.rotation.space(), []
        for block in cast("list[Block]", self.blocks):
            shift, scale, gate, shift2, scale2, gate2 = block.modulate(shared)
            qk, v = block.project(modulated(x, shift, scale))
            keys_values.append(KeysValues(*(frames_to_sequence(part, n) for part in (qk[1].to(v.dtype), v))))
            if block is self.blocks[-1]:
                break  # its keys and values are all that is wanted; the rest would come to nothing
            q, k = rotate(qk).to(v.dtype)
            x = torch.addcmul(x, block.out(merge_heads(attention(q, k, v), 1)), gate)
            x = torch.addcmul(x, block.mlp(modulated(x, shift2, scale2)), gate2)
        return keys_values

    def forward(
        self,
        *,
        noisy: Tensor,
        levels: Tensor,
        actions: Tensor,
        last_observation: LastObservation,
        latest: Tensor,
        observed: list[KeysValues],
        past: list[list[KeysValues]],
        chunk_frames: int,
        first_step: int = 1,
        drop: Tensor | None = None,
    ) -> Denoised:
        """Estimate the clean latents of one or more consecutive chunks.

        Args:
            noisy: [N, F, c, h, w] latents at ``levels``; F a multiple of ``chunk_frames``.
            levels: [N, F] noise levels in [0, 1].
            actions: [N, F, A] action in force at each frame.
            last_observation: the last observed frame of B contexts; N is a multiple of B: row i of ``noisy``
                belongs to context i // (N / B).
            latest: [N, F / chunk_frames, c, h, w], the frame before each chunk as far as it is known: the estimate
                of it, or for the first chunk the last observed frame. Keys and values of a chunk that was made in
                one step know their own outcome in the last block only; all blocks of the next chunk are conditioned on
                this (where ``config.condition_on_previous_frame`` has it so).
            observed: per block, keys and values of C observed frames, [B, heads, C * tokens, head].
            past: earlier chunks within the window, oldest first, each a ``Denoised.keys_values``.
            chunk_frames: frames that see each other.
            first_step: model steps from the last observed frame to the first frame given here.
            drop: bool [N], rows whose actions are hidden (for guidance).
        """
        n, f = noisy.shape[:2]
        last_observation = last_observation.repeated(n // len(last_observation.latent))
        condition = self.conditioning(
            levels, actions, now=last_observation.action, first_step=first_step, drop=drop
        )
        shared = self.modulation(condition).unflatten(-1, (6, -1)) + self.identity
        reference, velocity = (
            self.patchify(part)[:, None].expand(-1, f, -1, -1)
            for part in (last_observation.latent, last_observation.velocity)
        )
        tokens = self.patchify(noisy.flatten(0, 1)).unflatten(0, (n, f))
        before = reference
        if self.config.condition_on_previous_frame:
            before = self.patchify(latest.flatten(0, 1)).unflatten(0, (n, -1))
            before = before.repeat_interleave(chunk_frames, dim=1)
        x = self.embed(torch.cat((tokens, reference, velocity, before), dim=-1)) + self.position_embedding()
        span = chunk_frames * self.tokens
        window = self.config.window_frames // chunk_frames
        rotate = self.rotation.at(first_step, f)
        rotate_observed = self.rotation.before(first_step + chunk_frames - 1, observed, self.tokens)
        keys_values = []
        for index, block in enumerate(cast("list[Block]", self.blocks)):
            shift, scale, gate, shift2, scale2, gate2 = block.modulate(shared)
            qk, v = block.project(modulated(x, shift, scale))
            q, k = rotate(qk).to(v.dtype)
            own = KeysValues(k, v)
            keys_values.append(own)
            keys, values = observed[index]
            sink = KeysValues(rotate_observed(keys.float()).to(v.dtype), values)
            history = [chunk[index] for chunk in past] + split_chunks(own, span)
            attended = []
            for chunk, query in enumerate(q.split(span, dim=2)):
                last = len(past) + chunk
                visible = history[max(0, last - window) : last + 1]
                attended.append(attend(query, sink, visible))
            x = torch.addcmul(x, block.out(merge_heads(torch.cat(attended, dim=2), f)), gate)
            x = torch.addcmul(x, block.mlp(modulated(x, shift2, scale2)), gate2)
        shift, scale = self.last_modulation(condition)[:, :, None].chunk(2, dim=-1)
        out = self.head(modulated(x, shift, 1.0 + scale)).float()
        change, keep, log_variance = out[..., :-2], out[..., -2:-1], out[..., -1]
        latents = self.unpatchify(reference + keep * (before - reference) + change)
        return Denoised(latents, log_variance.unflatten(-1, (self.rows, self.columns)), keys_values)

    def patchify(self, latents: Tensor) -> Tensor:
        """[N, c, h, w] -> tokens [N, rows * columns, c * patch**2]."""
        return F.pixel_unshuffle(latents, self.config.patch).flatten(2).transpose(1, 2)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """Tokens [N, F, rows * columns, c * patch**2] -> [N, F, c, h, w]."""
        cells = tokens.transpose(2, 3).unflatten(-1, (self.rows, self.columns))
        return F.pixel_shuffle(cells, self.config.patch)


def rms(x: Tensor) -> Tensor:
    """Root of the mean square over the last dimension [..., 1], float32.

    As a norm it is one kernel; ``F.rms_norm`` is eight on a CPU.
    """
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm * x.shape[-1] ** -0.5 + EPSILON


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """RMS norm of tokens [N, F, tokens, width], scaled and shifted per frame."""
    return torch.addcmul(shift, x / rms(x), scale)


def merge_heads(x: Tensor, frames: int) -> Tensor:
    """[N, heads, frames * tokens, head] -> [N, frames, tokens, heads * head]."""
    return x.transpose(1, 2).flatten(2).unflatten(1, (frames, -1))


def frames_to_sequence(x: Tensor, n: int) -> Tensor:
    """[n * F, heads, tokens, head] -> [n, heads, F * tokens, head]."""
    return x.unflatten(0, (n, -1)).transpose(1, 2).flatten(2, 3)


def split_chunks(own: KeysValues, span: int) -> list[KeysValues]:
    pairs = zip(own.keys.split(span, dim=2), own.values.split(span, dim=2), strict=True)
    return [KeysValues(k, v) for k, v in pairs]
