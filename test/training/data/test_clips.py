# SPDX-License-Identifier: Apache-2.0
"""Clips: which, in which order, for which process; all of them from real bags."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bag_writer import SPEC, make_frame, robot_messages, write_bag
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dd_ros.errors import InputError
from dd_ros_training.data.augment import Augment, augmented
from dd_ros_training.data.batches import VALIDATION_CLIPS, BagData
from dd_ros_training.data.clips import SPACING, ClipCutter, ClipStream, fit_actions, spans_of
from dd_ros_training.data.index import BagEpisode, TrainingEpisode, index_bags

LENGTH = 6


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> list[BagEpisode]:
    folder = tmp_path_factory.mktemp("bags")
    bags = [write_bag(folder / f"bag_{count}", robot_messages(count)) for count in (40, 170, 3, 12)]
    return index_bags(bags, SPEC, folder / "cache")


def data_of(
    episodes: list[BagEpisode],
    validation: list[BagEpisode] | None = None,
    *,
    length: int = LENGTH,
    batch_size: int = 2,
    **more: Any,
) -> BagData:
    """Clips of ``episodes``, of which those for validation too are if there are no others."""
    action = fit_actions(episodes)
    return BagData(
        episodes, validation or episodes, action=action, clip_frames=length, batch_size=batch_size, **more
    )


def batches(data: BagData, count: int) -> list[dict[str, torch.Tensor]]:
    return [batch for batch, _ in zip(data.train_dataloader(), range(count), strict=False)]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.integers(1, 60))
def test_each_window_lies_in_exactly_one_span(lengths: list[int], clip: int) -> None:
    if max(lengths) < clip:
        with pytest.raises(InputError, match=f"at least one episode of {clip} frames"):
            spans_of(lengths, clip)
        return
    rows = spans_of(lengths, clip).tolist()
    found = Counter((number, at) for number, start, stop in rows for at in range(start, stop - clip + 1))
    assert found == Counter((n, at) for n, length in enumerate(lengths) for at in range(length - clip + 1))
    assert max(stop - start for _, start, stop in rows) <= max(128, clip)


def test_clips_are_consecutive_steps_of_the_bags(episodes: list[BagEpisode]) -> None:
    action = fit_actions(episodes)
    (batch,) = batches(data_of(episodes, batch_size=16), 1)
    assert batch["frames"].shape == (16, LENGTH, 32, 48, 3)
    assert batch["frames"].dtype == torch.uint8
    assert batch["actions"].dtype == torch.float32
    for frames, actions in zip(batch["frames"], batch["actions"], strict=True):
        first = int(frames[0, 0, 0, 2])  # images carry their number
        assert np.array_equal(frames, [make_frame(first + step) for step in range(LENGTH)])
        raw = actions[:, 0].numpy() * action.std[0] + action.mean[0]
        assert raw == pytest.approx(0.1 * (first + np.arange(LENGTH)), abs=1e-4)


def test_clips_come_with_earlier_frames(episodes: list[BagEpisode]) -> None:
    """Of the same bag, in the same light, from a clip's length before it back to the bag's beginning."""
    long = [episode for episode in episodes if len(episode) == 170]
    assert max(stop - start for _, start, stop in spans_of([170], LENGTH).tolist()) < 100
    data = data_of(long, batch_size=16, augment=Augment(shift=0.0), earlier=2)
    deviation = fit_actions(long).std[0]
    gaps = []
    for batch in batches(data, 16):
        assert batch["earlier_frames"].shape == (16, 2, 32, 48, 3)
        assert batch["earlier_actions"].shape == (16, 2, *batch["actions"].shape[2:])
        assert batch["frames"].shape[1] == LENGTH
        raw, earlier = (batch[name][..., 0].numpy() * deviation for name in ("actions", "earlier_actions"))
        assert np.allclose(np.diff(earlier), 0.1, atol=1e-4)  # neighbours; the action counts the steps
        gaps += np.round((raw[:, 0] - earlier[:, 0]) / 0.1).astype(int).tolist()
    assert min(gaps) >= 0
    assert max(gaps) > 128
    assert sum(gap >= LENGTH for gap in gaps) > 0.9 * len(gaps)


def test_actions_are_normalised_over_all_episodes(episodes: list[BagEpisode]) -> None:
    found = fit_actions(episodes)
    everything = np.concatenate([episode.actions for episode in episodes]).astype(np.float64)
    assert found.mean == pytest.approx(everything.mean(axis=0).tolist())
    assert found.std == pytest.approx(everything.std(axis=0).tolist())
    with pytest.raises(InputError, match="at least one usable episode"):
        fit_actions([])


def test_the_same_seed_gives_the_same_batches(episodes: list[BagEpisode]) -> None:
    def frames(seed: int, workers: int = 0) -> torch.Tensor:
        data = data_of(episodes, batch_size=4, workers=workers, augment=Augment(), seed=seed)
        return torch.stack([batch["frames"] for batch in batches(data, 5)])

    assert torch.equal(frames(1), frames(1))
    assert torch.equal(frames(1, workers=2), frames(1, workers=2))
    assert not torch.equal(frames(1), frames(2))


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_together_see_the_batches_of_one(episodes: list[BagEpisode], workers: int) -> None:
    """As the dataloaders of two ranks, and of one, make them: worker by worker, shard by shard."""
    cutter = ClipCutter(episodes, length=LENGTH, action=fit_actions(episodes))

    def batch(own: range, size: int, worker: int) -> list[torch.Tensor]:
        stream = ClipStream(cutter, batch_size=size, shards=2, own=own, seed=(3,), augment=Augment())
        streams = [stream.stream(shard * workers + worker, 2 * workers) for shard in own]
        return [next(s)["frames"] for s in streams for _ in range(stream.each)]

    for worker in range(workers):
        one = batch(range(2), 8, worker)
        two = batch(range(1), 4, worker) + batch(range(1, 2), 4, worker)
        assert torch.equal(torch.stack(one), torch.stack(two))
        assert not torch.equal(one[0], one[4])


def load_for_ever(episodes: list[BagEpisode], pids: Connection) -> None:
    """A training process with two decoding ones, as far as the loader sees it."""
    turn = iter(data_of(episodes, batch_size=4, workers=2).train_dataloader())
    next(turn)
    pids.send([process.pid for process in multiprocessing.active_children()])
    while True:
        next(turn)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_die_with_a_killed_training(episodes: list[BagEpisode], method: str) -> None:
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe()
    process = context.Process(target=load_for_ever, args=(episodes, sender))  # type: ignore[attr-defined]
    process.start()
    workers = receiver.recv()
    assert len(workers) == 2
    process.kill()
    process.join()
    while any(running(pid) for pid in workers):  # else the test runs into its time limit
        time.sleep(0.01)


def running(pid: int) -> bool:
    """Whether a process is there and not only waits to be counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_streams_share_the_spans_out_and_leave_none_out(episodes: list[BagEpisode]) -> None:
    stream = lonely_stream(episodes)
    for count in (1, 2, 3):
        shares = []
        for number in range(count):
            order = stream.order(number, count)
            shares += [tuple(next(order)) for _ in range(len(range(number, len(stream.spans), count)))]
        assert sorted(shares) == sorted(map(tuple, stream.spans))
    one_of_many = stream.order(50, 60)  # more streams than spans
    assert sorted(tuple(next(one_of_many)) for _ in stream.spans) == sorted(map(tuple, stream.spans))


def lonely_stream(episodes: Sequence[TrainingEpisode]) -> ClipStream:
    """The one stream of a process that trains alone, batches of one clip, unchanged."""
    cutter = ClipCutter(episodes, length=LENGTH, action=fit_actions(episodes))
    return ClipStream(cutter, batch_size=1, shards=1, own=range(1), seed=(0,), augment=None)


@dataclass
class Counted:
    """An episode that counts what is decoded."""

    inner: BagEpisode
    decoded: int = 0

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def actions(self) -> NDArray[np.float32]:
        return self.inner.actions

    def __len__(self) -> int:
        return len(self.inner)

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        self.decoded += stop - start
        return self.inner.frames(start, stop)


def test_every_frame_is_seen_and_few_are_decoded_twice(episodes: list[BagEpisode]) -> None:
    counted = [Counted(episode) for episode in episodes]
    stream = lonely_stream(counted)
    windows = sum(max(0, len(episode) - LENGTH + 1) for episode in episodes)
    turn = iter(stream)
    seen = {int(next(turn)["frames"][0, 0, 0, 2]) for _ in range(4 * windows // SPACING)}
    assert min(seen) < SPACING
    assert max(seen) > 165 - SPACING
    steps = sum(len(episode) for episode in episodes if len(episode) >= LENGTH)
    assert sum(episode.decoded for episode in counted) < 1.3 * (4 + 1) * steps  # four turns, and a pool


def test_validation_clips_are_spread_and_the_same_each_time(episodes: list[BagEpisode]) -> None:
    data = data_of(episodes, [episodes[0], episodes[1]] * 40, batch_size=8)
    first, second = list(data.val_dataloader()), list(data.val_dataloader())
    assert len(first) == VALIDATION_CLIPS // 8
    assert all(torch.equal(a["frames"], b["frames"]) for a, b in zip(first, second, strict=True))
    starts = data.validation_clips.starts
    assert len({episode for episode, _ in starts}) > 40
    assert starts == sorted(starts)


def test_too_short_episodes_are_skipped_or_named(episodes: list[BagEpisode]) -> None:
    data_of(episodes, length=170)
    with pytest.raises(InputError, match=r"at least one episode of 171 frames.*longest of 170"):
        data_of(episodes, length=171)
    with pytest.raises(InputError, match="at least one episode of 13 frames"):
        data_of(episodes, episodes[2:], length=13)
    with pytest.raises(InputError, match="multiple of 2 shards, got 3"):
        batches(data_of(episodes, batch_size=3, shards=2), 1)


@given(st.integers(0, 2**32))
def test_changes_are_the_same_for_all_frames_and_move_nothing(seed: int) -> None:
    still = np.broadcast_to(make_frame(7), (3, 32, 48, 3)).copy()
    changed = augmented(still, Augment(shift=0.0), np.random.default_rng(seed))
    assert changed.shape == still.shape
    assert np.array_equal(changed[0], changed[2])
    grey, new = (x[0].astype(float).mean(axis=-1).ravel() for x in (still, changed))
    assert np.corrcoef(grey, new)[0, 1] > 0.9  # where it was, and no negative
    assert abs(new.mean() - grey.mean()) < 0.2 * 255


def test_no_change_and_shifts() -> None:
    clip = np.stack([make_frame(n) for n in range(3)])
    none = Augment(brightness=0, contrast=0, saturation=0, hue=0, shift=0)
    assert np.array_equal(augmented(clip, none, np.random.default_rng(0)), clip)
    moved = augmented(clip, none.model_copy(update={"shift": 0.1}), np.random.default_rng(1))
    assert not np.array_equal(moved, clip)
    inner = moved[:, 8:-8, 8:-8]
    shifts = [
        (dy, dx)
        for dy in range(-4, 5)
        for dx in range(-4, 5)
        if np.array_equal(inner, clip[:, 8 + dy : 24 + dy, 8 + dx : 40 + dx])
    ]
    assert len(shifts) == 1
