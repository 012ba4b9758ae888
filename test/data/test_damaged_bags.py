# SPDX-License-Identifier: Apache-2.0
"""Bags that are cut off or hold what nobody asked for still give what they hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from bag_writer import (
    SPEC,
    START,
    make_frame,
    robot_messages,
    write_bag,
)
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import Writer as McapWriter

from dd_ros.data.bags import read_episodes
from dd_ros.data.images import resize
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import parse_actions


@pytest.mark.parametrize("keep_metadata", [True, False])
def test_a_cut_off_mcap_gives_what_is_readable(tmp_path: Path, keep_metadata: bool) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(60, width=240, height=160))
    (file,) = bag.glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    if not keep_metadata:
        (bag / "metadata.yaml").unlink()
    problems = Report()
    (episode,) = read_episodes(bag, SPEC, problems)
    assert 10 < len(episode) < 40
    assert np.array_equal(episode.frames[5], resize(make_frame(5, 240, 160), 48, 32))
    assert any(str(file) in problem and "readable part is used" in problem for problem in problems)


def test_sqlite_without_metadata(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(), "sqlite3")
    (bag / "metadata.yaml").unlink()
    (episode,) = read_episodes(bag, SPEC)
    assert len(episode) == 30


def test_a_cut_off_sqlite_gives_what_is_readable(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(60), "sqlite3")
    (file,) = bag.glob("*.db3")
    whole = file.read_bytes()
    file.write_bytes(whole[: 3 * len(whole) // 4])
    problems = Report()
    (episode,) = read_episodes(bag, SPEC, problems)
    assert len(episode) > 10
    assert problems


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_of_unknown_types_do_not_matter(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(5), storage)
    assert count_of(bag) == 10
    add_unknown(bag, storage)
    assert len(read_episodes(bag, SPEC)[0]) == 5
    topics = {topic.name: topic for topic in inspect_bag(bag).topics}
    assert topics["/own"].count == 3
    assert topics["/own"].msgtype == "own_msgs/msg/Own"
    with pytest.raises(InputError, match="/own: not a decodable own_msgs/msg/Own"):
        read_episodes(bag, SPEC.model_copy(update={"actions": parse_actions(["/own.x"])}))


@pytest.mark.parametrize("name", [b"width", b"stamp"])
def test_a_damaged_definition_is_named(tmp_path: Path, name: bytes) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(5))
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes().replace(b" " + name, b" " + name[::-1]))
    problems = Report()
    with pytest.raises(InputError, match=str(bag)) as caught:
        read_episodes(bag, SPEC, problems)
    assert "has other fields than those of ROS 2" in " ".join([str(caught.value), *problems])


def count_of(bag: Path) -> int:
    return sum(topic.count for topic in inspect_bag(bag).topics)


def add_unknown(bag: Path, storage: str) -> None:
    """Rewrite ``bag`` without metadata and with three messages of a type nobody knows."""
    (bag / "metadata.yaml").unlink()
    if storage == "sqlite3":
        (file,) = bag.glob("*.db3")
        with sqlite3.connect(file) as connection:
            columns = "id, name, type, serialization_format, offered_qos_profiles, type_description_hash"
            values = (99, "/own", "own_msgs/msg/Own", "cdr", "", "")
            connection.execute(f"INSERT INTO topics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)
            rows = [(1000 + k, 99, START + k, b"\0\1\0\0abcd") for k in range(3)]
            connection.executemany(
                "INSERT INTO messages (id, topic_id, timestamp, data) VALUES (?, ?, ?, ?)", rows
            )
        connection.close()
        return
    (file,) = bag.glob("*.mcap")
    with file.open("rb") as stream:
        read = list(StreamReader(stream).records)
    with file.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="ros2")
        schemas = {
            r.id: writer.register_schema(r.name, r.encoding, r.data) for r in read if isinstance(r, Schema)
        }
        channels = {
            r.id: writer.register_channel(r.topic, "cdr", schemas[r.schema_id])
            for r in read
            if isinstance(r, Channel)
        }
        for r in read:
            if isinstance(r, Message):
                writer.add_message(channels[r.channel_id], r.log_time, r.data, r.log_time)
        own = writer.register_schema("own_msgs/msg/Own", "ros2msg", b"other_msgs/Other other")
        channel = writer.register_channel("/own", "cdr", own)
        for k in range(3):
            writer.add_message(channel, START + k, b"\0\1\0\0abcd", START + k)
        writer.finish()
