# SPDX-License-Identifier: Apache-2.0
"""Batches of clips for one process of a training run, from a store of all frames or decoded by worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dd_ros.config import ActionSpec
from dd_ros.errors import InputError
from dd_ros_training.data.augment import Augment
from dd_ros_training.data.camera import CameraMoves, MovedBatches
from dd_ros_training.data.clips import ClipCutter, ClipList, ClipStream, spans_of
from dd_ros_training.data.index import TrainingEpisode
from dd_ros_training.data.store import KeptBatches, StoredClips
from dd_ros_training.data.workers import begin_worker, context

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
        camera: how some of them are seen by a camera that moves, as of ``MovedBatches``; None: none.
        seed: of the clips' order and changes.
        shards: streams that a global batch comes from, a multiple of the number of processes; None: that number.
        earlier: frames from earlier in the episode that come with each training clip.
        validation_clips: clips of a validation at most.
        store: all frames of ``train``, uint8 RGB [S, H, W, 3]; None decodes them as they are wanted.

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
        camera: CameraMoves | None = None,
        seed: int = 0,
        shards: int | None = None,
        earlier: int = 0,
        validation_clips: int = VALIDATION_CLIPS,
        store: Tensor | None = None,
    ):
        super().__init__()
        self.batch_size, self.workers, self.augment, self.camera = batch_size, workers, augment, camera
        self.seed, self.shards, self.store = seed, shards, store
        self.cutter = ClipCutter(train, length=clip_frames, action=action, earlier=earlier)
        whole = ClipCutter(validation, length=clip_frames, action=action)
        self.validation_clips = ClipList(whole, validation_clips)
        spans_of([len(episode) for episode in train], clip_frames)  # or InputError, before hours go by

    def train_dataloader(self) -> Iterable[dict[str, Tensor]]:
        trainer = self.trainer
        rank, processes, steps = (
            (trainer.global_rank, trainer.world_size, trainer.global_step) if trainer else (0, 1, 0)
        )
        batches = self.recorded(rank, processes, steps)
        return MovedBatches(batches, self.camera, (self.seed, steps, rank)) if self.camera else batches

    def recorded(self, rank: int, processes: int, steps: int) -> Iterable[dict[str, Tensor]]:
        """Training batches as the bags have them, for process ``rank`` after ``steps`` steps."""
        trainer = self.trainer
        if self.store is not None:
            return StoredClips(
                self.store.to(trainer.strategy.root_device) if trainer else self.store,
                self.cutter,
                batch_size=self.batch_size,
                rank=rank,
                world=processes,
                seed=(self.seed, steps),
                augment=self.augment,
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

    def val_dataloader(self) -> Iterable[dict[str, Tensor]]:
        loader = DataLoader(self.validation_clips, self.batch_size)
        trainer = self.trainer
        if (
            self.store is not None and trainer and trainer.world_size == 1
        ):  # else Lightning shares a loader's clips out
            return KeptBatches(loader, trainer.strategy.root_device)
        return loader
