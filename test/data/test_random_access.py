# SPDX-License-Identifier: Apache-2.0
"""Random access to storage files gives what reading them from end to end gives."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import (
    IMAGE,
    KINDS,
    SPEC,
    START,
    STEP,
    TYPES,
    bag_of,
    image,
    make_frame,
    robot_messages,
    write_bag,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from dd_ros.data.bags import read_episodes
from dd_ros.data.random_access import records_between
from dd_ros.data.rosbag import Record, records, unpacked
from dd_ros.report import Report

TOPIC = SPEC.image_topic


def identity(record: Record) -> tuple[Any, ...]:
    return record.topic, record.msgtype, record.received_ns, record.duplicate_index, record.raw


def check(bag: Path, first: int, last: int) -> int:
    """Every stretch of every file is what a full read has in it; returns how much that was."""
    everything = [r for r in records(bag, (TOPIC,), Report()) if first <= r.received_ns <= last]
    for file in {record.file for record in everything}:
        with unpacked(file, Report()) as plain:
            found = [
                identity(record) for record in records_between(plain, TOPIC, first_ns=first, last_ns=last)
            ]
        assert found == [identity(record) for record in everything if record.file == file]
    return len(everything)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stretch_of_a_file(tmp_path: Path, kind: str) -> None:
    bag = bag_of(tmp_path / "bag", kind, robot_messages(60, width=240, height=160))
    assert check(bag, START + 10 * STEP, START + 19 * STEP) == 10
    assert check(bag, 0, 2**62) > 30
    assert check(bag, START - 2 * STEP, START - 1) == 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(-2, 14), st.integers(0, 8),
    st.sampled_from(["mcap", "sqlite3"]),
)  # fmt: skip
def test_disorder_and_equal_receive_times(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], first: int, length: int, kind: str
) -> None:
    messages: list[tuple[str, str, int, Any]] = []
    for number, time in enumerate(times):
        stamp = START + time * STEP
        messages.append((TOPIC, IMAGE, stamp, image(START + number * STEP, make_frame(number, 4, 4))))
    bag = bag_of(tmp_path_factory.mktemp("bags") / "bag", kind, messages)
    check(bag, START + first * STEP, START + (first + length) * STEP)


def test_split_bags(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    halves = robot_messages(20), robot_messages(40)[40:]
    parts = [write_bag(tmp_path / f"part_{index}", half) for index, half in enumerate(halves)]
    bag.mkdir()
    for index, part in enumerate(parts):
        (file,) = part.glob("*.mcap")
        file.rename(bag / f"bag_{index}.mcap")
    problems = Report()
    (episode,) = read_episodes(bag, SPEC, problems)
    assert len(episode) == 40
    assert "metadata.yaml" in problems.lines()[0]
    assert check(bag, START + 15 * STEP, START + 25 * STEP) == 11


def test_messages_that_are_compressed_one_by_one(tmp_path: Path) -> None:
    bag = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3)
    bag.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with bag:
        connections = {}
        for topic, kind, received, message in robot_messages(12):
            if topic not in connections:
                connections[topic] = bag.add_connection(topic, kind, typestore=TYPES)
            bag.write(connections[topic], received, TYPES.serialize_cdr(message, kind))
    (episode,) = read_episodes(tmp_path / "bag", SPEC)
    assert np.array_equal(episode.frames[7], make_frame(7))
    assert check(tmp_path / "bag", START + 3 * STEP, START + 6 * STEP) == 4
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as connection:
        (raw,) = connection.execute("SELECT data FROM messages").fetchone()
    assert raw[:4] == b"\x28\xb5\x2f\xfd"  # it was compressed indeed


def test_a_file_that_the_metadata_lists_and_nobody_has(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(12))
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace("- bag.mcap", "- bag.mcap\n  - bag_1.mcap"))
    problems = Report()
    (episode,) = read_episodes(bag, SPEC, problems)
    assert len(episode) == 12
    assert list(problems) == [f"{bag}: bag_1.mcap missing; the other files are used"]
