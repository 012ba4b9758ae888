# SPDX-License-Identifier: Apache-2.0
"""Episodes -> clips. Images are decoded when they are wanted, so memory and disk stay bounded.

Episodes are divided into segments of some ten seconds. A *stream* goes through its share of them in
random order, holds a pool of decoded ones, and draws clips from it: several from each segment before
it gives way to the next, so that decoding is cheap against training.

A global batch is put together from ``shards``, equal parts that each come from a stream of their own.
Each rank makes its share of them: two processes with ``shards=2`` see, together, the very batches that
one process with ``shards=2`` and twice the batch size sees (as many workers provided: each worker makes
whole batches, so a shard has a stream per worker).
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from dd_ros.config import ActionSpec
from dd_ros.errors import InputError
from dd_ros_training.data.augment import Augment, augmented
from dd_ros_training.data.index import TrainingEpisode
from dd_ros_training.device import die_with_parent

SEGMENT_STEPS = 128
SPACING = 8  # window starts for one clip: one is drawn from each stretch of so many, then the segment goes
FAR = 256  # steps before its segment that the earlier frames of a clip come from, at most
LOOKS_BACK = 2  # of so many places each segment has them
POOL_SEGMENTS = 32
POOL_BYTES = 192 * 2**20  # of decoded segments, in a worker process
VALIDATION_CLIPS = 48

Stretch = tuple[NDArray[np.uint8], NDArray[np.float32]]  # frames [T, H, W, 3] and normalised actions [T, A]


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


def segments_of(lengths: Sequence[int], clip_frames: int) -> NDArray[np.int64]:
    """Segments of episodes of ``lengths`` model steps: rows (episode, start, stop), int64 [S, 3].

    Neighbours overlap by ``clip_frames - 1`` steps, so each clip lies in exactly one segment.

    Raises:
        InputError: no episode is as long as a clip.
    """
    rows: list[tuple[int, int, int]] = []
    starts = max(1, SEGMENT_STEPS - clip_frames + 1)
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


class Clips:
    """Cuts clips: ``frames`` uint8 [length, H, W, 3] and ``actions`` float32 [length, A], normalised.

    Training clips come with ``earlier`` frames from before: [earlier, H, W, 3] and [earlier, A].
    """

    def __init__(
        self, episodes: Sequence[TrainingEpisode], length: int, action: ActionSpec, earlier: int = 0
    ):
        self.episodes, self.length, self.earlier = list(episodes), length, earlier
        self.mean = np.asarray(action.mean, np.float32)
        self.std = np.asarray(action.std, np.float32)

    def actions(self, episode: int, start: int, stop: int) -> NDArray[np.float32]:
        return (self.episodes[episode].actions[start:stop] - self.mean) / self.std

    def frames(self, episode: int, start: int, stop: int) -> NDArray[np.uint8]:
        return self.episodes[episode].frames(start, stop)

    def stretch(self, episode: int, start: int, stop: int) -> Stretch:
        """Frames and actions of the model steps ``start`` to ``stop``."""
        return self.frames(episode, start, stop), self.actions(episode, start, stop)


class Segment:
    """A decoded segment and the clips that are still to be drawn from it."""

    def __init__(self, clips: Clips, place: NDArray[np.int64], random: np.random.Generator):
        episode, start, stop = map(int, place)
        self.frames, self.actions = clips.stretch(episode, start, stop)
        self.length, self.earlier = clips.length, clips.earlier
        last = start - clips.length
        self.steps_before = min(FAR, max(0, last)) if self.earlier else 0
        places = range(last - self.steps_before, last)
        looks = random.choice(places, LOOKS_BACK).tolist() if places else []
        self.before = [clips.stretch(episode, first, first + self.earlier) for first in looks]
        windows = stop - start - clips.length + 1
        first = np.arange(0, windows, SPACING)
        self.starts = random.permutation(
            random.integers(first, np.minimum(first + SPACING, windows))
        ).tolist()

    def draw(self, random: np.random.Generator) -> Stretch:
        """Earlier frames and then those of a clip.

        The earlier ones begin a clip's length and more before the clip, in its segment or up to FAR steps
        before that; at the beginning of an episode, as far before the clip as there are any.
        """
        start = self.starts.pop()
        first = int(random.integers(-self.steps_before, max(1, start - self.length + 1)))
        earlier = self.before[random.integers(LOOKS_BACK)] if first < 0 else self.cut(first, self.earlier)
        clip = self.cut(start, self.length)
        return np.concatenate((earlier[0], clip[0])), np.concatenate((earlier[1], clip[1]))

    def cut(self, start: int, length: int) -> Stretch:
        """``length`` steps of the segment."""
        return self.frames[start : start + length], self.actions[start : start + length]


class ClipStream(IterableDataset[dict[str, Tensor]]):
    """Training clips without end, see the top of this file.

    Args:
        clips: what to cut.
        batch_size: clips of a batch of this process.
        shards: streams that a global batch comes from; this process makes those ``own``.
        seed: the same seed, the same clips.
        augment: how clips are changed; None leaves them as they are.
    """

    def __init__(
        self, clips: Clips, batch_size: int, shards: int, own: range, seed: Sequence[int],
        augment: Augment | None,
    ):  # fmt: skip
        self.clips, self.shards, self.own, self.seed, self.augment = clips, shards, own, list(seed), augment
        if batch_size % len(own):
            raise InputError(f"batch size: expected a multiple of {len(own)} shards, got {batch_size}")
        self.each = batch_size // len(own)  # clips in a row from one shard
        self.segments = segments_of([len(episode) for episode in clips.episodes], clips.length)

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
        pool: list[Segment] = []
        size = 1
        for place in self.order(number, count):
            pool.append(Segment(self.clips, place, random))
            if len(pool) == 1:
                size = self.pool_size(pool[0], count)
            while len(pool) >= size:
                chosen = int(random.integers(len(pool)))
                yield self.item(*pool[chosen].draw(random), random)
                if not pool[chosen].starts:
                    pool.pop(chosen)

    def order(self, number: int, count: int) -> Iterator[NDArray[np.int64]]:
        """Segments of a stream, without end: in each pass the streams share all of them out anew."""
        turn = 0
        while True:
            shuffled = np.random.default_rng([*self.seed, 0, turn]).permutation(len(self.segments))
            own = shuffled[number::count]
            yield from self.segments[own if len(own) else shuffled]
            turn += 1

    def pool_size(self, segment: Segment, count: int) -> int:
        """Segments that a stream holds, as far as its share and the memory of a worker go."""
        fits = POOL_BYTES // (len(self.own) * segment.frames.nbytes)
        return max(1, min(POOL_SEGMENTS // len(self.own), fits, len(self.segments) // count))

    def item(
        self, frames: NDArray[np.uint8], actions: NDArray[np.float32], random: np.random.Generator
    ) -> dict[str, Tensor]:
        changed = augmented(frames, self.augment, random) if self.augment else frames
        images, commands, earlier = torch.from_numpy(changed), torch.from_numpy(actions), self.clips.earlier
        return {
            "frames": images[earlier:],
            "actions": commands[earlier:],
            "earlier_frames": images[:earlier],
            "earlier_actions": commands[:earlier],
        }


class ClipList(Dataset[dict[str, Tensor]]):
    """Clips for validation: at most ``most``, in order, evenly spread over all that do not overlap."""

    def __init__(self, clips: Clips, most: int):
        self.clips = clips
        lengths = [len(episode) for episode in clips.episodes]
        segments_of(lengths, clips.length)  # or InputError
        places = [
            (number, start)
            for number, length in enumerate(lengths)
            for start in range(0, length - clips.length + 1, clips.length)
        ]
        chosen = np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)
        self.places = [places[number] for number in chosen]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        episode, start = self.places[item]
        stop = start + self.clips.length
        return {
            "frames": torch.from_numpy(self.clips.frames(episode, start, stop)),
            "actions": torch.from_numpy(self.clips.actions(episode, start, stop)),
        }


class BagData(lightning.LightningDataModule):
    """Clips of training and validation episodes; those shorter than a clip are skipped.

    Training clips have no end: count steps, not epochs. A stage that goes on after a kill gets other
    clips than in the beginning, as the seed takes in the steps done so far.

    Args:
        train, validation: episodes.
        action: normalisation of the actions.
        clip_frames: frames of a clip.
        batch_size: clips of a batch, per process.
        workers: decoding processes; 0 decodes in the training process.
        augment: how training clips are changed; None leaves them as they are.
        seed: of order and changes.
        shards: streams that a global batch comes from, a multiple of the number of processes; None: that number.
        earlier: frames from earlier in the episode that come with each training clip.

    Raises:
        InputError: no episode of either kind is as long as a clip.
    """

    def __init__(
        self,
        train: Sequence[TrainingEpisode],
        validation: Sequence[TrainingEpisode],
        action: ActionSpec,
        clip_frames: int,
        batch_size: int,
        workers: int = 0,
        augment: Augment | None = None,
        seed: int = 0,
        shards: int | None = None,
        earlier: int = 0,
    ):
        super().__init__()
        self.batch_size, self.workers, self.augment = batch_size, workers, augment
        self.seed, self.shards = seed, shards
        self.train_clips = Clips(train, clip_frames, action, earlier)
        self.validation_clips = ClipList(Clips(validation, clip_frames, action), VALIDATION_CLIPS)
        segments_of([len(episode) for episode in train], clip_frames)  # or InputError, before hours go by

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        trainer = self.trainer
        rank, processes, steps = (
            (trainer.global_rank, trainer.world_size, trainer.global_step) if trainer else (0, 1, 0)
        )
        shards = self.shards or processes
        if shards % processes:
            raise InputError(f"shards: expected a multiple of {processes} processes, got {shards}")
        each = shards // processes
        stream = ClipStream(
            self.train_clips, self.batch_size, shards, range(rank * each, (rank + 1) * each),
            (self.seed, steps), self.augment,
        )  # fmt: skip
        return DataLoader(
            stream, self.batch_size, num_workers=self.workers, worker_init_fn=begin_worker,
            multiprocessing_context=context(self.workers), pin_memory=torch.cuda.is_available(),
        )  # fmt: skip

    def training_sample(self, most: int) -> Iterator[dict[str, Tensor]]:
        """At most ``most`` training clips, unchanged, spread evenly, the same in every process."""
        clips = ClipList(self.train_clips, most)
        return (clips[number] for number in range(len(clips)))

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.validation_clips, self.batch_size)


def context(workers: int) -> str | None:
    """Workers are forked: only those are children of the training process, which they are to die with."""
    return "fork" if workers else None


def begin_worker(_: int) -> None:
    """A worker decodes on one core, leaves Ctrl-C to the training process, and dies with it even on a kill -9."""
    die_with_parent()
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
