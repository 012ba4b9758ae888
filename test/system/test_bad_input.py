# SPDX-License-Identifier: Apache-2.0
"""Bad input through real topics: said once, shown in the diagnostics, survived, recovered from."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import STEP_NS, Robot, image_message, set_stamp
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray, String

from dd_ros.data.plans import to_ns
from dd_ros.ros.messages import to_time

pytest_plugins = ["node_fixtures"]


@pytest.fixture(autouse=True)
def healthy(robot: Robot) -> Iterator[None]:
    """Whatever a test does, good input must lead back to good predictions."""
    robot.until(lambda: robot.predictions, "a first prediction", robot.step)
    yield
    robot.recovers()


def said(robot: Robot, before: int, *words: str) -> None:
    """The log since position ``before`` has one line with all ``words``."""
    lines = [line for line in robot.output()[before:].splitlines() if all(word in line for word in words)]
    assert len(lines) == 1, robot.output()[before:]


UNREADABLE: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"encoding": "32FC1"}, ("expected colours or greys such as rgb8", "got depth '32FC1'")),
    ({"data": array("B", bytes(10))}, ("expected 4608 bytes", "got 10")),
    ({"height": 0, "width": 0, "data": array("B")}, ("at least 1x1 pixels", "got 0x0")),
    ({"step": 7}, ("expected at least 144 bytes", "got 7")),
]


def test_images_that_cannot_be_read(robot: Robot) -> None:
    for changes, words in UNREADABLE:
        before = len(robot.output())
        robot.says("image", "2 ", *words, doing=lambda changes=changes: robot.step(**changes))
        said(robot, before, "[ERROR]", "image: ", *words)


def test_image_size_changing_in_flight(robot: Robot) -> None:
    before = len(robot.output())
    robot.predictions.clear()
    robot.says("image", "1 ", "expected 48x32", "got 96x64", doing=lambda: robot.step(width=96, height=64))
    robot.until(lambda: len(robot.predictions) > 8, "predictions", lambda: robot.step(width=96, height=64))
    said(robot, before, "[WARN]", "expected 48x32 as before, got 96x64; stretched to 48x32")


def test_image_rate_changing_in_flight(robot: Robot) -> None:
    before = len(robot.output())

    def slowly() -> None:
        time.sleep(0.4)
        robot.step()

    robot.says("image", "1 ", "expected images at 10 Hz or more, got", doing=slowly)
    robot.predictions.clear()
    robot.until(lambda: robot.predictions, "predictions at the lower rate", slowly)
    said(robot, before, "[WARN]", "expected images at 10 Hz")


def test_stamps_that_jump_back_start_anew(robot: Robot) -> None:
    before, newest = len(robot.output()), robot.stamp
    robot.offset, robot.stamp = -3_000_000_000, 0
    robot.predictions.clear()

    def of_the_new_time() -> bool:
        return any(to_ns(msg.header.stamp) < newest - 2_000_000_000 for msg in robot.predictions)

    robot.until(of_the_new_time, "predictions of the new time", robot.step)
    robot.says("image", "1 ", "a step back of", "started anew", doing=robot.step)
    robot.offset = 0
    said(robot, before, "[WARN]", "a step back of", "started anew")


def test_stamps_slightly_out_of_order_are_ignored(robot: Robot) -> None:
    def out_of_order() -> None:
        stamp = robot.step()
        late = image_message(stamp - 3 * STEP_NS)
        robot.publisher("/camera/image_raw", Image).publish(late)

    robot.says("image", "1 ", "expected stamps that increase", "ignored", doing=out_of_order)


def test_stamps_missing(robot: Robot) -> None:
    before = len(robot.output())

    def unstamped() -> None:
        msg = image_message(robot.next_stamp())
        set_stamp(msg, 0)
        robot.publisher("/action", JointState).publish(JointState(position=[0.5, 0.5]))
        robot.publisher("/camera/image_raw", Image).publish(msg)

    robot.predictions.clear()
    robot.says("image", "1 ", "expected a time stamp", "time of arrival is used", doing=unstamped)
    robot.until(lambda: len(robot.predictions) > 8, "predictions", unstamped)
    assert all(to_ns(msg.header.stamp) > 0 for msg in robot.predictions)
    said(robot, before, "[WARN]", "expected a time stamp")


def test_stamps_of_another_clock(robot: Robot) -> None:
    robot.offset = 60_000_000_000
    robot.says("image", "1 ", "ahead of it (use_sim_time is false)", doing=robot.step)
    robot.offset, robot.stamp = 0, 0


UNUSABLE: list[tuple[list[float], tuple[str, ...]]] = [
    ([1.0], ("position[0:2]", "only 1 value")),
    ([], ("position[0:2]", "only 0 values")),
    ([float("nan"), 0.0], ("finite", "got NaN or infinity")),
    ([0.0, float("-inf")], ("finite", "got NaN or infinity")),
]


def test_actions_that_cannot_be_used(robot: Robot) -> None:
    before = len(robot.output())
    for values, words in UNUSABLE:

        def step(values: list[float] = values) -> None:
            stamp = robot.next_stamp()
            robot.act(stamp, values)
            robot.publisher("/camera/image_raw", Image).publish(image_message(stamp))

        robot.says("action", "2 ", "/action", *words, doing=step)
        robot.predictions.clear()
        robot.until(lambda: len(robot.predictions) > 4, "predictions with the last good action", step)
        if values:  # none is of a kind with one: a number differs, and that was said
            said(robot, before, "[ERROR]", "action: ", *words)


def fresh(robot: Robot) -> None:
    """Forget all input."""
    assert robot.change_state("deactivate")
    assert robot.change_state("activate")
    robot.predictions.clear()


def test_no_action_yet(robot: Robot) -> None:
    robot.drop_publisher("/action", JointState)
    fresh(robot)

    def only_images() -> None:
        robot.publisher("/camera/image_raw", Image).publish(image_message(robot.next_stamp()))

    robot.says("action", "2 ", "expected", "got no publisher", doing=only_images)
    robot.says("action", "expected a command before the images", doing=only_images)
    assert robot.predictions == []


def test_a_camera_that_stops(robot: Robot) -> None:
    before = len(robot.output())
    cure = ("start the camera driver with", "config/fastdds.xml")
    robot.says("image", "2 ", "expected images at 10 Hz or more on /camera/image_raw, got nothing for", *cure)
    said(robot, before, "[ERROR]", "image topic", "got nothing for")


def test_a_camera_whose_process_dies(robot: Robot) -> None:
    robot.drop_publisher("/camera/image_raw", Image)
    robot.says("image", "2 ", "/camera/image_raw", "got no publisher")


def test_a_missing_topic_names_what_is_there(robot: Robot) -> None:
    robot.drop_publisher("/camera/image_raw", Image)
    other = robot.publisher("/head/image_rect", Image)
    before = len(robot.output())
    fresh(robot)
    words = ("expected sensor_msgs/msg/Image on /camera/image_raw, got no publisher", "/head/image_rect")
    robot.says("image", "2 ", *words, doing=lambda: other.publish(image_message(1)))
    said(robot, before, *words)
    robot.drop_publisher("/head/image_rect", Image)


@pytest.mark.parametrize(
    ("topic", "good", "bad", "wanted"),
    [
        ("/camera/image_raw", Image, CompressedImage, "expected sensor_msgs/msg/Image on /camera/image_raw"),
        ("/action", JointState, String, "expected one of sensor_msgs/msg/JointState"),
    ],
    ids=["image", "action"],
)
def test_topics_of_a_wrong_type(robot: Robot, topic: str, good: type, bad: type, wanted: str) -> None:
    robot.drop_publisher(topic, good)
    publisher = robot.publisher_once_free(topic, bad)
    part = "image" if good is Image else "action"
    robot.says(part, "2 ", wanted, f"/msg/{bad.__name__}", doing=lambda: publisher.publish(bad()))
    robot.drop_publisher(topic, bad)
    robot.publisher_once_free(topic, good)


def test_an_action_topic_that_changes_its_type(robot: Robot) -> None:
    robot.drop_publisher("/action", JointState)
    robot.publisher_once_free("/action", Float32MultiArray)

    def step(values: list[float]) -> Callable[[], None]:
        def publish() -> None:
            robot.publisher("/action", Float32MultiArray).publish(Float32MultiArray(data=values))
            robot.publisher("/camera/image_raw", Image).publish(image_message(robot.next_stamp()))

        return publish

    robot.says("action", "2 ", "expected 2 action values, got 3", "Float32MultiArray", doing=step([1.0] * 3))
    robot.predictions.clear()

    def used() -> bool:
        return any(list(msg.actions) == [7.0, 8.0] * 2 for msg in robot.predictions)

    robot.until(used, "predictions with the new type's actions", step([7.0, 8.0]))
    robot.drop_publisher("/action", Float32MultiArray)
    robot.publisher_once_free("/action", JointState)


def test_simulated_time_without_a_clock_and_back(robot: Robot) -> None:
    assert robot.set_parameter("use_sim_time", True).successful
    robot.says("prediction", "2 ", "/clock", doing=robot.step)
    assert robot.set_parameter("use_sim_time", False).successful


def test_a_simulation_that_starts_over(robot: Robot) -> None:
    assert robot.set_parameter("use_sim_time", True).successful
    robot.predictions.clear()
    now = 100 * 10**9

    def step() -> None:
        nonlocal now
        now += STEP_NS
        robot.publisher("/clock", Clock).publish(Clock(clock=to_time(now)))
        robot.act(now)
        robot.publisher("/camera/image_raw", Image).publish(image_message(now))

    def predicted(first: int, last: int) -> bool:
        """A chunk from an image of that time (s) whose frames are still ahead by the simulated clock."""
        stamps = [to_ns(msg.header.stamp) for msg in robot.predictions if not any(msg.late)]
        return any(first * 10**9 < stamp < last * 10**9 for stamp in stamps)

    robot.until(lambda: predicted(100, 1000), "predictions in simulated time", step)
    before, now = len(robot.output()), 20 * 10**9
    robot.until(lambda: predicted(20, 90), "predictions after the restart", step)
    robot.says("image", "1 ", "started anew", doing=step)
    assert "back" in robot.output()[before:]
    robot.drop_publisher("/clock", Clock)
    assert robot.set_parameter("use_sim_time", False).successful
