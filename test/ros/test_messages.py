# SPDX-License-Identifier: Apache-2.0
"""Predictions as messages and plans as arrays."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from dd_ros_msgs.msg import ActionSequence, PredictedVideo
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dd_ros.data.plans import (
    MOST_ACTIONS,
    sequence_actions,
    sequence_stamps,
    to_ns,
    trajectory_actions,
    trajectory_stamps,
)
from dd_ros.errors import InputError
from dd_ros.predictions import Chunk
from dd_ros.ros.messages import predicted_video, rescaled, video_frames

STEP = 100_000_000
NOW = 1_700_000_000_900_000_000


def video(now: int, error: np.ndarray | None = None) -> tuple[PredictedVideo, Chunk, np.ndarray]:
    rng = np.random.default_rng(0)
    frames, uncertainty = rng.integers(0, 256, (2, 8, 6, 3), np.uint8), np.array([0.25, 0.5], np.float32)
    chunk = Chunk(1, 4, 3, frames, uncertainty, error=error)
    actions = rng.normal(size=(2, 5)).astype(np.float32)
    msg = predicted_video(
        chunk, actions, stamp_ns=NOW, step_ns=STEP, now_ns=now, frame_id="camera", checkpoint="tiny"
    )
    return deserialize_message(serialize_message(msg), PredictedVideo), chunk, actions


def test_predicted_video_round_trip() -> None:
    msg, chunk, actions = video(now=NOW)
    assert np.array_equal(video_frames(msg), chunk.frames)
    assert np.array_equal(np.array(msg.actions).reshape(2, msg.action_dim), actions)
    assert list(msg.uncertainty) == [0.25, 0.5]
    assert list(msg.error_intervals) == []  # not calibrated
    assert (to_ns(msg.header.stamp), msg.header.frame_id, msg.checkpoint) == (NOW, "camera", "tiny")
    assert (msg.chunk, msg.chunks, msg.first_step, msg.count) == (1, 4, 3, 2)


def test_error_intervals_go_along_frame_by_frame() -> None:
    error = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 9.5]], np.float32)
    assert list(video(NOW, error)[0].error_intervals) == [1.0, 2.0, 4.0, 3.0, 5.0, 9.5]


def test_target_stamps_follow_the_observed_image_a_step_apart() -> None:
    msg, *_ = video(now=NOW)
    assert [to_ns(stamp) for stamp in msg.target_stamps] == [NOW + 3 * STEP, NOW + 4 * STEP]


@pytest.mark.parametrize(
    ("now", "late"),
    [(NOW + 3 * STEP - 1, [False, False]), (NOW + 3 * STEP, [True, False]), (NOW + 9 * STEP, [True, True])],
)
def test_frames_whose_time_has_passed_are_marked(now: int, late: list[bool]) -> None:
    assert list(video(now)[0].late) == late


def test_frames_of_a_damaged_message_are_refused() -> None:
    msg, *_ = video(now=NOW)
    msg.count = 3
    with pytest.raises(InputError, match="expected rgb8 and 432 bytes"):
        video_frames(msg)


def sequence(**changes: Any) -> ActionSequence:
    fields = {"count": 3, "dim": 2, "data": array("f", range(6)), "step": 0.0} | changes
    return ActionSequence(**fields)


def test_action_sequence() -> None:
    assert sequence_actions(sequence(), 2, "plan").tolist() == [[0, 1], [2, 3], [4, 5]]
    assert sequence_stamps(sequence(), NOW, STEP, name="plan").tolist() == [NOW, NOW + STEP, NOW + 2 * STEP]
    msg = sequence(step=0.25, header=Header(stamp=Time(sec=7)))
    found = sequence_stamps(msg, NOW, STEP, name="plan")
    assert found.tolist() == [7_000_000_000, 7_250_000_000, 7_500_000_000]


@pytest.mark.parametrize("step", [float("inf"), float("nan"), -0.1, -0.0 - 1e-12, 1e-12, 3601.0, 1e300])
def test_steps_that_no_sequence_can_have(step: float) -> None:
    with pytest.raises(InputError, match=r"candidates\[3\]: expected a step of 1e-9 to 3600 s.*, got "):
        sequence_stamps(sequence(step=step), NOW, STEP, name="candidates[3]")


def test_times_that_64_bits_do_not_hold() -> None:
    long = sequence(count=3_000_000_000, step=3600.0)
    with pytest.raises(InputError, match="plan: expected times before the year 2262, got 3000000000 actions"):
        sequence_stamps(long, NOW, STEP, name="plan")


def test_a_plan_has_a_bound() -> None:
    data = array("f", bytes(4 * (MOST_ACTIONS + 1)))
    with pytest.raises(InputError, match="at most 1000000 actions, got 1000001"):
        sequence_actions(sequence(count=MOST_ACTIONS + 1, dim=1, data=data), 1, "plan")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": 3}, "expected 2 action values, got 3"),
        ({"count": 4}, r"count \* dim = 4 \* 2 numbers \(not 0\), got 6"),
        ({"count": 0, "data": array("f")}, "not 0"),
        ({"data": array("f", [0, 1, 2, float("nan"), 4, 5])}, "NaN"),
    ],
)
def test_bad_action_sequences(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"plan: .*{words}"):
        sequence_actions(sequence(**changes), 2, "plan")


def trajectory(names: list[str], *rows: list[float]) -> JointTrajectory:
    points = [
        JointTrajectoryPoint(positions=row, time_from_start=Duration(nanosec=k * STEP))
        for k, row in enumerate(rows)
    ]
    return JointTrajectory(joint_names=names, points=points)


def test_trajectory_is_read_by_joint_name_where_the_names_are_known() -> None:
    msg = trajectory(["c", "b", "a"], [3.0, 2.0, 1.0], [6.0, 5.0, 4.0])
    assert trajectory_actions(msg, 2, names=("a", "b"), name="plan").tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert trajectory_actions(msg, 3, names=(), name="plan").tolist() == [[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]]
    assert trajectory_stamps(msg, NOW).tolist() == [NOW, NOW + STEP]


@pytest.mark.parametrize(
    ("msg", "words"),
    [
        (trajectory(["a"]), "at least one"),
        (trajectory(["a", "b"], [1.0]), "expected 2 positions per point, got 1"),
        (trajectory(["a", "b"], [1.0, 2.0], [3.0]), r"got 1 \(points\[1\]\)"),
        (trajectory(["a", "b"], [1.0, float("nan")]), "NaN"),
    ],
)
def test_bad_trajectories(msg: JointTrajectory, words: str) -> None:
    with pytest.raises(InputError, match=words):
        trajectory_actions(msg, 2, names=(), name="plan")


def test_camera_info_follows_the_size() -> None:
    info = CameraInfo(
        width=640, height=480, k=[500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0],
        p=[500.0, 0.0, 320.0, 10.0, 0.0, 500.0, 240.0, 20.0, 0.0, 0.0, 1.0, 0.0],
    )  # fmt: skip
    small = rescaled(info, width=64, height=96, header=Header(frame_id="camera"))
    assert (small.width, small.height, small.header.frame_id) == (64, 96, "camera")
    assert np.allclose(small.k, [50, 0, 32, 0, 100, 48, 0, 0, 1])
    assert np.allclose(small.p, [50, 0, 32, 1, 0, 100, 48, 4, 0, 0, 1, 0])
