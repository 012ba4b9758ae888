# SPDX-License-Identifier: Apache-2.0
"""What a data set says of itself, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from bag_writer import robot_messages, write_bag
from lerobot_writer import CAMERA, Writer
from pyarrow import parquet

from dd_ros.data.lerobot import LeRobotSet, is_lerobot
from dd_ros.data.lerobot.meta import Feature
from dd_ros.errors import InputError


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_what_it_holds(tmp_path: Path, version: str) -> None:
    path = Writer(tmp_path / "set", (5, 6, 7), version).write()
    assert is_lerobot(path)
    data = LeRobotSet(path)
    assert not data.problems
    assert data.image_keys == (CAMERA,)
    assert data.vector_keys[:2] == ("action", "observation.state")
    assert data.info.features[CAMERA].size == (96, 64)
    assert [place.length for place in data.episodes.values()] == [5, 6, 7]
    there = [file for file in path.rglob("*") if file.is_file() and "meta" not in file.parts]
    assert sorted(data.files) == sorted(there)


def test_bags_are_none(tmp_path: Path) -> None:
    assert not is_lerobot(tmp_path)
    assert not is_lerobot(tmp_path / "none")
    assert not is_lerobot(write_bag(tmp_path / "bag", robot_messages(2)))


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["x", "y"], ("x", "y")),
        ({"motors": ["x", "y"]}, ("x", "y")),
        ({"left": ["x"], "right": ["y"]}, ("x", "y")),
        ({"x": 0, "y": 1}, ("x", "y")),
        (["action"], ()),
        (None, ()),
    ],
)
def test_names_of_values_in_all_their_forms(names: Any, labels: tuple[str, ...]) -> None:
    assert Feature(dtype="float32", shape=(2,), names=names).labels == labels


def test_images_are_cameras_whatever_the_order_of_their_sides() -> None:
    assert Feature(dtype="video", shape=(480, 640, 3)).size == (640, 480)
    assert Feature(dtype="image", shape=(3, 480, 640)).size == (640, 480)
    assert not Feature(dtype="video", shape=(480, 640, 1), info={"video.is_depth_map": True}).is_image
    assert not Feature(dtype="float32", shape=(480, 640, 3)).is_image


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"codebase_version": "v1.6"}, "codebase_version: .*LeRobot's own scripts convert.* got 'v1.6'"),
        ({"fps": 0}, "fps: .* greater than 0, got '0'"),
        ({"fps": "fast"}, "fps: .* got 'fast'"),
        ({"features": None}, "features: .* got 'None'"),
        ({"video_path": None}, r"expected data_path and video_path of v2.1, .* None \(.*top is a video"),
        ({"data_path": "data/{episode_index:0999999999d}.parquet"}, "data_path: String should match"),
        ({"video_path": "{video_key.__class__}.mp4"}, "video_path: String should match"),
        ({"data_path": "data/{nothing}.parquet"}, "expected data_path and video_path of v2.1"),
        ({"data_path": "data/{episode_index:s}.parquet"}, "expected data_path and video_path of v2.1"),
    ],
)
def test_a_wrong_info_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = Writer(tmp_path / "set", (5,)).write()
    info = path / "meta/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | change))
    with pytest.raises(InputError, match=f"info.json: {problem}"):
        LeRobotSet(path)
    info.write_text(json.dumps({key: value for key, value in Writer(path).info().items() if key != "fps"}))
    with pytest.raises(InputError, match=r"info.json: fps: Field required$"):
        LeRobotSet(path)
    info.write_text("{")
    with pytest.raises(InputError, match=r"info.json: file: Invalid JSON"):
        LeRobotSet(path)


def test_damaged_lines_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    path = Writer(tmp_path / "set", (5, 6, 7)).write()
    file = path / "meta/episodes.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:20], "[" * 10_000, lines[2]]))
    data = LeRobotSet(path)
    assert list(data.episodes) == [0, 2]
    assert len(data.problems) == 2
    assert all(p.startswith(f"{file}: expected the description of an episode") for p in data.problems)
    file.write_text("")
    with pytest.raises(InputError, match=r"set: describes no episode$"):
        LeRobotSet(path)
    file.unlink()
    with pytest.raises(InputError, match=r"episodes.jsonl: cannot be read"):
        LeRobotSet(path)


def test_damaged_tables_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    path = Writer(tmp_path / "set", (5, 6, 7), "v3.0").write()
    file = path / "meta/episodes/chunk-000/file-000.parquet"
    rows = parquet.read_table(file).to_pylist()
    parquet.write_table(pyarrow.Table.from_pylist(rows[2:]), file.with_name("file-001.parquet"))
    rows[1][f"videos/{CAMERA}/from_timestamp"] = None
    parquet.write_table(pyarrow.Table.from_pylist(rows[:2]), file)
    data = LeRobotSet(path)
    assert list(data.episodes) == [0, 2]
    assert list(data.problems) == [f"{file}: episode 1: expected the place of all its files"]
    file.write_bytes(file.read_bytes()[:-50])
    data = LeRobotSet(path)
    assert list(data.episodes) == [2]
    assert len(data.problems) == 1
    assert data.problems.lines()[0].startswith(f"{file}: cannot be read as parquet")
    parquet.write_table(pyarrow.table({"episode_index": [0], "length": [5]}), file)
    assert list(LeRobotSet(path).problems) == [f"{file}: no column data/chunk_index"]
