# SPDX-License-Identifier: Apache-2.0
"""Batches of clips for one process of a training run, decoded by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import cv2
import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dd_ros.config import ActionSpec
from dd_ros.errors import InputError
from dd_ros_training.data.augment import Augment
from dd_ros_training.data.clips import ClipCutter, ClipList, ClipStream, spans_of
from dd_ros_training.data.index import TrainingEpisode
from dd_ros_training.device import die_with_parent

VALIDATION_CLIPS = 48


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
        seed: of the clips' order and changes.
        shards: streams that a global batch comes from, a multiple of the number of processes; None: that number.
        earlier: frames from earlier in the episode that come with each training clip.
        validation_clips: clips of a validation at most.

    Raises:
        InputError: no episode of either kind is as long as a clip.
    """

    def __init__(
        self,
        train: Sequence[TrainingEpisode],
        validation: Sequence[TrainingEpisode],
        *,
        action: ActionSpec,
        clip_frames: int,
        batch_size: int,
        workers: int = 0,
        augment: Augment | None = None,
        seed: int = 0,
        shards: int | None = None,
        earlier: int = 0,
        validation_clips: int = VALIDATION_CLIPS,
    ):
        super().__init__()
        self.batch_size, self.workers, self.augment = batch_size, workers, augment
        self.seed, self.shards = seed, shards
        self.cutter = ClipCutter(train, length=clip_frames, action=action, earlier=earlier)
        whole = ClipCutter(validation, length=clip_frames, action=action)
        self.validation_clips = ClipList(whole, validation_clips)
        spans_of([len(episode) for episode in train], clip_frames)  # or InputError, before hours go by

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
            self.cutter,
            batch_size=self.batch_size,
            shards=shards,
            own=range(rank * each, (rank + 1) * each),
            seed=(self.seed, steps),
            augment=self.augment,
        )
        return DataLoader(
            stream,
            self.batch_size,
            num_workers=self.workers,
            worker_init_fn=begin_worker,
            multiprocessing_context=context(self.workers),
            pin_memory=torch.cuda.is_available(),
        )

    def training_sample(self, most: int) -> Iterator[dict[str, Tensor]]:
        """At most ``most`` training clips, unchanged, spread evenly, the same in every process."""
        clips = ClipList(self.cutter, most)
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
