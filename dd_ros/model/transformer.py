# SPDX-License-Identifier: Apache-2.0
"""Block-causal, action-conditioned video transformer.

Two kinds of frames enter it. *Observed* frames are clean and see only themselves, so that their keys
and values depend on nothing but the frame: they can be cached for as long as the frame is of use.
*Chunks* of future frames are noisy; a chunk sees the observed frames (the sink), the chunks within
the local window, and itself. Several chunks given at once (training, the teacher) and one chunk at
a time with a cache (the rollout) run through the same code and give the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dd_ros.config import TransformerConfig
from dd_ros.model.attention import KeysValues, Rotation, SpaceTimeRotation, attend, attention
from dd_ros.model.block import Block, modulated
from dd_ros.model.conditioning import Conditioning, PositionEmbedding


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


class Conditions(NamedTuple):
    """What passes are conditioned on beside latents: noise level, action and model step of each of F frames.

    Attributes:
        levels: [N or 1, F] noise levels.
        steps: int64 [F], model steps from the last observed frame.
        blocks: [N, F, 6, width], modulation that all blocks share.
        head: [N, F, 2 * width], modulation of the head.
    """

    levels: Tensor
    steps: Tensor
    blocks: Tensor
    head: Tensor

    def of(self, frames: slice) -> Conditions:
        """Those of some frames."""
        return Conditions(
            self.levels[:, frames], self.steps[frames], self.blocks[:, frames], self.head[:, frames]
        )


class Shared(NamedTuple):
    """What all passes of a rollout have in common.

    Attributes:
        reference: [N, 1, tokens, token], the last observed latent as tokens.
        embedded: [N, 1, tokens, width], what it, its velocity and the place of a token add to the embedding.
    """

    reference: Tensor
    embedded: Tensor


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

    def observe(self, latents: Tensor, actions: Tensor, levels: Tensor | None = None) -> Tensor:
        """Keys and values of observed frames, each seeing only itself.

        Args:
            latents: [N, F, c, h, w], clean or lightly noised.
            actions: [N, F, A], the action in force at each frame.
            levels: [N, F] noise levels; None means clean.

        Returns:
            [depth, 2, N, heads, F * tokens, head], not rotated in time: an observed frame's age changes with every tick.
        """
        n, f = latents.shape[:2]
        latents, actions = latents.flatten(0, 1), actions.flatten(0, 1)
        levels = latents.new_zeros(n * f, 1) if levels is None else levels.reshape(n * f, 1)
        now = torch.zeros(1, dtype=torch.long, device=latents.device)
        modulation = self.conditions(levels, actions[:, None], now=actions, steps=now).blocks
        tokens = self.patchify(latents)[:, None]
        x = (
            self.embed(torch.cat((tokens, tokens, torch.zeros_like(tokens), tokens), dim=-1))
            + self.position_embedding()
        )
        rotation, keys_values = self.rotation.space(), []
        for block in cast("list[Block]", self.blocks):
            shift, scale, gate, shift2, scale2, gate2 = block.modulate(modulation)
            qk, v = block.project(modulated(x, shift, scale))
            keys_values += [frames_to_sequence(part, n) for part in (qk[1].to(v.dtype), v)]
            if block is self.blocks[-1]:
                break  # its keys and values are all that is wanted; the rest would come to nothing
            q, k = rotation.turn(qk).to(v.dtype)
            x = torch.addcmul(x, block.out(merge_heads(attention(q, k, v), 1)), gate)
            x = torch.addcmul(x, block.mlp(modulated(x, shift2, scale2)), gate2)
        return torch.stack(keys_values).unflatten(0, (-1, 2))

    def forward(
        self,
        *,
        noisy: Tensor,
        levels: Tensor,
        actions: Tensor,
        last_observation: LastObservation,
        latest: Tensor,
        observed: Tensor,
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
            observed: keys and values of C observed frames, as ``observe`` gives them for the B contexts.
            past: earlier chunks within the window, oldest first, each a ``Denoised.keys_values``.
            chunk_frames: frames that see each other.
            first_step: model steps from the last observed frame to the first frame given here.
            drop: bool [N], rows whose actions are hidden (for guidance).
        """
        frames = noisy.shape[1]
        last_observation = last_observation.repeated(len(noisy) // len(last_observation.latent))
        steps = torch.arange(first_step, first_step + frames, device=noisy.device)
        return self.denoise(
            noisy=noisy,
            conditions=self.conditions(levels, actions, now=last_observation.action, steps=steps, drop=drop),
            shared=self.shared(last_observation),
            latest=latest,
            sink=self.sink(observed, last_step=first_step + chunk_frames - 1),
            past=past,
            chunk_frames=chunk_frames,
            rotation=self.rotation.at(steps),
        )

    def conditions(
        self, levels: Tensor, actions: Tensor, *, now: Tensor, steps: Tensor, drop: Tensor | None = None
    ) -> Conditions:
        """What passes over some frames are conditioned on.

        Args:
            levels: [N, F] or [1, F] noise levels.
            actions: [N, F, A].
            now: [N, A], action of the last observed frame.
            steps: int64 [F], model steps from the last observed frame.
            drop: as of ``forward``.
        """
        condition = self.conditioning(levels, actions, now=now, steps=steps, drop=drop)
        blocks = self.modulation(condition).unflatten(-1, (6, -1)) + self.identity
        return Conditions(levels, steps, blocks, self.last_modulation(condition))

    def shared(self, last_observation: LastObservation) -> Shared:
        """What all passes have in common that start from ``last_observation``, one row for each of them."""
        reference, velocity = (
            self.patchify(part)[:, None] for part in (last_observation.latent, last_observation.velocity)
        )
        parts = [reference, velocity]
        if not self.config.condition_on_previous_frame:
            parts.append(reference)
        channels = reference.shape[-1]
        weight = self.embed.weight[:, channels : (1 + len(parts)) * channels]
        embedded = F.linear(torch.cat(parts, dim=-1), weight, self.embed.bias) + self.position_embedding()
        return Shared(reference, embedded)

    def sink(self, observed: Tensor, *, last_step: int) -> KeysValues:
        """Observed frames as a chunk that ends at ``last_step`` sees them; [depth, B, heads, C * tokens, head] each."""
        keys, values = observed.unbind(dim=1)
        rotation = self.rotation.before(last_step, frames=keys.shape[-2] // self.tokens)
        return KeysValues(rotation.turn(keys.float()).to(values.dtype), values)

    def denoise(
        self,
        *,
        noisy: Tensor,
        conditions: Conditions,
        shared: Shared,
        latest: Tensor,
        sink: KeysValues,
        past: list[list[KeysValues]],
        chunk_frames: int,
        rotation: Rotation,
    ) -> Denoised:
        """One pass, as ``forward``, over what many passes of a rollout share: ``conditions`` of these frames, ``shared``,
        ``sink``, and the ``rotation`` of these frames."""
        n, f = noisy.shape[:2]
        channels = shared.reference.shape[-1]
        tokens = self.patchify(noisy.flatten(0, 1)).unflatten(0, (n, f))
        before = shared.reference
        x = shared.embedded + F.linear(tokens, self.embed.weight[:, :channels])
        if self.config.condition_on_previous_frame:
            before = self.patchify(latest.flatten(0, 1)).unflatten(0, (n, -1))
            before = before.repeat_interleave(chunk_frames, dim=1)
            x = x + F.linear(before, self.embed.weight[:, 3 * channels :])
        span = chunk_frames * self.tokens
        window = self.config.window_frames // chunk_frames
        keys_values = []
        for index, block in enumerate(cast("list[Block]", self.blocks)):
            shift, scale, gate, shift2, scale2, gate2 = block.modulate(conditions.blocks)
            qk, v = block.project(modulated(x, shift, scale))
            q, k = rotation.turn(qk).to(v.dtype)
            own = KeysValues(k, v)
            keys_values.append(own)
            seen = KeysValues(sink.keys[index], sink.values[index])
            history = [chunk[index] for chunk in past] + split_chunks(own, span)
            attended = []
            for chunk, query in enumerate(q.split(span, dim=2)):
                last = len(past) + chunk
                visible = history[max(0, last - window) : last + 1]
                attended.append(attend(query, seen, visible))
            attended_all = attended[0] if len(attended) == 1 else torch.cat(attended, dim=2)
            x = torch.addcmul(x, block.out(merge_heads(attended_all, f)), gate)
            x = torch.addcmul(x, block.mlp(modulated(x, shift2, scale2)), gate2)
        shift, scale = conditions.head[:, :, None].chunk(2, dim=-1)
        out = self.head(modulated(x, shift, 1.0 + scale)).float()
        change, keep, log_variance = out[..., :-2], out[..., -2:-1], out[..., -1]
        latents = self.unpatchify(shared.reference + keep * (before - shared.reference) + change)
        return Denoised(latents, log_variance.unflatten(-1, (self.rows, self.columns)), keys_values)

    def patchify(self, latents: Tensor) -> Tensor:
        """[N, c, h, w] -> tokens [N, rows * columns, c * patch**2]."""
        return F.pixel_unshuffle(latents, self.config.patch).flatten(2).transpose(1, 2)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """Tokens [N, F, rows * columns, c * patch**2] -> [N, F, c, h, w]."""
        cells = tokens.transpose(2, 3).unflatten(-1, (self.rows, self.columns))
        return F.pixel_shuffle(cells, self.config.patch)


def merge_heads(x: Tensor, frames: int) -> Tensor:
    """[N, heads, frames * tokens, head] -> [N, frames, tokens, heads * head]."""
    return x.transpose(1, 2).flatten(2).unflatten(1, (frames, -1))


def frames_to_sequence(x: Tensor, n: int) -> Tensor:
    """[n * F, heads, tokens, head] -> [n, heads, F * tokens, head]."""
    return x.unflatten(0, (n, -1)).transpose(1, 2).flatten(2, 3)


def split_chunks(own: KeysValues, span: int) -> list[KeysValues]:
    pairs = zip(own.keys.split(span, dim=2), own.values.split(span, dim=2), strict=True)
    return [KeysValues(k, v) for k, v in pairs]
