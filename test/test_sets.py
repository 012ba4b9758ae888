# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets wherever bags are, with checkpoints trained on either."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the extra lerobot")
pytest.importorskip("pyarrow", reason="needs the extra lerobot")
from bag_writer import robot_messages, write_bag
from lerobot_writer import CAMERA, Writer
from test_cli import dd_ros, refused
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint
from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.resources import read_config
from dd_ros.streams import ActionSource

FEATURES = ("--image-topic", CAMERA, "--action-topic", "action[0:2]")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Writer(tmp_path_factory.mktemp("data") / "set", (40, 45, 50)).write()


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as ``finetune`` makes it of a data set whose actions are of the feature observation.state."""
    source = ActionSource(topic="observation", type="lerobot", fields=("state",), dim=2)
    streams = tiny_config().streams.model_copy(update={"image_topic": CAMERA, "actions": (source,)})
    folder = tmp_path_factory.mktemp("checkpoints") / "nested"
    config = tiny_config(name="nested", streams=streams)
    save_checkpoint(folder, config, random_model(config), card="# nested\n")
    return folder


def test_a_checkpoint_of_bags_judges_a_data_set(data: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    arguments = (
        "evaluate",
        "--checkpoint",
        tiny_checkpoint,
        "--bags",
        data,
        "--json",
        out,
        "--max-windows",
        3,
    )
    assert dd_ros(*arguments, *FEATURES).returncode == 0
    names = [episode["name"] for episode in json.loads(out.read_text())["per_episode"]]
    assert names == ["set/episode_000000", "set/episode_000001", "set/episode_000002"]
    refused(dd_ros(*arguments), f"no images /camera/image_raw; it holds {CAMERA}", "--image-topic")
    refused(
        dd_ros(*arguments, "--image-topic", CAMERA), "no numbers /action; it holds action,", "--action-topic"
    )
    refused(
        dd_ros(*arguments, *FEATURES[:3], "action"), "expected 2 action values as in checkpoint tiny, got 3"
    )


def test_a_checkpoint_of_a_data_set_judges_it_and_bags(data: Path, nested: Path, tmp_path: Path) -> None:
    out = ("--json", tmp_path / "e.json", "--max-windows", 3)
    assert dd_ros("evaluate", "--checkpoint", nested, "--bags", data, *out).returncode == 0
    bag = write_bag(tmp_path / "bag", robot_messages(24))
    topics = ("--image-topic", "/camera/image_raw", "--action-topic", "/action")
    assert dd_ros("evaluate", "--checkpoint", nested, "--bags", bag, *out, *topics).returncode == 0


def test_an_episode_is_named_alone(data: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "video.mp4"
    arguments = ("predict", "--checkpoint", tiny_checkpoint, "--out", out, *FEATURES)
    assert dd_ros(*arguments, "--bag", data / "episode_000002").returncode == 0
    assert out.stat().st_size > 1000
    gone = data / "episode_000007"
    refused(dd_ros(*arguments, "--bag", gone), f"{gone}: no such episode; {data} has episodes 0 to 2")
    assert "1 episodes, 45 frames" in dd_ros("inspect", data / "episode_000001").stdout


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_partly_downloaded_set_is_what_is_here(tmp_path: Path, version: str) -> None:
    path = Writer(tmp_path / "set", (40, 45, 50), version).write()
    *_, last = sorted(path.rglob("*.mp4"))  # of episode 2 alone, in both versions
    last.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    assert [bag.name for bag in find_bags([path])] == ["episode_000000", "episode_000001"]
    shown = " ".join(dd_ros("inspect", path).stdout.split())
    assert "2 episodes, 85 frames, 30 a second, 2.8 s" in shown
    assert "1 of 3 episodes are not here" in shown
    assert "a pointer of Git LFS; run 'git lfs pull'" in shown
    problems, spec = Report(), tiny_config().streams.with_topics(CAMERA, ["action"])
    (episode,) = read_episodes(path / "episode_000001", spec, problems)
    assert episode.name == "set/episode_000001"
    assert "1 of 3 episodes are not here" in problems.lines()[0]
    shutil.rmtree(path / "data")
    with pytest.raises(
        InputError, match=r"3 of 3 episodes are not here \(such as .*parquet\); left out; download them"
    ):
        find_bags([path])


def test_fields_of_messages_mean_nothing_in_a_set(data: Path, nested: Path) -> None:
    spec = tiny_config().streams.with_topics(CAMERA, ["observation.state"])
    assert read_episodes(data / "episode_000000", spec)[0].actions[3].tolist() == pytest.approx([5.5, 7.0])
    for config in (tiny_config(), read_config(nested)):
        spec = config.streams.with_topics(CAMERA, ["action"])
        assert read_episodes(data / "episode_000001", spec)[0].actions.shape[1] == 3


def test_a_part_of_a_set_and_a_folder_of_sets_lead_to_its_name(data: Path) -> None:
    for part in (data / "meta", data / "meta/info.json", next(data.rglob("*.parquet"))):
        with pytest.raises(InputError, match=rf"it is a part of one, which is named by its folder: {data}$"):
            find_bags([part])
    with pytest.raises(InputError, match=rf"name the data set in it: {data.parent}/\w+$"):
        find_bags([data.parent])
