# SPDX-License-Identifier: Apache-2.0
"""Real bags of every kind, whole and damaged, written here and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import (
    COMPRESSED,
    IMAGE,
    JOINTS,
    SPEC,
    START,
    STEP,
    compressed,
    header,
    image,
    joints,
    make,
    make_frame,
    robot_messages,
    write_bag,
)

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import StreamSpec, parse_actions


def acting(*texts: str, kind: str | None = None) -> StreamSpec:
    """The streams with these action sources, their fields of type ``kind``."""
    sources = [source.model_copy(update={"type": kind}) for source in parse_actions(texts)]
    return SPEC.model_copy(update={"actions": tuple(sources)})


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("zstd", [False, True])
def test_frames_and_actions_come_back(tmp_path: Path, storage: str, zstd: bool) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(), storage, zstd)
    problems = Report()
    (episode,) = read_episodes(bag, SPEC, problems)
    assert not problems
    assert len(episode) == 30
    assert all(np.array_equal(frame, make_frame(number)) for number, frame in enumerate(episode.frames))
    assert np.allclose(episode.actions[:, 0], 0.1 * np.arange(30), atol=1e-6)
    assert episode.stamps.tolist() == [START + number * STEP for number in range(30)]


@pytest.mark.parametrize("encoding", ["bgr8", "mono8"])
def test_raw_encodings(tmp_path: Path, encoding: str) -> None:
    messages = [
        (t, k, r, image(r, make_frame(7), encoding) if k == IMAGE else m) for t, k, r, m in robot_messages(3)
    ]
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), SPEC)
    expected = make_frame(7) if encoding == "bgr8" else episode.frames[0][..., :1].repeat(3, axis=-1)
    assert np.array_equal(episode.frames[0], expected)
    assert episode.frames[0].std() > 10


@pytest.mark.parametrize(("kind", "tolerance"), [("png", 0), ("jpeg", 12)])
def test_compressed_images(tmp_path: Path, kind: str, tolerance: int) -> None:
    smooth = np.repeat(np.linspace(0, 255, 48).astype(np.uint8)[None, :, None], 32, 0).repeat(3, -1)
    messages = [
        (t, COMPRESSED, r, compressed(r, smooth, kind)) if k == IMAGE else (t, k, r, m)
        for t, k, r, m in robot_messages(3)
    ]
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), SPEC)
    assert np.abs(episode.frames[0].astype(int) - smooth).max() <= tolerance


def vector(x: float, y: float, z: float) -> Any:
    return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


TWIST = make("geometry_msgs/msg/Twist", linear=vector(1, 2, 3), angular=vector(4, 5, 6))
NOTHING = np.zeros(0)
POINT = make(
    "trajectory_msgs/msg/JointTrajectoryPoint", positions=np.array([7.0, 8.0]), velocities=NOTHING,
    accelerations=NOTHING, effort=NOTHING, time_from_start=make("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
)  # fmt: skip
LAYOUT = make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
ACTIONS = {
    "geometry_msgs/msg/Twist": ({}, TWIST, [1, 2, 3, 4, 5, 6]),
    "geometry_msgs/msg/TwistStamped": ({}, make("geometry_msgs/msg/TwistStamped", header=header(START), twist=TWIST), [1, 2, 3, 4, 5, 6]),
    "sensor_msgs/msg/JointState": ({}, joints(START, (9.0, 10.0)), [9, 10]),
    "trajectory_msgs/msg/JointTrajectory": (
        {}, make("trajectory_msgs/msg/JointTrajectory", header=header(START), joint_names=["a", "b"], points=[POINT]), [7, 8],
    ),
    "std_msgs/msg/Float32MultiArray": ({}, make("std_msgs/msg/Float32MultiArray", layout=LAYOUT, data=np.array([1, 2], np.float32)), [1, 2]),
    "std_msgs/msg/Float64MultiArray": ({}, make("std_msgs/msg/Float64MultiArray", layout=LAYOUT, data=np.array([3.0, 4.0])), [3, 4]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_action_type(tmp_path: Path, kind: str) -> None:
    _, message, expected = ACTIONS[kind]
    messages = [m for m in robot_messages(3) if m[0] != "/action"]
    bag = write_bag(tmp_path / "bag", [("/action", kind, START - 1, message), *messages])
    (episode,) = read_episodes(bag, SPEC)
    assert episode.actions[0].tolist() == expected


def test_chosen_fields(tmp_path: Path) -> None:
    messages = [m for m in robot_messages(3) if m[0] != "/action"]
    bag = write_bag(tmp_path / "bag", [("/action", "geometry_msgs/msg/Twist", START - 1, TWIST), *messages])
    chosen = acting("/action.angular.z,linear.x")
    assert read_episodes(bag, chosen)[0].actions[0].tolist() == [6, 1]
    wrong = acting("/action.position")
    with pytest.raises(InputError, match="no field 'position'"):
        read_episodes(bag, wrong)


def test_a_gap_makes_two_episodes(tmp_path: Path) -> None:
    messages = [m for m in robot_messages(40) if not START + 10 * STEP <= m[2] < START + 20 * STEP]
    episodes = read_episodes(write_bag(tmp_path / "bag", messages), SPEC)
    assert [len(episode) for episode in episodes] == [10, 20]


def test_receive_times_where_headers_are_empty(tmp_path: Path) -> None:
    messages = [
        (t, k, r, image(0, make_frame(i)) if k == IMAGE else joints(0, (1.0, 2.0)))
        for i, (t, k, r, _) in enumerate(robot_messages(5))
    ]
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), SPEC)
    assert episode.stamps.tolist() == [START + number * STEP for number in range(5)]


def test_a_missing_topic_lists_those_there_are(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(3))
    wrong = SPEC.model_copy(update={"image_topic": "/nope"})
    with pytest.raises(
        InputError, match=r"bag: no messages of topic /nope; it holds /action, /camera/image_raw"
    ):
        read_episodes(bag, wrong)
    wrong = acting("/camera/image_raw").model_copy(update={"image_topic": "/action"})
    with pytest.raises(InputError):
        read_episodes(bag, wrong)


def test_images_that_do_not_decode_and_odd_actions_are_left_out_and_named(tmp_path: Path) -> None:
    messages = robot_messages(10)
    messages[5] = ("/camera/image_raw", IMAGE, messages[5][2], make(
        IMAGE, header=header(messages[5][2]), height=32, width=48, encoding="rgb8", is_bigendian=0, step=144,
        data=np.zeros(10, np.uint8)))  # fmt: skip
    messages[8] = ("/action", JOINTS, messages[8][2], joints(messages[8][2], (1.0, 2.0, 3.0)))
    problems = Report()
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), SPEC, problems)
    assert len(episode) == 10
    assert np.array_equal(episode.frames[2], make_frame(1))  # one missed step repeats the frame before
    assert any("/camera/image_raw: " in problem for problem in problems)
    assert any("expected 2 action values, got 3" in problem for problem in problems)


def test_each_side_of_a_reset_has_its_own_commands(tmp_path: Path) -> None:
    messages = []
    for take in range(2):
        for number in range(20):
            stamp, received = 5 * 10**9 + number * STEP, START + (20 * take + number) * STEP
            messages.append(("/action", JOINTS, received - 1000, joints(stamp - 1000, (take, number))))
            messages.append(("/camera/image_raw", IMAGE, received, image(stamp, make_frame(number))))
    first, second = read_episodes(write_bag(tmp_path / "bag", messages), SPEC)
    assert (first.name, second.name) == ("bag", "bag#1")
    assert first.actions.tolist() == [[0, number] for number in range(20)]
    assert second.actions.tolist() == [[1, number] for number in range(20)]


def test_commands_without_header_meet_the_images_they_came_with(tmp_path: Path) -> None:
    messages = []
    for number in range(10):
        stamp = START + number * STEP
        data = np.array([float(number)])
        message = make("std_msgs/msg/Float64MultiArray", layout=LAYOUT, data=data)
        messages.append(("/action", "std_msgs/msg/Float64MultiArray", stamp - 1000, message))
        # 0.25 s from the camera to the recorder, as slow links have it
        messages.append(("/camera/image_raw", IMAGE, stamp + 250_000_000, image(stamp, make_frame(number))))
    (episode,) = read_episodes(write_bag(tmp_path / "bag", sorted(messages, key=lambda m: m[2])), SPEC)
    assert episode.actions[:, 0].tolist() == list(range(10))
    assert episode.stamps[0] == START


def test_one_command_that_is_too_short_is_left_out(tmp_path: Path) -> None:
    messages = robot_messages(6)
    messages[4] = ("/action", JOINTS, messages[4][2], joints(messages[4][2], ()))
    chosen = acting("/action.position[0:2]")
    problems = Report()
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), chosen, problems)
    assert episode.actions[:, 0] == pytest.approx([0.0, 0.1, 0.1, 0.3, 0.4, 0.5])
    assert any("has only 0 values" in problem for problem in problems)


def test_fields_chosen_for_one_type_mean_nothing_on_another(tmp_path: Path) -> None:
    messages = [m for m in robot_messages(3) if m[0] != "/action"]
    bag = write_bag(tmp_path / "bag", [("/action", "geometry_msgs/msg/Twist", START - 1, TWIST), *messages])
    chosen = acting("/action.position[0:2]", kind=JOINTS)
    assert read_episodes(bag, chosen)[0].actions[0].tolist() == [1, 2, 3, 4, 5, 6]


def test_only_images_that_are_due_are_decoded(tmp_path: Path) -> None:
    """At 30 Hz two of three damaged images harm nobody, the third is a missed step."""
    messages = []
    for number in range(30):
        stamp = START + number * STEP // 3
        message = image(stamp, make_frame(number))
        if 12 <= number < 15:
            message.data = message.data[:5]
        messages.append(("/action", JOINTS, stamp - 1000, joints(stamp - 1000, (number, 0))))
        messages.append(("/camera/image_raw", IMAGE, stamp, message))
    problems = Report()
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), SPEC, problems)
    assert len(problems) == 1
    assert len(episode) == 10
    assert np.array_equal(episode.frames[4], make_frame(9))


def test_topics_that_are_both_missing(tmp_path: Path) -> None:
    wrong = acting("/neither").model_copy(update={"image_topic": "/nope"})
    with pytest.raises(InputError, match=r"no messages of topic /nope; it holds /action, /camera/image_raw"):
        read_episodes(write_bag(tmp_path / "bag", robot_messages(3)), wrong)


def test_the_nearest_topic_is_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(3))
    wrong = acting("/action").model_copy(update={"image_topic": "/camera/image"})
    with pytest.raises(
        InputError, match=r"it holds /action, /camera/image_raw; did you mean /camera/image_raw\?$"
    ):
        read_episodes(bag, wrong)
    with pytest.raises(InputError, match=r"did you mean /camera/image_raw\?$"):
        inspect_bag(bag).topic("image_raw")


def test_find_bags(tmp_path: Path) -> None:
    for number in (1, 4, 9, 10):
        write_bag(tmp_path / f"episode_{number:06d}", robot_messages(2))
    bags = find_bags([tmp_path])
    assert [bag.name[-2:] for bag in bags] == ["01", "04", "09", "10"]
    assert find_bags([bags[0], tmp_path]) == bags
    for path, message in ((tmp_path / "nope", "no such file"), (tmp_path / "empty", "holds no rosbag2 bag")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=message):
            find_bags([path])


def arm_and_gripper(count: int = 10) -> list[tuple[str, str, int, Any]]:
    """Arm commands and images at 10 Hz; from the third image on a gripper without header, every 0.3 s."""
    kind, found = "std_msgs/msg/Float64MultiArray", []
    for topic, type_, received, message in robot_messages(count):
        number = round((received - START) / STEP)
        found.append((topic, type_, received, message))
        if topic == "/action" and number >= 2 and (number - 2) % 3 == 0:
            found.append(
                ("/gripper", kind, received, make(kind, layout=LAYOUT, data=np.array([float(number)])))
            )
    return found


def test_several_topics_make_one_action_vector(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", arm_and_gripper())
    (episode,) = read_episodes(bag, acting("/gripper", "/action.position[y,x]"))
    assert episode.stamps[0] == START + 2 * STEP, "before all topics have spoken there is no action"
    assert episode.actions[:, 0].tolist() == [2, 2, 2, 5, 5, 5, 8, 8]
    assert np.allclose(episode.actions[:, 1:], [(-0.1 * k, 0.1 * k) for k in range(2, 10)], atol=1e-6)


def test_one_of_several_topics_that_is_missing_or_unusable(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", arm_and_gripper())
    with pytest.raises(InputError, match=r"bag: no messages of topic /hand; it holds /action, /camera"):
        read_episodes(bag, acting("/action", "/hand"))
    with pytest.raises(
        InputError, match=r"/gripper: action field 'data\[4\]': the message has only 1 values there"
    ):
        read_episodes(bag, acting("/action", "/gripper.data[4]"))
    with pytest.raises(
        InputError, match=r"/action: .* expected joint 'z' with a value, the message has x, y"
    ):
        read_episodes(bag, acting("/action.position[z]", "/gripper"))


def test_commands_unlike_most_are_left_out_even_the_first(tmp_path: Path) -> None:
    messages = robot_messages(6)
    messages[0] = ("/action", JOINTS, messages[0][2], joints(messages[0][2], (7.0,)))
    problems = Report()
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), SPEC, problems)
    assert len(episode) == 5
    assert [problem.partition(": ")[2] for problem in problems] == ["expected 2 action values, got 1"]


def test_images_of_several_sizes_are_stretched_and_named(tmp_path: Path) -> None:
    large = {m[2]: m for m in robot_messages(12, width=96, height=64)}
    messages = [large[m[2]] if m[1] == IMAGE and m[2] >= START + 8 * STEP else m for m in robot_messages(12)]
    problems = Report()
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), SPEC, problems)
    assert episode.frames.shape == (12, 32, 48, 3)
    (problem,) = problems
    assert "/camera/image_raw: expected images of 48x32 pixels as before, got 96x64" in problem


@pytest.mark.parametrize("lag", [-2, 0, 3])
def test_a_lag_puts_commands_beside_other_images(tmp_path: Path, lag: int) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(10))
    (episode,) = read_episodes(bag, SPEC.model_copy(update={"action_lag_s": 0.1 * lag}))
    seen = np.arange(max(0, lag), 10)
    assert episode.stamps.tolist() == [START + number * STEP for number in seen]
    assert np.allclose(episode.actions[:, 0], 0.1 * np.minimum(seen - lag, 9), atol=1e-6)
