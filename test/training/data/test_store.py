# SPDX-License-Identifier: Apache-2.0
"""Clips of a store are those of the loader: of the same frames, as often from each place, changed alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from bag_writer import SPEC, robot_messages, write_bag
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dd_ros_training.data.augment import Augment, changed, cut_and_moved, draw_changes, recoloured
from dd_ros_training.data.batches import BagData
from dd_ros_training.data.clips import FAR, SPACING, ClipCutter, ClipStream, fit_actions, spans_of
from dd_ros_training.data.index import BagEpisode, index_bags
from dd_ros_training.data.store import PIECE_BYTES, ClipOrder, Pieces, StoredClips, fill

LENGTH, EARLIER = 6, 2
CPU = torch.device("cpu")
FRAME_BYTES = 32 * 48 * 3


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> list[BagEpisode]:
    folder = tmp_path_factory.mktemp("stored_bags")
    bags = [write_bag(folder / f"bag_{count}", robot_messages(count)) for count in (40, 170, 3, 12)]
    return index_bags(bags, SPEC, folder / "cache")


@pytest.fixture(scope="module")
def frames(episodes: list[BagEpisode]) -> Tensor:
    found = stored(episodes)
    assert found is not None
    return found


def stored(
    episodes: Sequence[BagEpisode], *, budget: int = 10**9, seconds: float = 1e9, workers: int = 0
) -> Tensor | None:
    return fill(episodes, height=32, width=48, device=CPU, budget=budget, workers=workers, seconds=seconds)


def clips_of(
    episodes: list[BagEpisode],
    frames: Tensor,
    *,
    batch_size: int = 16,
    rank: int = 0,
    world: int = 1,
    seed: int = 0,
    augment: Augment | None = None,
) -> StoredClips:
    cutter = ClipCutter(episodes, length=LENGTH, action=fit_actions(episodes), earlier=EARLIER)
    return StoredClips(
        frames, cutter, batch_size=batch_size, rank=rank, world=world, seed=(seed,), augment=augment
    )


def first(clips: StoredClips, count: int = 1) -> list[dict[str, Tensor]]:
    return [batch for batch, _ in zip(clips, range(count), strict=False)]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_store_has_every_frame_once_and_in_order(
    episodes: list[BagEpisode], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dd_ros_training.data.store.FRAMES_PER_WORKER", 1)
    monkeypatch.setattr("dd_ros_training.data.store.PIECE_BYTES", 7 * FRAME_BYTES)
    found = stored(episodes, workers=workers)
    assert found is not None
    assert np.array_equal(found, np.concatenate([episode.frames(0, len(episode)) for episode in episodes]))


def test_pieces_are_small(episodes: list[BagEpisode]) -> None:
    bounds = Pieces(episodes, FRAME_BYTES * 20).bounds
    assert max(last - first for _, first, last in bounds) * FRAME_BYTES * 20 <= PIECE_BYTES
    assert sum(last - first for _, first, last in bounds) == sum(map(len, episodes))


def test_frames_beyond_the_budget_and_slow_ones_are_left_to_the_loader(episodes: list[BagEpisode]) -> None:
    size = sum(map(len, episodes)) * FRAME_BYTES
    assert stored(episodes, budget=size) is not None
    assert stored(episodes, budget=size - 1) is None
    assert stored(episodes, seconds=0.0) is None
    assert stored([]) is None


def test_clips_are_those_of_their_places_to_the_bit(episodes: list[BagEpisode], frames: Tensor) -> None:
    """And earlier frames too, with their actions."""
    clips = clips_of(episodes, frames)
    spec = fit_actions(episodes)
    actions = np.concatenate([e.actions for e in episodes])
    normalised = (actions - np.float32(spec.mean)) / np.float32(spec.std)
    begins = clips.order.turn(np.random.default_rng(0))
    batch = clips.batch(begins, None)
    for (row, before), *parts in zip(begins, *batch.values(), strict=True):
        whole, whole_actions, earlier, earlier_actions = parts
        assert torch.equal(whole, frames[row : row + LENGTH])
        assert torch.equal(earlier, frames[before : before + EARLIER])
        assert np.array_equal(whole_actions, normalised[row : row + LENGTH])
        assert np.array_equal(earlier_actions, normalised[before : before + EARLIER])


@given(st.lists(st.integers(0, 700), min_size=1, max_size=5), st.integers(1, 40), st.integers(0, 2**32))
def test_each_turn_takes_a_clip_of_each_few_starts(lengths: list[int], clip: int, seed: int) -> None:
    """One of each SPACING of each span, none across the end of an episode; earlier ones from before it."""
    if max(lengths) < clip:
        return
    ends = np.cumsum(lengths)
    expected = []
    for episode, start, stop in spans_of(lengths, clip):
        windows = stop - start - clip + 1
        base = ends[episode] - lengths[episode] + start
        expected += [(base + low, base + min(low + SPACING, windows)) for low in range(0, windows, SPACING)]
    turn = ClipOrder(lengths, clip).turn(np.random.default_rng(seed))
    for (low, high), (row, before) in zip(sorted(expected), sorted(turn.tolist()), strict=True):
        assert low <= row < high
        episode = int(np.searchsorted(ends, row, side="right"))
        begin = ends[episode] - lengths[episode]
        assert begin <= before <= max(begin, row) < row + clip <= ends[episode]
        assert row - before <= FAR + clip + 128


def gaps(batches: Sequence[dict[str, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Places of clips, and how far before them their earlier steps are; images carry their number."""
    number, before = (
        np.concatenate([batch[name][:, 0, 0, 0, 2].numpy() for batch in batches]).astype(int)
        for name in ("frames", "earlier_frames")
    )
    return number, number - before


def test_places_are_drawn_as_the_loader_draws_them(episodes: list[BagEpisode], frames: Tensor) -> None:
    """Of clips and of earlier steps: two samples of either have the same distribution (Kolmogorov and Smirnov)."""
    long = [episode for episode in episodes if len(episode) == 170]
    own = frames[40:210]
    cutter = ClipCutter(long, length=LENGTH, action=fit_actions(long), earlier=EARLIER)
    stream = ClipStream(cutter, batch_size=1, shards=1, own=range(1), seed=(0,), augment=None)
    loaded = [
        {name: part[None] for name, part in clip.items()}
        for clip, _ in zip(stream, range(3000), strict=False)
    ]
    kept = first(clips_of(long, own, batch_size=100), 30)
    for mine, other in zip(gaps(kept), gaps(loaded), strict=True):
        points = np.arange(-1, 171)
        shares = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (mine, other)]
        assert np.abs(shares[0] - shares[1]).max() < 0.05
    starts = np.bincount(gaps(kept)[0], minlength=165)
    assert starts.min() > 0
    groups = starts[: 10 * SPACING].reshape(10, SPACING)
    assert np.ptp(groups.sum(axis=1)) <= 2  # each as often, but for the turn under way


def test_seed_and_processes(episodes: list[BagEpisode], frames: Tensor) -> None:
    """The same seed, the same batches; two processes see, together, what one with all clips sees."""
    (one,) = first(clips_of(episodes, frames, batch_size=8, augment=Augment()))
    (again,) = first(clips_of(episodes, frames, batch_size=8, augment=Augment()))
    (other,) = first(clips_of(episodes, frames, batch_size=8, augment=Augment(), seed=1))
    halves = [
        first(clips_of(episodes, frames, batch_size=4, rank=rank, world=2, augment=Augment()))[0]
        for rank in range(2)
    ]
    for name, part in one.items():
        assert torch.equal(part, again[name])
        assert torch.equal(part, torch.cat([half[name] for half in halves]))
        assert not torch.equal(part, other[name])


def test_a_stage_that_goes_on_gets_other_clips(episodes: list[BagEpisode], frames: Tensor) -> None:
    def batch(steps: int) -> Tensor:
        data = BagData(
            episodes,
            episodes,
            action=fit_actions(episodes),
            clip_frames=LENGTH,
            batch_size=4,
            store=frames,
        )
        data.trainer = StandIn(steps)  # type: ignore[assignment]
        return next(iter(data.train_dataloader()))["frames"]

    assert torch.equal(batch(5), batch(5))
    assert not torch.equal(batch(5), batch(6))


class StandIn:
    """What a trainer tells of itself after ``steps``."""

    global_rank, world_size = 0, 1

    def __init__(self, steps: int):
        self.global_step, self.strategy = steps, self
        self.root_device = CPU


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_a_batch_is_changed_as_each_clip_of_it(seed: int) -> None:
    """On a GPU, where it is one batch, within the rounding of OpenCV's integers: a grey level, rarely."""
    random = np.random.default_rng(seed)
    store = random.integers(0, 256, (30, 20, 28, 3), dtype=np.uint8)
    changes = draw_changes(Augment(shift=0.2), random, 4, height=20, width=28)
    rows = random.integers(0, 30, (4, 5))
    moved = cut_and_moved(*map(torch.from_numpy, (store, rows, changes.moves)))
    batch = recoloured(moved, torch.from_numpy(changes.colours)).numpy().astype(int)
    alone = np.stack([changed(store[own], *how) for own, *how in zip(rows, *changes, strict=True)])
    difference = np.abs(batch - alone)
    assert difference.max() <= 1
    assert difference.mean() < 0.2


def test_changes_are_spread_evenly_up_to_their_limits() -> None:
    most = Augment(brightness=0.1, contrast=0.0, saturation=0.0, hue=0.0, shift=0.25)
    colours, moves = draw_changes(most, np.random.default_rng(0), 4000, height=40, width=80)
    assert np.allclose(colours[:, :, :3], np.eye(3))
    added = colours[:, 0, 3]
    assert np.abs(added).max() <= 25.5
    assert abs(added.mean()) < 1.0
    assert added.std() == pytest.approx(25.5 / 3**0.5, rel=0.05)
    assert np.abs(moves).max(axis=0).tolist() == [20, 10]
    assert np.allclose(moves.std(axis=0), [20 / 3**0.5, 10 / 3**0.5], rtol=0.06)
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.1
