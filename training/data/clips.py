# SPDX-License-Identifier: Apache-2.0
"""Episodes -> clips. Images are decoded when they are wanted, so memory and disk stay bounded.

Episodes are divided into *spans* of some ten seconds. A *stream* goes through its share of them in
random order, holds a pool of decoded ones, and draws clips from it: several from each span before
it gives way to the next, so that decoding is cheap against training.

A global batch is put together from ``shards``, equal parts that each come from a stream of their own.
Each rank makes its share of them: two processes with ``shards=2`` see, together, the very batches that
one process with ``shards=2`` and twice the batch size sees (as many workers provided: each worker makes
whole batches, so a shard has a stream per worker).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from dd_ros.config import ActionSpec
from dd_ros.errors import InputError
from dd_ros_training.data.augment import Augment, augmented
from dd_ros_training.data.index import TrainingEpisode

SPAN_STEPS = 128
SPACING = 8  # possible starts for one clip: one is drawn from each so many, then the span goes
FAR = 256  # steps before its span that the earlier frames of a clip come from, at most
LOOKS_BACK = 2  # pieces from before it that each span has for that
POOL_SPANS = 32
POOL_BYTES = 192 * 2**20  # of decoded spans, in a worker process


class Clip(NamedTuple):
    """Consecutive model steps of an episode.

    Attributes:
        frames: uint8 RGB [T, H, W, 3].
        actions: float32 [T, A], normalised.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]


def fit_actions(episodes: Sequence[TrainingEpisode], names: tuple[str, ...] = ()) -> ActionSpec:
    """Mean and deviation of the actions of ``episodes``; constant fields get deviation 1.

    Raises:
        InputError: no episodes, or action vectors of several lengths.
    """
    if not episodes:
        raise InputError("data: expected at least one usable episode, got none")
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    for episode in episodes:  # one by one, by Chan's rule: all together they may not fit into memory
        actions = episode.actions.astype(np.float64)
        if not count:
            mean, squares = np.zeros(actions.shape[1]), np.zeros(actions.shape[1])
        if mean.shape != actions.shape[1:]:
            raise InputError(
                f"{episode.name}: expected {len(mean)} action values as in {episodes[0].name}, got {actions.shape[1]}"
            )
        step = actions.mean(axis=0) - mean
        total = count + len(actions)
        squares = squares + len(actions) * actions.var(axis=0) + step**2 * count * len(actions) / total
        mean = mean + step * len(actions) / total
        count = total
    std = np.sqrt(squares / count)
    std[std < 1e-6] = 1.0
    return ActionSpec(dim=len(mean), mean=tuple(mean.tolist()), std=tuple(std.tolist()), names=names)


def spans_of(lengths: Sequence[int], clip_frames: int) -> NDArray[np.int64]:
    """Spans of episodes of ``lengths`` model steps: rows (episode, start, stop), int64 [S, 3].

    Neighbours overlap by ``clip_frames - 1`` steps, so each clip lies in exactly one span.

    Raises:
        InputError: no episode is as long as a clip.
    """
    rows: list[tuple[int, int, int]] = []
    starts = max(1, SPAN_STEPS - clip_frames + 1)
    for number, length in enumerate(lengths):
        windows = length - clip_frames + 1
        if windows > 0:
            bounds = np.linspace(0, windows, math.ceil(windows / starts) + 1).astype(int).tolist()
            rows += [(number, a, b + clip_frames - 1) for a, b in pairwise(bounds)]
    if not rows:
        raise InputError(
            f"data: expected at least one episode of {clip_frames} frames, got none "
            f"({len(lengths)} episodes, the longest of {max(lengths, default=0)})"
        )
    return np.array(rows, np.int64)


class ClipCutter:
    """Cuts clips of ``length`` model steps from episodes, and for training ``earlier`` steps from before them.

    Args:
        episodes: what to cut from.
        length: model steps of a clip.
        action: normalisation of the actions.
        earlier: steps from earlier in the episode that come with a training clip.
    """

    def __init__(
        self, episodes: Sequence[TrainingEpisode], *, length: int, action: ActionSpec, earlier: int = 0
    ):
        self.episodes, self.length, self.earlier = list(episodes), length, earlier
        self.mean = np.asarray(action.mean, np.float32)
        self.std = np.asarray(action.std, np.float32)

    def cut(self, episode: int, start: int, stop: int) -> Clip:
        """The model steps ``start`` to ``stop`` of an episode, decoded now."""
        return Clip(self.episodes[episode].frames(start, stop), self.actions(episode)[start:stop])

    def actions(self, episode: int) -> NDArray[np.float32]:
        """Normalised actions of all its model steps, float32 [T, A]."""
        return (self.episodes[episode].actions - self.mean) / self.std


class DecodedSpan:
    """A span of an episode in memory, and the clips that are still to be drawn from it.

    Args:
        cutter: what it comes from.
        bounds: its row of ``spans_of``.
        random: draws the clips.
    """

    def __init__(self, cutter: ClipCutter, bounds: NDArray[np.int64], random: np.random.Generator):
        episode, start, stop = map(int, bounds)
        self.steps = cutter.cut(episode, start, stop)
        self.length, self.earlier = cutter.length, cutter.earlier
        last = start - cutter.length
        self.steps_before = min(FAR, max(0, last)) if self.earlier else 0
        firsts = range(last - self.steps_before, last)
        looks = random.choice(firsts, LOOKS_BACK).tolist() if firsts else []
        self.before = [cutter.cut(episode, first, first + self.earlier) for first in looks]
        windows = stop - start - cutter.length + 1
        first = np.arange(0, windows, SPACING)
        self.starts = random.permutation(
            random.integers(first, np.minimum(first + SPACING, windows))
        ).tolist()

    def draw(self, random: np.random.Generator) -> Clip:
        """Earlier steps and then those of a clip.

        The earlier ones begin a clip's length and more before the clip, in its span or up to FAR steps
        before that; at the beginning of an episode, as far before the clip as there are any.
        """
        start = self.starts.pop()
        first = int(random.integers(-self.steps_before, max(1, start - self.length + 1)))
        earlier = self.before[random.integers(LOOKS_BACK)] if first < 0 else self.part(first, self.earlier)
        clip = self.part(start, self.length)
        return Clip(
            np.concatenate((earlier.frames, clip.frames)), np.concatenate((earlier.actions, clip.actions))
        )

    def part(self, start: int, length: int) -> Clip:
        """``length`` steps of the span."""
        steps = slice(start, start + length)
        return Clip(self.steps.frames[steps], self.steps.actions[steps])


class ClipStream(IterableDataset[dict[str, Tensor]]):
    """Training clips without end, see the top of this file.

    Args:
        cutter: where clips come from.
        batch_size: clips of a batch of this process.
        shards: streams that a global batch comes from; this process makes those ``own``.
        seed: the same seed, the same clips.
        augment: how clips are changed; None leaves them as they are.

    Yields:
        ``frames`` uint8 [length, H, W, 3] and ``actions`` float32 [length, A], and with them ``earlier_frames``
        [earlier, H, W, 3] and ``earlier_actions`` [earlier, A].

    Raises:
        InputError: the shards do not divide the batch size, or no episode is as long as a clip.
    """

    def __init__(
        self,
        cutter: ClipCutter,
        *,
        batch_size: int,
        shards: int,
        own: range,
        seed: Sequence[int],
        augment: Augment | None,
    ):
        self.cutter, self.shards, self.own, self.seed, self.augment = cutter, shards, own, list(seed), augment
        if batch_size % len(own):
            raise InputError(f"batch size: expected a multiple of {len(own)} shards, got {batch_size}")
        self.each = batch_size // len(own)  # clips in a row from one shard
        self.spans = spans_of([len(episode) for episode in cutter.episodes], cutter.length)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        streams = [self.stream(shard * workers + worker, self.shards * workers) for shard in self.own]
        while True:
            for stream in streams:
                for _ in range(self.each):
                    yield next(stream)

    def stream(self, number: int, count: int) -> Iterator[dict[str, Tensor]]:
        """The clips of stream ``number`` of ``count``."""
        random = np.random.default_rng([*self.seed, 1, number])
        pool: list[DecodedSpan] = []
        size = 1
        for bounds in self.order(number, count):
            pool.append(DecodedSpan(self.cutter, bounds, random))
            if len(pool) == 1:
                size = self.pool_size(pool[0], count)
            while len(pool) >= size:
                chosen = int(random.integers(len(pool)))
                yield self.item(pool[chosen].draw(random), random)
                if not pool[chosen].starts:
                    pool.pop(chosen)

    def order(self, number: int, count: int) -> Iterator[NDArray[np.int64]]:
        """Spans of a stream, without end: in each pass the streams share all of them out anew."""
        turn = 0
        while True:
            shuffled = np.random.default_rng([*self.seed, 0, turn]).permutation(len(self.spans))
            own = shuffled[number::count]
            yield from self.spans[own if len(own) else shuffled]
            turn += 1

    def pool_size(self, span: DecodedSpan, count: int) -> int:
        """Spans that a stream holds, as far as its share and the memory of a worker go."""
        fits = POOL_BYTES // (len(self.own) * span.steps.frames.nbytes)
        return max(1, min(POOL_SPANS // len(self.own), fits, len(self.spans) // count))

    def item(self, clip: Clip, random: np.random.Generator) -> dict[str, Tensor]:
        """A drawn clip, changed, its earlier steps by names of their own."""
        changed = augmented(clip.frames, self.augment, random) if self.augment else clip.frames
        frames, actions = torch.from_numpy(changed), torch.from_numpy(clip.actions)
        earlier = self.cutter.earlier
        return {
            "frames": frames[earlier:],
            "actions": actions[earlier:],
            "earlier_frames": frames[:earlier],
            "earlier_actions": actions[:earlier],
        }


class ClipList(Dataset[dict[str, Tensor]]):
    """Clips for validation: at most ``most``, in order, evenly spread over all that do not overlap.

    Items have ``frames`` and ``actions`` as those of ClipStream. Raises InputError as ``spans_of``.
    """

    def __init__(self, cutter: ClipCutter, most: int):
        self.cutter = cutter
        lengths = [len(episode) for episode in cutter.episodes]
        spans_of(lengths, cutter.length)  # or InputError
        starts = [
            (number, start)
            for number, length in enumerate(lengths)
            for start in range(0, length - cutter.length + 1, cutter.length)
        ]
        chosen = np.linspace(0, len(starts) - 1, min(most, len(starts))).round().astype(int)
        self.starts = [starts[number] for number in chosen]  # (episode, first step) of each

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        episode, start = self.starts[item]
        clip = self.cutter.cut(episode, start, start + self.cutter.length)
        return {"frames": torch.from_numpy(clip.frames), "actions": torch.from_numpy(clip.actions)}
