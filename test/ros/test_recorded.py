# SPDX-License-Identifier: Apache-2.0
"""What the player publishes of a LeRobot data set, or of a bag with a video, is what it means to a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra lerobot")
pytest.importorskip("pyarrow", reason="needs the extra lerobot")
from bag_writer import COMPRESSED, IMAGE, SPEC, START, STEP, write_bag
from lerobot_writer import CAMERA, Writer, number_in
from tiny import tiny_config
from video_packets import FFMPEG, encoded, video_messages
from video_packets import number_in as video_number

from dd_ros.data.actions import action_values, stamp_ns
from dd_ros.data.bags import read_episodes
from dd_ros.data.commands import ActionBuffer
from dd_ros.data.images import decode_rgb
from dd_ros.data.steps import StepClock
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.ros.demo.launcher import recorded
from dd_ros.ros.demo.recorded import messages
from dd_ros.ros.topics import ros_name

ACTION = "action[1:3]"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Writer(tmp_path_factory.mktemp("data") / "set").write()


def test_a_set_played_is_the_set_read(data: Path) -> None:
    spec = tiny_config().streams.with_topics(CAMERA, [ACTION])
    (episode,) = read_episodes(data / "episode_000001", spec)
    clock, commands = StepClock(spec.rate_hz), ActionBuffer(2, mode="hold", capacity=100, name="action")
    seen, before = [], 0
    for item in messages(data / "episode_000001", spec, Report()):
        assert item.received_ns >= before
        before = item.received_ns
        stamp = stamp_ns(item.message)
        assert stamp == item.received_ns
        if item.topic == "/observation/images/top":
            command = commands.at(stamp)
            if clock.step_of(stamp) is not None and command is not None:
                seen.append((number_in(decode_rgb(item.message, 48, 32)), command.tolist()))
        else:
            assert (item.topic, item.message.name) == ("/action_1_3", ["turn", "grip"])
            commands.push(stamp, action_values(item.message, item.type))
    assert [number for number, _ in seen] == [number_in(frame) for frame in episode.frames]
    np.testing.assert_array_equal([command for _, command in seen], episode.actions)


def test_the_demo_plays_a_set_for_a_checkpoint_of_bags(data: Path, tiny_checkpoint: Path) -> None:
    scene = recorded(data, str(tiny_checkpoint), CAMERA, action_topics=[ACTION])
    assert scene.image_topic == "/observation/images/top"
    assert scene.action_topics == ("/action_1_3.position",)
    assert f"action_topic:={ACTION}" in scene.command
    with pytest.raises(InputError, match=r"set: action: expected 2 action values .* got 3; .*--action-topic"):
        recorded(data, str(tiny_checkpoint), CAMERA, action_topics=["action"])
    with pytest.raises(InputError, match=r"no images /camera/image_raw; it holds .*--image-topic"):
        recorded(data, str(tiny_checkpoint))


@pytest.mark.parametrize("kind", [COMPRESSED, FFMPEG])
def test_a_video_is_played_as_images(tmp_path: Path, tiny_checkpoint: Path, kind: str) -> None:
    bag, problems = write_bag(tmp_path / "bag", video_messages(encoded(20)[4:], kind)), Report()
    played = [item for item in messages(bag, SPEC, problems) if item.topic == SPEC.image_topic]
    assert {item.type for item in played} == {IMAGE}
    assert [video_number(decode_rgb(item.message, 48, 32)) for item in played] == list(range(10, 20))
    assert [stamp_ns(item.message) for item in played] == [START + number * STEP for number in range(10, 20)]
    assert "expected a key frame" in "".join(problems)
    assert recorded(bag, str(tiny_checkpoint)).image_transport == "raw"


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("/camera/image_raw", "/camera/image_raw"),
        ("~/image", "~/image"),
        ("observation.images.top", "/observation/images/top"),
        ("observation.images.cam-high", "/observation/images/cam_high"),
        ("observation.images.0", "/observation/images/_0"),
        ("action[0:7]", "/action_0_7"),
        ("action", "action"),
    ],
)
def test_a_feature_as_a_topic(name: str, topic: str) -> None:
    assert ros_name(name) == topic
