# SPDX-License-Identifier: Apache-2.0
"""Folders and files that are not as the recorder left them, and files that are no recordings."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import zstandard
from bag_writer import IMAGE, JOINTS, START, STEP, TYPES, image, joints, make_frame, robot_messages, write_bag
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import ActionSource, StreamSpec, parse_actions
from dd_ros.yaml_files import load_yaml
from dd_ros_training.data.index import index_bags

CAMERA = "/camera/image_raw"
SPEC = StreamSpec(
    image_topic=CAMERA, actions=(ActionSource(topic="/action"),), rate_hz=10.0, width=48, height=32
)


def commands_of(bag: Path, problems: Report | None = None, spec: StreamSpec = SPEC) -> list[float]:
    """First command value of each step, times ten: their numbers, for bags of ``robot_messages``."""
    return [round(10 * float(a[0]), 3) for e in read_episodes(bag, spec, problems) for a in e.actions]


def with_wal(folder: Path, checkpointed: int, count: int = 20) -> Path:
    """A sqlite3 bag whose last messages lie in the -wal file, as a killed recorder leaves it."""
    made = write_bag(folder / "made", robot_messages(count), "sqlite3")
    (plain,) = made.glob("*.db3")
    bag = folder / "bag"
    bag.mkdir()
    shutil.copy(made / "metadata.yaml", bag)
    source, target = sqlite3.connect(plain), sqlite3.connect(folder / "wal.db3")
    target.execute("PRAGMA journal_mode=WAL")
    target.execute("PRAGMA wal_autocheckpoint=0")
    for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"):
        target.execute(sql)
    for table in ("schema", "topics", "message_definitions", "messages"):
        rows = source.execute(f"SELECT * FROM {table}").fetchall()
        for number, row in enumerate(rows):
            target.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
            if table == "messages" and number + 1 == checkpointed:
                target.commit()
                target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    target.commit()
    for ending in ("", "-wal"):
        shutil.copy(f"{folder / 'wal.db3'}{ending}", bag / f"{plain.name}{ending}")
    source.close()
    target.close()
    return bag


@pytest.mark.parametrize("checkpointed", [0, 20])
def test_messages_in_a_wal_file_are_read(tmp_path: Path, checkpointed: int) -> None:
    bag = with_wal(tmp_path, checkpointed)
    before = {file.name: file.read_bytes() for file in bag.iterdir()}
    problems = Report()
    assert commands_of(bag, problems) == list(range(20))
    assert not problems
    (episode,) = index_bags([bag], SPEC, tmp_path / "cache")
    assert (episode.frames(0, 20)[19] == make_frame(19)).all()
    assert {file.name: file.read_bytes() for file in bag.iterdir()} == before, "nothing is written there"


def test_counts_are_compared_with_the_metadata(tmp_path: Path) -> None:
    bag = with_wal(tmp_path, 20)
    next(bag.glob("*-wal")).unlink()
    problems = Report()
    assert commands_of(bag, problems) == list(range(10))
    assert any(
        f"{bag} /action: expected 20 messages as metadata.yaml says, got 10" in line for line in problems
    )


def test_a_renamed_file_is_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(9))
    (bag / "bag.mcap").rename(bag / "pick.mcap")
    problems = Report()
    assert commands_of(bag, problems) == list(range(9))
    assert problems.lines() == [
        f"{bag}: metadata.yaml names bag.mcap, there is pick.mcap; taken for the same"
    ]


@pytest.mark.parametrize("keep_metadata", [True, False])
def test_a_file_decompressed_beside_itself_counts_once(tmp_path: Path, keep_metadata: bool) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(9), "sqlite3", zstd=True)
    (packed,) = bag.glob("*.zstd")
    packed.with_suffix("").write_bytes(
        zstandard.ZstdDecompressor().decompressobj().decompress(packed.read_bytes())
    )
    if not keep_metadata:
        (bag / "metadata.yaml").unlink()
    assert find_bags([bag]) == [bag]
    assert [topic.count for topic in inspect_bag(bag).topics] == [9, 9]
    assert commands_of(bag) == list(range(9))
    packed.unlink()
    assert commands_of(bag) == list(range(9)), "the metadata's name is the packed one's"


def test_files_that_are_not_listed_or_absent_are_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(9))
    other = write_bag(tmp_path / "other", robot_messages(5))
    shutil.copy(other / "other.mcap", bag)
    problems = Report()
    assert commands_of(bag, problems) == list(range(9))
    (line,) = problems
    assert "does not list other.mcap; left out" in line
    (bag / "bag.mcap").unlink()
    (bag / "other.mcap").unlink()
    with pytest.raises(InputError, match=r"holds no rosbag2 bag"):
        find_bags([bag])


@pytest.mark.parametrize("backwards", [False, True])
def test_single_files_in_one_folder_are_a_recording_each(tmp_path: Path, backwards: bool) -> None:
    folder = tmp_path / "shared"
    for number in range(3):
        made = write_bag(tmp_path / f"made{number}", robot_messages(4 + number))
        folder.mkdir(exist_ok=True)
        (made / f"made{number}.mcap").rename(
            folder / f"episode_{2 - number if backwards else number:03d}.mcap"
        )
    bags = find_bags([folder])
    assert [bag.name for bag in bags] == [f"episode_00{number}.mcap" for number in range(3)]
    assert sorted(len(commands_of(bag)) for bag in bags) == [4, 5, 6]


def test_parts_of_one_recording_without_metadata_stay_together(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    bag.mkdir()
    for part in range(2):
        made = write_bag(tmp_path / f"made{part}", robot_messages(20)[20 * part : 20 * part + 20])
        (made / f"made{part}.mcap").rename(bag / f"drive_{part}.mcap")
    assert find_bags([tmp_path / "drive"]) == [bag]
    assert commands_of(bag) == list(range(20))


def test_nested_folders_and_another_tools_meta(tmp_path: Path) -> None:
    (tmp_path / "b" / "monday").mkdir(parents=True)
    first = write_bag(tmp_path / "b" / "monday" / "one", robot_messages(2))
    second = write_bag(tmp_path / "episode_000001", robot_messages(2))
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text('{"tool": "another"}')
    assert find_bags([tmp_path]) == [first, second]
    assert commands_of(second) == [0, 1]
    assert find_bags([tmp_path / "b"]) == [first]


def service_bag(path: Path, custom: bool) -> Path:
    """A healthy bag that also holds a service's events, whose definition is no message."""
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg("float64 x\n", "my_msgs/msg/Drive"))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        event = bag.add_connection("/dock/_service_event", "my_msgs/srv/Dock_Event", msgdef="float64 d\n---\nbool ok\n", rihs01="RIHS01_" + "0" * 64)  # fmt: skip
        kind = "my_msgs/msg/Drive" if custom else JOINTS
        action = bag.add_connection("/action", kind, typestore=types)
        camera = bag.add_connection(CAMERA, IMAGE, typestore=types)
        for number in range(9):
            stamp = START + number * STEP
            message = types.types[kind](x=0.1 * number) if custom else joints(stamp - 1000, (0.1 * number,))
            bag.write(event, stamp, b"\0\1\0\0" + bytes(64))
            bag.write(action, stamp - 1000, types.serialize_cdr(message, kind))
            bag.write(camera, stamp, types.serialize_cdr(image(stamp, make_frame(number)), IMAGE))
    return path


@pytest.mark.parametrize("custom", [False, True])
def test_a_definition_nobody_wants_condemns_no_file(tmp_path: Path, custom: bool) -> None:
    bag, problems = service_bag(tmp_path / "bag", custom), Report()
    spec = SPEC.model_copy(update={"actions": parse_actions(["/action.x" if custom else "/action"])})
    assert commands_of(bag, problems, spec) == list(range(9))
    assert not problems


def test_a_type_that_is_defined_nowhere_is_named_with_the_cure(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg("float64 x\n", "own_msgs/msg/Drive"))
    with Writer(bag, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        action = writer.add_connection("/action", "own_msgs/msg/Drive", typestore=types)
        camera = writer.add_connection(CAMERA, IMAGE, typestore=types)
        writer.write(
            action, START, types.serialize_cdr(types.types["own_msgs/msg/Drive"](x=1.0), "own_msgs/msg/Drive")
        )
        writer.write(camera, START, types.serialize_cdr(image(START, make_frame(0)), IMAGE))
    with sqlite3.connect(bag / "bag.db3") as connection:
        connection.execute("DROP TABLE message_definitions")
        connection.execute("DROP TABLE schema")
    connection.close()
    spec = SPEC.model_copy(update={"actions": parse_actions(["/action.x"])})
    with pytest.raises(
        InputError, match=r"/action: not a decodable own_msgs/msg/Drive \(no definition .*ros2 bag conv"
    ):
        read_episodes(bag, spec)
    assert [topic.count for topic in inspect_bag(bag).topics] == [1, 1]


def mcap_of(
    path: Path, *, encoding: str = "cdr", schema: str = "", old_names: bool = False, profile: str = ""
) -> Path:
    """One mcap file of another writer: JSON, protobuf or ROS 1 messages, no schemas, old names, no chunks."""
    with path.open("wb") as stream:
        writer = McapWriter(stream, use_chunking=False)
        writer.start(profile=profile)
        topics = {}
        for topic, kind in ((CAMERA, IMAGE), ("/action", JOINTS)):
            name = kind.replace("/msg/", "/") if old_names else kind
            topics[topic] = writer.register_channel(
                topic, encoding, writer.register_schema(name, schema, b"")
            )
        for topic, kind, received, message in reversed(robot_messages(9)):  # by no order
            data = json.dumps({"data": base64.b64encode(b"x").decode()}).encode()
            raw = bytes(TYPES.serialize_cdr(message, kind)) if encoding == "cdr" else data
            writer.add_message(topics[topic], received, raw, received)
        writer.finish()
    return path


@pytest.mark.parametrize("profile", ["", "ros2"])
@pytest.mark.parametrize("old_names", [False, True])
def test_a_whole_mcap_of_another_writer_is_read(tmp_path: Path, old_names: bool, profile: str) -> None:
    bag, problems = mcap_of(tmp_path / "bag.mcap", old_names=old_names, profile=profile), Report()
    assert commands_of(bag, problems) == list(range(9))
    assert not problems
    (episode,) = index_bags([bag], SPEC, tmp_path / "cache")
    assert (episode.frames(3, 4)[0] == make_frame(3)).all()


@pytest.mark.parametrize(
    ("encoding", "schema", "words"),
    [
        ("json", "jsonschema", r"got json messages; record them with `ros2 bag record`"),
        ("protobuf", "protobuf", r"got protobuf messages"),
        ("ros1", "ros1msg", r"got ROS 1 messages; convert .*rosbags-convert"),
    ],
)
def test_messages_that_are_not_ros_2s(tmp_path: Path, encoding: str, schema: str, words: str) -> None:
    bag = mcap_of(tmp_path / "bag.mcap", encoding=encoding, schema=schema)
    with pytest.raises(InputError, match=words) as error:
        read_episodes(bag, SPEC)
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize("listed", [[], ["bag.mcap", "bag.mcap"]], ids=["none", "twice"])
def test_metadata_that_lists_a_file_never_or_twice(tmp_path: Path, listed: list[str]) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(9))
    metadata = load_yaml(bag / "metadata.yaml")
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = listed
    (bag / "metadata.yaml").write_text(json.dumps(metadata))
    problems = Report()
    assert commands_of(bag, problems) == list(range(9))
    assert list(problems) == ([] if listed else [f"{bag}: metadata.yaml lists no files; all files are read"])
