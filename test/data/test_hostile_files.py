# SPDX-License-Identifier: Apache-2.0
"""Files that are not what their names say, or ask for more than they are."""

from __future__ import annotations

import gzip
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard
from bag_writer import SPEC, START, robot_messages, write_bag
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_typestore

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.rosbag import inflated
from dd_ros.errors import InputError
from dd_ros.report import Report


def commands_of(bag: Path, problems: Report | None = None) -> list[float]:
    """First command value of each step, times ten: their numbers, for bags of ``robot_messages``."""
    return [round(10 * float(a[0]), 3) for e in read_episodes(bag, SPEC, problems) for a in e.actions]


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
def test_files_that_are_not_what_their_names_say(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"bag.{suffix}"
    for text, words in (
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer, not the file itself; .*git lfs pull"),
        ("", "is empty; copy it again"),
        ("#ROSBAG V2.0\n", "is a ROS 1 bag; convert it with `rosbags-convert"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_episodes(file, SPEC)
    for content, words in (
        (gzip.compress(b"x"), "is packed with gzip; unpack it with `gunzip FILE`"),
        (
            b"\x89MCAP0\r\n" if suffix == "db3" else b"SQLite format 3\0",
            "file by its content; rename it to end in",
        ),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_episodes(file, SPEC)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(InputError, match="is no file but a folder, pipe or device"):
        read_episodes(tmp_path, SPEC)
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    bag = write_bag(tmp_path / "whole", robot_messages(3))
    file.rename(bag / file.name)
    assert commands_of(bag) == [0, 1, 2]
    (bag / "whole.mcap").unlink()
    with pytest.raises(InputError, match="is a link to a file that is not here; fetch it"):
        read_episodes(bag, SPEC)


def test_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "drive.tar.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InputError, match=r"holds no rosbag2 bag .*; unpack .*drive\.tar\.gz first"):
        find_bags([tmp_path])


def test_a_ros_1_bag_is_named_with_the_cure(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS1_NOETIC)
    with Ros1Writer(tmp_path / "drive.bag") as writer:
        connection = writer.add_connection("/b", "std_msgs/msg/Bool", typestore=types)
        message: Any = types.types["std_msgs/msg/Bool"](data=True)
        writer.write(connection, START, types.serialize_ros1(message, "std_msgs/msg/Bool"))
    for path in (tmp_path, tmp_path / "drive.bag"):
        with pytest.raises(
            InputError, match=r"drive\.bag: is a ROS 1 bag.* `rosbags-convert --src .*drive\.bag --dst"
        ):
            find_bags([path])


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("[" * 100_000, "at most 32 levels"),
        ("# " + "x" * (5 << 20), "at most 4 MiB"),
        ("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefgh")
        ), "at most 200000 values"),
        ("rosbag2_bagfile_information: [1, 2]", "TypeError"),
        ("a: b: c", "is not YAML"),
    ],
)  # fmt: skip
def test_metadata_beyond_the_limits_is_one_line(tmp_path: Path, metadata: str, reason: str) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(20))
    (bag / "metadata.yaml").write_text(metadata)
    problems = Report()
    assert commands_of(bag, problems) == list(range(20))
    (line,) = problems
    assert line.startswith(f"{bag}: ")
    assert reason in line
    assert "\n" not in line


def test_a_small_file_fills_neither_disk_nor_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(9), "sqlite3", zstd=True)
    assert commands_of(bag) == list(range(9))
    monkeypatch.setattr("dd_ros.data.storage.KEPT_FREE", 2**62)
    with pytest.raises(
        InputError, match=r"bag\.db3\.zstd: cannot be unpacked to its end \(expected room for it in"
    ):
        read_episodes(bag, SPEC)
    bomb = zstandard.compress(bytes(2**20))
    monkeypatch.setattr("dd_ros.data.rosbag.MOST_BYTES", 2**20)
    assert len(inflated(bomb)) == 2**20
    monkeypatch.setattr("dd_ros.data.rosbag.MOST_BYTES", 2**20 - 1)
    with pytest.raises(ValueError, match="a message of more than 0 MiB once unpacked"):
        inflated(bomb)
