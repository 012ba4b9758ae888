# SPDX-License-Identifier: Apache-2.0
"""Bags -> episodes on disk -> clips. Memory stays bounded: episodes are memory-mapped arrays."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dd_ros.bags import read_episodes
from dd_ros.config import ActionSpec, StreamSpec
from dd_ros.errors import InputError
from dd_ros.progress import progress


@dataclass(frozen=True)
class StoredEpisode:
    """An episode on disk: ``frames.npy`` uint8 [T, H, W, 3] and ``actions.npy`` float32 [T, A]."""

    folder: Path

    @property
    def frames(self) -> NDArray[np.uint8]:
        return np.load(self.folder / "frames.npy", mmap_mode="r")

    @property
    def actions(self) -> NDArray[np.float32]:
        return np.load(self.folder / "actions.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.actions)


def store_bag(bag: Path, spec: StreamSpec, cache: Path) -> list[StoredEpisode]:
    """Episodes of one bag, decoded once and kept under ``cache`` until bag or settings change."""
    size = sum(file.stat().st_size for file in ([bag] if bag.is_file() else sorted(bag.iterdir())))
    key = hashlib.sha256(f"{bag.resolve()} {size} {spec.model_dump_json()}".encode()).hexdigest()[:12]
    folder = cache / f"{bag.stem}-{key}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".", dir=cache))
        try:
            for index, episode in enumerate(read_episodes(bag, spec)):
                place = staging / f"{index:04d}"
                place.mkdir()
                np.save(place / "frames.npy", episode.frames)
                np.save(place / "actions.npy", episode.actions)
            os.replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return [StoredEpisode(place) for place in sorted(folder.iterdir())]


def store_bags(bags: Sequence[Path], spec: StreamSpec, cache: Path) -> list[StoredEpisode]:
    """Episodes of all readable ``bags``; bags without usable data are named and left out."""
    episodes: list[StoredEpisode] = []
    for bag in progress(bags, "reading bags"):
        try:
            episodes += store_bag(bag, spec, cache)
        except InputError as error:
            lightning.pytorch.utilities.rank_zero_warn(f"left out: {error}")
    return episodes


def fit_actions(episodes: Sequence[StoredEpisode], names: tuple[str, ...] = ()) -> ActionSpec:
    """Mean and deviation of the actions of ``episodes``; constant fields get deviation 1."""
    actions = np.concatenate([np.asarray(episode.actions, np.float64) for episode in episodes])
    std = actions.std(axis=0)
    std[std < 1e-6] = 1.0
    return ActionSpec(
        dim=actions.shape[1],
        mean=tuple(actions.mean(axis=0).tolist()),
        std=tuple(std.tolist()),
        names=names,
    )


class ClipDataset(Dataset[dict[str, Tensor]]):
    """Every window of ``length`` consecutive frames.

    Items: ``frames`` uint8 [length, H, W, 3] and ``actions`` float32 [length, A], normalised.
    """

    def __init__(self, episodes: Sequence[StoredEpisode], length: int, action: ActionSpec, stride: int = 1):
        self.episodes, self.length = list(episodes), length
        self.mean = np.asarray(action.mean, np.float32)
        self.std = np.asarray(action.std, np.float32)
        starts = [range(0, len(episode) - length + 1, stride) for episode in self.episodes]
        self.index = [(number, start) for number, run in enumerate(starts) for start in run]
        if not self.index:
            raise InputError(f"data: expected at least one episode of {length} frames, got none")

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        number, start = self.index[item]
        part = slice(start, start + self.length)
        episode = self.episodes[number]
        actions = (episode.actions[part] - self.mean) / self.std
        return {
            "frames": torch.from_numpy(episode.frames[part].copy()),
            "actions": torch.from_numpy(actions),
        }


class BagData(lightning.LightningDataModule):
    """Clips of training and validation episodes.

    Args:
        train, validation: episodes.
        action: normalisation of the actions.
        clip_frames: frames of a clip.
        batch_size: clips of a batch, per process.
        workers: decoding processes; 0 loads in the training process.
    """

    def __init__(
        self,
        train: Sequence[StoredEpisode],
        validation: Sequence[StoredEpisode],
        action: ActionSpec,
        clip_frames: int,
        batch_size: int,
        workers: int = 0,
    ):
        super().__init__()
        self.batch_size, self.workers = batch_size, workers
        self.train_clips = ClipDataset(train, clip_frames, action)
        self.validation_clips = ClipDataset(validation, clip_frames, action, stride=2 * clip_frames)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            self.train_clips,
            self.batch_size,
            shuffle=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            drop_last=len(self.train_clips) >= self.batch_size,
        )

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.validation_clips, self.batch_size, num_workers=0)
