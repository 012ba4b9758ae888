# SPDX-License-Identifier: Apache-2.0
"""The node in its own process over real topics: predictions, lifecycle, parameters, service."""

from __future__ import annotations

import sys
import time
from array import array
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from harness import (
    STEP_NS,
    Robot,
    environment,
    image_message,
    pixels,
    running,
)
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64, UInt64

from dd_ros import Predictor
from dd_ros.data.images import image_to_rgb
from dd_ros.data.plans import to_ns
from dd_ros.ros.messages import header_at, video_frames

pytest_plugins = ["node_fixtures"]


def whole(robot: Robot, stamp: int) -> list:
    """The four chunks of the prediction from the image of that stamp, once all are there."""
    return robot.until(
        lambda: chunks if len(chunks := of_stamp(robot, stamp)) == 4 else None, f"four chunks for {stamp}"
    )


def of_stamp(robot: Robot, stamp: int) -> list:
    return [msg for msg in robot.predictions if to_ns(msg.header.stamp) == stamp]


def test_chunks_come_in_order_with_their_target_stamps(robot: Robot) -> None:
    robot.recovers()
    stamp = robot.step()
    chunks = whole(robot, stamp)
    assert [msg.chunk for msg in chunks] == [0, 1, 2, 3]
    assert [msg.first_step for msg in chunks] == [1, 3, 5, 7]
    targets = [to_ns(target) for msg in chunks for target in msg.target_stamps]
    assert targets == [stamp + k * STEP_NS for k in range(1, 9)]
    for msg in chunks:
        assert (msg.header.frame_id, msg.checkpoint, msg.chunks) == ("camera_optical", "tiny", 4)
        assert video_frames(msg).shape == (2, 32, 48, 3)
        assert (len(msg.late), len(msg.uncertainty), len(msg.actions)) == (2, 2, 4)


def test_live_predictions_are_those_of_the_library(robot: Robot, tiny_checkpoint: Path) -> None:
    robot.recovers()
    assert robot.change_state("deactivate")
    assert robot.change_state("activate")
    offline = Predictor.load(tiny_checkpoint, "cpu", seed=0)
    robot.says("prediction", "no prediction yet")
    connected = robot.publisher("/camera/image_raw", Image)
    robot.until(lambda: connected.get_subscription_count() == 1, "the node's new subscription")
    robot.until(lambda: "reliable" in robot.value("image", "topic"), "a reliable subscription")
    for k in range(4):
        action = [0.1 * k, -0.2 * k]
        stamp = robot.stamp = robot.stamp + STEP_NS
        robot.act(stamp, action)
        robot.publisher("/camera/image_raw", Image).publish(image_message(stamp))
        live = np.concatenate([video_frames(msg) for msg in whole(robot, stamp)])
        assert offline.observe(pixels(stamp), stamp, action)
        library = offline.predict(np.tile(action, (8, 1)))
        # The same weights, noise and rules; threads may round differently.
        assert np.abs(live.astype(int) - library).max() <= 2


def test_lifecycle(robot: Robot) -> None:
    robot.recovers()
    assert robot.state() == "active"
    assert robot.change_state("deactivate")
    robot.says("prediction", "inactive")
    robot.predictions.clear()
    for _ in range(5):
        robot.step()
    assert robot.state() == "inactive"
    assert robot.predictions == []
    assert robot.change_state("cleanup")
    assert robot.state() == "unconfigured"
    assert not robot.call_rollouts().success
    assert robot.change_state("configure")
    assert robot.change_state("activate")
    robot.recovers()


def test_parameters_are_described_checked_and_applied(robot: Robot) -> None:
    rate = robot.describe("rate")
    assert rate.description
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.0, 1000.0)
    assert robot.describe("checkpoint").read_only
    assert not robot.set_parameter("checkpoint", "other").successful
    assert not robot.set_parameter("rate", -1.0).successful
    refused = robot.set_parameter("schedule", "9-9")
    assert not refused.successful
    assert "schedule '9-9': expected" in refused.reason
    for name, value in {"schedule": "1", "seed": 5, "rate": 2.0, "preview_lead": 0.3}.items():
        assert robot.set_parameter(name, value).successful, name
    robot.recovers()
    stamps = sorted({to_ns(msg.header.stamp) for msg in robot.predictions})
    assert min(b - a for a, b in pairwise(stamps)) > 4 * STEP_NS
    for name, value in {"schedule": "", "seed": 0, "rate": 0.0}.items():
        assert robot.set_parameter(name, value).successful, name


def test_viewers_get_the_chosen_lead_the_preview_and_the_calibration(robot: Robot) -> None:
    assert robot.set_parameter("preview_lead", 0.4).successful
    images, previews, infos = [], [], []
    node = robot.node
    subscriptions = [
        node.create_subscription(Image, "/predictor/predicted_image", images.append, 10),
        node.create_subscription(Image, "/predictor/preview", previews.append, 10),
        node.create_subscription(CameraInfo, "/predictor/camera_info", infos.append, 10),
    ]
    info = CameraInfo(width=480, height=320, k=[100.0, 0.0, 240.0, 0.0, 100.0, 160.0, 0.0, 0.0, 1.0])

    def step() -> None:
        robot.publisher("/camera/camera_info", CameraInfo).publish(info)
        robot.step()

    robot.until(lambda: len(images) > 2 and len(previews) > 2 and len(infos) > 2, "all viewer topics", step)
    for subscription in subscriptions:
        node.destroy_subscription(subscription)
    observed = {to_ns(msg.header.stamp) for msg in robot.predictions}
    assert (images[-1].width, images[-1].height, images[-1].encoding) == (48, 32, "rgb8")
    assert to_ns(images[-1].header.stamp) - 4 * STEP_NS in observed, "stamped with the time it is for"
    assert previews[-1].width == 4 * 48 * (previews[-1].height // 32)
    assert (infos[-1].width, infos[-1].height, infos[-1].k[2]) == (48, 32, 24.0)
    assert to_ns(infos[-1].header.stamp) in observed


def test_frames_for_now_follow_each_other_while_predictions_do_not(robot: Robot) -> None:
    """Two predictions a second of ten steps each: every step has its frame all the same, by the prediction there is."""
    for name, value in {"preview_lead": 0.0, "rate": 2.0}.items():
        assert robot.set_parameter(name, value).successful
    robot.until(lambda: time.time_ns() > robot.stamp, "the camera's clock to be that of the wall")
    images: list[Image] = []

    def step() -> None:
        if time.time_ns() >= robot.stamp + STEP_NS:
            robot.step()

    subscription = robot.node.create_subscription(Image, "/predictor/predicted_image", images.append, 10)
    robot.predictions.clear()
    robot.until(lambda: len(images) > 20, "images", step)
    robot.node.destroy_subscription(subscription)
    for name, value in {"preview_lead": 0.5, "rate": 0.0}.items():
        assert robot.set_parameter(name, value).successful
    predicted = {to_ns(msg.header.stamp) for msg in robot.predictions}
    targets = [to_ns(image.header.stamp) for image in images]
    assert len(set(targets)) == len(targets) > 2 * len(predicted), "each once, most without a new prediction"
    assert min(b - a for a, b in pairwise(targets)) > -STEP_NS / 2, (
        "in order; a newer prediction's stamps may be a little off"
    )


def test_each_of_the_image_leads_has_a_topic_and_ages_are_plain_numbers(robot: Robot) -> None:
    wanted = {"lead_0_2s": 2, "lead_0_5s": 5, "lead_1s": 8}  # model steps; the last is cut to the horizon
    images: dict[str, list[Image]] = {name: [] for name in wanted}
    ages: list[Float64] = []
    missed: list[UInt64] = []
    node = robot.node
    robot.predictions.clear()
    subscriptions = [
        *(
            node.create_subscription(Image, f"/predictor/predicted_image/{name}", found.append, 10)
            for name, found in images.items()
        ),
        node.create_subscription(Float64, "/predictor/age", ages.append, 10),
        node.create_subscription(UInt64, "/predictor/missed_chunks", missed.append, 10),
    ]
    robot.until(
        lambda: all(len(found) > 2 for found in (*images.values(), ages, missed)), "all topics", robot.step
    )
    for subscription in subscriptions:
        node.destroy_subscription(subscription)
    frames = {
        to_ns(stamp): video_frames(msg)[index]
        for msg in robot.predictions
        for index, stamp in enumerate(msg.target_stamps)
        if msg.first_step + index == 5
    }
    shown = images["lead_0_5s"][0]
    assert np.array_equal(image_to_rgb(shown), frames[to_ns(shown.header.stamp)])
    observed = {to_ns(msg.header.stamp) for msg in robot.predictions}
    for name, steps in wanted.items():
        assert to_ns(images[name][0].header.stamp) - steps * STEP_NS in observed, name
    assert 0.0 < ages[-1].data < 60.0
    assert missed[-1].data >= missed[0].data


def test_a_plan_shapes_the_prediction_and_a_bad_one_does_not(robot: Robot) -> None:
    robot.recovers()

    def plan(values: list[list[float]], dim: int = 2) -> None:
        data = array("f", [x for row in values for x in row])
        header = header_at(robot.stamp + 2 * STEP_NS, "")
        msg = ActionSequence(header=header, count=len(values), dim=dim, data=data)
        robot.publisher("/plan", ActionSequence).publish(msg)
        robot.step()

    def planned() -> bool:
        rows = [np.reshape(msg.actions, (2, 2)) for msg in robot.predictions if msg.chunk == 1]
        return bool(rows) and rows[-1].tolist() == [[2.0, 2.0], [3.0, 3.0]]

    robot.until(planned, "the plan's commands", lambda: plan([[k, k] for k in range(9)]))
    robot.says("plan", "2 expected 2 action values, got 3", doing=lambda: plan([[1.0] * 3], dim=3))
    robot.recovers()


@pytest.mark.parametrize("frames", [False, True])
def test_rollouts_of_two_candidates_differ(robot: Robot, frames: bool) -> None:
    robot.recovers()
    result = robot.call_rollouts([[-2.0, 2.0], [2.0, -2.0]], return_frames=frames, goal=image_message(1))
    assert result.success, result.message
    assert len(result.costs) == 2
    assert result.costs[0] != result.costs[1]
    assert len(result.futures) == (2 if frames else 0)
    if frames:
        left, right = (video_frames(future) for future in result.futures)
        assert left.shape == (8, 32, 48, 3)
        assert not np.array_equal(left, right)
    robot.recovers()


def test_bad_rollouts_are_answered_and_hurt_nothing(robot: Robot) -> None:
    robot.recovers()
    assert "got 0" in robot.call_rollouts([]).message
    assert "expected 2 action values, got 3" in robot.call_rollouts([[0.0, 0.0, 0.0]]).message
    robot.recovers()
    assert isinstance(robot.call_rollouts(), PredictRollouts.Response)


def test_large_images_arrive_complete_with_the_shipped_profile(robot: Robot, tmp_path: Path) -> None:
    count, topic = 40, "/camera/image_raw"
    robot.recovers()
    arrived: list[tuple[int, int, int]] = []
    subscription = robot.node.create_subscription(
        Image,
        topic,
        lambda msg: arrived.append((msg.width, msg.height, len(msg.data))),
        QoSProfile(depth=count, reliability=ReliabilityPolicy.BEST_EFFORT),
    )
    robot.drop_publisher(topic, Image)
    robot.predictions.clear()

    def act() -> None:
        robot.act(robot.next_stamp())

    camera = [
        sys.executable,
        str(Path(__file__).with_name("camera.py")),
        topic,
        "642",
        "480",
        "2",
        str(count),
    ]
    with running(camera, tmp_path / "camera.log", environment(robot.domain)):
        robot.until(lambda: len(arrived) >= count, f"{count} images", act)
        robot.until(lambda: len(robot.predictions) > 8, "predictions from them", act)
        assert "best effort" in robot.value("image", "topic")
    robot.node.destroy_subscription(subscription)
    assert set(arrived) == {(642, 480, 642 * 480 * 3)}
    robot.recovers()
