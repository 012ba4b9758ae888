# SPDX-License-Identifier: Apache-2.0
"""The index of a bag says what decoding the whole bag says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import (
    COMPRESSED,
    IMAGE,
    JOINTS,
    KINDS,
    SPEC,
    START,
    bag_of,
    compressed,
    image,
    joints,
    make_frame,
    robot_messages,
    write_bag,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_steps import slow_steps

from dd_ros.data.bags import read_episodes
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import StreamSpec
from dd_ros_training.data import index, unpacked
from dd_ros_training.data.index import BagEpisode, index_bag, index_bags, split_validation

MS = 1_000_000
TOPIC = SPEC.image_topic


def same(found: list[BagEpisode], bag: Path, spec: StreamSpec = SPEC) -> None:
    """The index has the episodes that reading the bag gives, and their very images."""
    expected = read_episodes(bag, spec)
    assert [(len(e), e.name) for e in found] == [(len(e), e.name) for e in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.stamps, other.stamps)
        assert np.array_equal(one.actions, other.actions)
        assert np.array_equal(one.frames(0, len(one)), other.frames)


@pytest.mark.parametrize("kind", KINDS)
def test_bags_of_every_kind(tmp_path: Path, kind: str) -> None:
    bag = bag_of(tmp_path / "bag", kind, robot_messages(50, width=240, height=160))
    same(index_bags([bag], SPEC, tmp_path / "cache"), bag)


def check(bag: Path, spec: StreamSpec, cache: Path) -> None:
    """As ``same``; a bag that cannot be read has no episodes."""
    problems = Report()
    found = index_bags([bag], spec, cache, problems=problems)
    if found:
        same(found, bag, spec)
    else:
        with pytest.raises(InputError) as error:
            read_episodes(bag, spec)
        assert str(error.value) in problems.lines()[-1]


# Mostly camera-like distances (ms), now and then a gap, a duplicate, a step back or a reset.
DISTANCES = st.lists(
    st.one_of(st.integers(20, 140), st.integers(20, 140), st.integers(-50, 900), st.sampled_from([0, -2500])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=20, deadline=None)
@given(
    DISTANCES, st.lists(st.integers(-1500, 1500), max_size=6), st.sampled_from(["mcap", "sqlite3"]),
    st.sampled_from([40, 80, 100, 125, 250]),
)  # fmt: skip
def test_random_streams_as_walking_the_grid_has_them(
    tmp_path_factory: pytest.TempPathFactory,
    distances: list[int],
    commands: list[int],
    kind: str,
    step_ms: int,
) -> None:
    """Header stamps go back as they like while the recorder's clock does not; commands come in between."""
    folder = tmp_path_factory.mktemp("bags")
    spec = SPEC.model_copy(update={"rate_hz": 1000.0 / step_ms})
    stamps = [START + MS * int(t) for t in 10_000 + np.cumsum(distances)]
    messages: list[tuple[str, str, int, Any]] = [("/action", JOINTS, START, joints(START, (1.0, 2.0)))]
    for number, stamp in enumerate(stamps):
        received = max(stamps[: number // 2 * 2 + 2])  # two at a time: receive times repeat
        messages.append((TOPIC, IMAGE, received, image(stamp, make_frame(number, 48, 32))))
    bag = bag_of(folder / "bag", kind, messages)
    episodes = index_bags([bag], spec, folder / "cache")
    if min(np.diff(stamps), default=0) > -1000 * MS:  # with a reset, only what came after it has no command
        expected = slow_steps(stamps, step_ms * MS)
        assert [e.stamps.tolist() for e in episodes] == [[stamp for stamp, _ in run] for run in expected]
        for episode, run in zip(episodes, expected, strict=True):
            assert np.array_equal(episode.frames(0, len(episode)), [make_frame(number) for _, number in run])
    check(bag, spec, folder / "cache")
    for late in commands:  # and with commands here and there, late ones too
        stamp = START + 10_500 * MS + late * MS
        messages.append(("/action", JOINTS, messages[-1][2] + MS, joints(stamp, (float(late), 0.0))))
    bag = bag_of(folder / "second", kind, messages)
    check(bag, spec, folder / "cache")


def test_it_is_built_once_and_anew_when_the_bag_changes(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(20))
    (first,) = index_bags([bag], SPEC, tmp_path / "cache")
    built = (first.bag.folder / "steps.npy").stat().st_mtime_ns
    assert index_bags([bag], SPEC, tmp_path / "cache") == [first]
    assert (first.bag.folder / "steps.npy").stat().st_mtime_ns == built
    (file,) = bag.glob("*.mcap")
    os.utime(file, ns=(1, 1))
    (other,) = index_bags([bag], SPEC, tmp_path / "cache")
    assert other.bag.folder != first.bag.folder
    slower = SPEC.model_copy(update={"rate_hz": 5.0})
    assert len(index_bags([bag], slower, tmp_path / "cache")[0]) == 10


def test_it_is_built_anew_when_its_rows_have_other_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that an older version left is not looked at."""
    bag = write_bag(tmp_path / "bag", robot_messages(20))
    row_type = index.row_type

    def older_type(action_dim: int) -> np.dtype:
        names = {"duplicate_index": "twin"}
        return np.dtype([(names.get(name, name), *rest) for name, *rest in row_type(action_dim).descr])

    with monkeypatch.context() as patch:
        patch.setattr(index, "row_type", older_type)
        older = tmp_path / "cache" / f"bag-{index.key(bag, index.storage_files(bag), SPEC)}"
        older.mkdir(parents=True)
        np.save(older / "steps.npy", np.zeros(1, older_type(2)))
        (older / "index.json").write_text('{"lengths": [1], "problems": []}')
    same(index_bags([bag], SPEC, tmp_path / "cache"), bag)


def test_unusable_bags_are_named_and_left_out(tmp_path: Path) -> None:
    good = write_bag(tmp_path / "good", robot_messages(20))
    silent = write_bag(tmp_path / "silent", [m for m in robot_messages(20) if m[0] == TOPIC])
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "broken.mcap").write_bytes(b"no mcap")
    dark = [
        (t, k, r, m) if t != TOPIC else (t, COMPRESSED, r, compressed(r, make_frame(0), "jpeg"))
        for t, k, r, m in robot_messages(9)
    ]
    for _, _, _, message in dark[1::2]:
        message.data = message.data[:3]
    undecodable = write_bag(tmp_path / "undecodable", dark)
    for _ in range(2):  # built, and read again
        problems = Report()
        episodes = index_bags(
            [good, silent, broken, undecodable], SPEC, tmp_path / "cache", problems=problems
        )
        assert [episode.name for episode in episodes] == ["good"]
        for bag, why in (
            (silent, "/action"),
            (broken, "broken.mcap"),
            (undecodable, "expected a whole jpeg"),
        ):
            assert any(str(bag) in line and why in line for line in problems), (bag, problems)


def test_a_bag_that_changed_under_its_index_is_said(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(20))
    (episode,) = index_bags([bag], SPEC, tmp_path / "cache")
    (file,) = bag.glob("*.mcap")
    later = [(t, k, r + 10**12, m) for t, k, r, m in robot_messages(20)]
    (other,) = write_bag(tmp_path / "other", later).glob("*.mcap")
    other.replace(file)
    with pytest.raises(InputError, match=r"bag\.mcap: changed since it was indexed"):
        episode.frames(0, 5)


def test_no_room_for_the_index(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(5))
    with pytest.raises(InputError, match="/proc/nowhere: cannot be written"):
        index_bag(bag, SPEC, Path("/proc/nowhere"))


def test_unpacked_copies_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bags = [write_bag(tmp_path / f"bag_{n}", robot_messages(30), "sqlite3", zstd=True) for n in range(3)]
    episodes = index_bags(bags, SPEC, tmp_path / "cache")
    copies = tmp_path / "cache" / "unpacked"
    assert not copies.exists()  # indexing keeps none
    episodes[0].frames(0, 3)
    (first,) = copies.iterdir()
    monkeypatch.setattr(unpacked, "MOST_BYTES", int(2.5 * first.stat().st_size))
    for number in (1, 0, 2):
        assert np.array_equal(episodes[number].frames(4, 6), [make_frame(4), make_frame(5)])
    assert len(list(copies.iterdir())) == 2
    assert first.exists()  # used after the second, so that one went


def test_the_end_of_a_single_bag_is_for_validation(tmp_path: Path) -> None:
    whole = index_bags([write_bag(tmp_path / "bag", robot_messages(60))], SPEC, tmp_path / "cache")
    (train,), (validation,) = split_validation(whole, clip_frames=4)
    assert (len(train), len(validation)) == (50, 10)
    assert np.array_equal(np.concatenate([train.stamps, validation.stamps]), whole[0].stamps)
    assert np.array_equal(validation.frames(3, 5), [make_frame(53), make_frame(54)])
    (train,), (validation,) = split_validation(whole, clip_frames=20)
    assert (len(train), len(validation)) == (40, 20)
    assert split_validation(whole, clip_frames=40) == (whole, whole)
