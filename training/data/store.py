# SPDX-License-Identifier: Apache-2.0
"""All decoded frames of the training episodes, where training runs; clips are cut, moved and recoloured there.

Frames come in once, by the same door as the loader's and the robot's (``TrainingEpisode.frames``): a decoder of the
GPU's own would be a second one, whose pixels differ. A batch is then arithmetic on a few numbers per clip, and on a
GPU one gather and a handful of kernels that nobody waits for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dd_ros.progress import progress
from dd_ros_training.data.augment import Augment, Changes, changed, cut_and_moved, draw_changes, recoloured
from dd_ros_training.data.clips import FAR, SPACING, ClipCutter, spans_of
from dd_ros_training.data.index import TrainingEpisode
from dd_ros_training.data.workers import begin_worker, context

PIECE_BYTES = 2 * 2**20  # of frames that a process decodes at a time; all of them lie in shared memory
FRAMES_PER_WORKER = 512  # fewer are decoded sooner than a process starts
TRIAL = 0.25  # of the time that decoding may take: after it is clear how long it will


class Pieces(Dataset[Tensor]):
    """Frames of all episodes in pieces of at most PIECE_BYTES, in order."""

    def __init__(self, episodes: Sequence[TrainingEpisode], frame_bytes: int):
        self.episodes = episodes
        size = max(1, PIECE_BYTES // frame_bytes)
        self.bounds = [
            (number, first, min(first + size, len(episode)))
            for number, episode in enumerate(episodes)
            for first in range(0, len(episode), size)
        ]

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, item: int) -> Tensor:
        episode, first, last = self.bounds[item]
        return torch.from_numpy(self.episodes[episode].frames(first, last))


def fill(
    episodes: Sequence[TrainingEpisode],
    *,
    height: int,
    width: int,
    device: torch.device,
    budget: int,
    workers: int,
    seconds: float,
) -> Tensor | None:
    """All frames of ``episodes``, uint8 RGB [S, H, W, 3] on ``device``; None where the loader is the better choice.

    That is where the frames take more than ``budget`` bytes, or decoding them by ``workers`` processes more than
    ``seconds``, as is clear after a part of them: a short run would be over before it began.
    """
    frame_bytes, count = height * width * 3, sum(map(len, episodes))
    if not count or count * frame_bytes > budget:
        return None
    frames = torch.empty((count, height, width, 3), dtype=torch.uint8, device=device)
    workers = min(workers, count // FRAMES_PER_WORKER)
    pieces = DataLoader(
        Pieces(episodes, frame_bytes),
        None,
        num_workers=workers,
        worker_init_fn=begin_worker,
        multiprocessing_context=context(workers),
        prefetch_factor=1 if workers else None,
    )
    done, start = 0, time.monotonic()
    for piece in progress(pieces, "decoding images"):
        frames[done : done + len(piece)] = piece
        done += len(piece)
        spent = time.monotonic() - start
        if spent > TRIAL * seconds and spent * count > seconds * done:
            return None
    return frames


class ClipOrder:
    """Which clips come, and the earlier steps that come with each: statistically those of a ``ClipStream``.

    In each turn one clip begins in each SPACING possible starts of each span, in random order; earlier steps are
    drawn as ``DecodedSpan.draw`` has it.

    Args:
        lengths: model steps of the episodes, which follow each other.
        clip_frames: of a clip.

    Raises:
        InputError: no episode is as long as a clip.
    """

    def __init__(self, lengths: Sequence[int], clip_frames: int):
        self.length = clip_frames
        episodes, begins, ends = spans_of(lengths, clip_frames).T
        windows = ends - begins - clip_frames + 1
        groups = -(-windows // SPACING)  # of possible starts, in each span
        span = np.repeat(np.arange(len(windows)), groups)
        number = np.arange(len(span)) - np.repeat(np.cumsum(groups) - groups, groups)
        self.low = SPACING * number
        self.high = np.minimum(self.low + SPACING, windows[span])
        self.begin = begins[span]
        self.row = np.cumsum([0, *lengths])[episodes[span]]
        self.before = np.clip(self.begin - clip_frames, 0, FAR)

    def turn(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Rows that clips, and their earlier steps, begin with: int64 [N, 2]."""
        order = random.permutation(len(self.low))
        low, high, begin, row, before = (
            part[order] for part in (self.low, self.high, self.begin, self.row, self.before)
        )
        start = random.integers(low, high)
        first = random.integers(-before, np.maximum(1, start - self.length + 1))
        earlier = np.where(first < 0, begin - self.length + first, begin + first)
        return np.stack((row + begin + start, row + earlier), axis=1)


class StoredClips:
    """Training batches without end, from a store; iterating gives dictionaries of tensors on its device.

    They are those of ``ClipStream``, whatever the number of processes: all draw the global batch alike, and each
    takes its rows. The same seed, the same batches.

    Args:
        store: all frames of the cutter's episodes, uint8 RGB [S, H, W, 3].
        cutter: episodes, actions and lengths.
        batch_size: clips of a batch of this process.
        rank, world: number of this process, and of all processes.
        seed: of all draws.
        augment: how clips are changed; None leaves them as they are.
    """

    def __init__(
        self,
        store: Tensor,
        cutter: ClipCutter,
        *,
        batch_size: int,
        rank: int,
        world: int,
        seed: Sequence[int],
        augment: Augment | None,
    ):
        self.store, self.augment, self.seed = store, augment, list(seed)
        self.total = world * batch_size
        self.own = slice(rank * batch_size, (rank + 1) * batch_size)
        self.order = ClipOrder([len(episode) for episode in cutter.episodes], cutter.length)
        self.device = store.device
        normalised = np.concatenate([cutter.actions(number) for number in range(len(cutter.episodes))])
        self.actions = torch.from_numpy(normalised).to(self.device)
        self.earlier = cutter.earlier
        self.steps = np.concatenate((np.arange(cutter.earlier), np.arange(cutter.length)))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        random = np.random.default_rng(self.seed)
        height, width = self.store.shape[1:3]
        waiting: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        while True:
            while len(waiting) < self.total:
                waiting = np.concatenate((waiting, self.order.turn(random)))
            begins, waiting = waiting[: self.total], waiting[self.total :]
            changes = None
            if self.augment:
                drawn = draw_changes(self.augment, random, self.total, height=height, width=width)
                changes = Changes(drawn.colours[self.own], drawn.moves[self.own])
            yield self.batch(begins[self.own], changes)

    def batch(self, begins: NDArray[np.int64], changes: Changes | None) -> dict[str, Tensor]:
        """Clips that begin with rows of ``ClipOrder.turn``, int64 [B, 2]."""
        first, before = begins[:, :1], begins[:, 1:]
        offsets = np.where(np.arange(len(self.steps)) < self.earlier, before, first)
        rows = self.moved(torch.from_numpy(offsets + self.steps))
        frames, actions = self.frames(rows, changes), self.actions[rows]
        return {
            "frames": frames[:, self.earlier :],
            "actions": actions[:, self.earlier :],
            "earlier_frames": frames[:, : self.earlier],
            "earlier_actions": actions[:, : self.earlier],
        }

    def frames(self, rows: Tensor, changes: Changes | None) -> Tensor:
        """The store's ``rows`` int64 [B, T], changed clip by clip: uint8 [B, T, H, W, 3]."""
        kept = self.store
        if changes is None:
            return kept[rows]
        if self.device.type == "cpu":
            clips = zip(rows, *changes, strict=True)
            return torch.from_numpy(np.stack([changed(kept[own].numpy(), *how) for own, *how in clips]))
        colours, moves = (self.moved(torch.from_numpy(part)) for part in changes)
        return recoloured(cut_and_moved(kept, rows, moves), colours)

    def moved(self, drawn: Tensor) -> Tensor:
        """A few numbers on their way to the device, for which nobody waits."""
        if self.device.type == "cpu":
            return drawn
        return drawn.pin_memory().to(self.device, non_blocking=True)


class KeptBatches:
    """Batches that are decoded when they are first wanted, and stay on ``device``."""

    def __init__(self, loader: DataLoader[dict[str, Tensor]], device: torch.device):
        self.loader, self.device = loader, device
        self.kept: list[dict[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        if not self.kept:
            self.kept = [
                {name: part.to(self.device) for name, part in batch.items()} for batch in self.loader
            ]
        return iter(self.kept)
