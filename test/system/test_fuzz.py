# SPDX-License-Identifier: Apache-2.0
"""Messages of any content over real topics, and more requests than a node can answer: it lives, and says so."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from harness import Robot, image_message
from random_messages import RandomMessages
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, JointState

from dd_ros.live.requests import MOST_JOBS

pytest_plugins = ["node_fixtures"]
MESSAGES = 1000


@pytest.fixture(autouse=True)
def healthy(robot: Robot) -> Iterator[None]:
    """Whatever a test does, good input must lead back to good predictions, and no bug shows."""
    robot.recovers()
    yield
    robot.recovers()
    assert "Traceback" not in robot.output()


def test_messages_of_any_content(robot: Robot) -> None:
    fuzz = RandomMessages(seed=3, now=time.time_ns() // 10**9)
    kinds: list[tuple[str, type, Any]] = [
        ("/camera/image_raw", Image, fuzz.image),
        ("/action", JointState, lambda: JointState(header=fuzz.header(), position=fuzz.numbers())),
        ("/plan", ActionSequence, fuzz.sequence),
        ("/camera/camera_info", CameraInfo, fuzz.calibration),
    ]
    before = len(robot.output())
    for _ in range(MESSAGES):
        for topic, kind, make in kinds:
            robot.publisher(topic, kind).publish(make())
    robot.stamp = 0
    robot.recovers()
    assert len(robot.output()[before:].splitlines()) < 300, "kinds, not messages"


def test_requests_of_any_content_are_answered(robot: Robot) -> None:
    fuzz = RandomMessages(seed=4, now=time.time_ns() // 10**9)
    answers = []
    for _ in range(40):
        answers.append(robot.call(PredictRollouts, "predict_rollouts", fuzz.request()))
        robot.step()
    robot.stamp = 0  # the steps came faster than their stamps say
    assert len({answer.success for answer in answers}) == 2
    assert all(answer.success or answer.message for answer in answers)


def many_requests(robot: Robot, count: int, candidates: int, depth: int) -> list[Any]:
    """Futures of so many requests by a client that keeps ``depth`` of them and of their answers.

    No more than that are under way at a time: of those DDS loses none, however busy the machine.
    """
    one = ActionSequence(count=1, dim=2, data=array("f", [0.1, 0.2]))
    client = robot.node.create_client(
        PredictRollouts, f"{robot.name}/predict_rollouts", qos_profile=QoSProfile(depth=depth)
    )
    robot.until(client.service_is_ready, "the service")
    futures: list[Any] = []
    for _ in range(count):
        robot.until(lambda: sum(not future.done() for future in futures) < depth, "room for one more request")
        futures.append(client.call_async(PredictRollouts.Request(candidates=[one] * candidates)))
    return futures


def test_more_requests_than_may_wait_are_all_answered(robot: Robot) -> None:
    futures = many_requests(robot, 100, candidates=4, depth=100)
    robot.until(lambda: all(future.done() for future in futures), "all answers")
    answers = [future.result() for future in futures]
    refused = [answer.message for answer in answers if not answer.success]
    assert set(refused) <= {f"expected at most {MOST_JOBS} waiting requests, got one more; ask again later"}
    assert len(answers) - len(refused) >= MOST_JOBS


def test_requests_of_a_client_as_ros_makes_it_are_all_answered(robot: Robot) -> None:
    futures = many_requests(robot, 40, candidates=1, depth=10)
    robot.until(lambda: all(future.done() for future in futures), "all answers")
    assert all(future.result().success for future in futures)


def test_deactivating_cancels_what_waits(robot: Robot) -> None:
    futures = many_requests(robot, 10, candidates=256, depth=10)
    robot.until(lambda: futures[0].done(), "the first answer", robot.step)
    assert robot.change_state("deactivate")
    robot.until(lambda: all(future.done() for future in futures), "all answers")
    assert futures[-1].result().message == "the node was deactivated"
    assert robot.call_rollouts().message == "predictor: expected an active node, got inactive"
    assert robot.change_state("activate")


def test_parameters_of_any_value(robot: Robot) -> None:
    values = (
        float("nan"),
        float("inf"),
        -1.0,
        1e300,
        "",
        "x" * 1000,
        "4-3-2-2-99",
        True,
        2**62,
        -1,
        [1.0],
        [b"x"],
        None,
    )
    names = (
        "rate",
        "schedule",
        "seed",
        "preview_lead",
        "hold_last_action",
        "deadline",
        "max_image_pixels",
        "other",
    )
    kept = {name: robot.get_parameter(name) for name in names[:-1]}
    for name in names:
        for value in values:
            robot.set_parameter(name, value)
    several = [Parameter(name, value=-1.0).to_parameter_msg() for name in ("rate", "deadline")]
    request = SetParametersAtomically.Request(parameters=several)
    assert not robot.call(SetParametersAtomically, "set_parameters_atomically", request).result.successful
    for name, value in kept.items():
        assert robot.set_parameter(name, rclpy.parameter.parameter_value_to_python(value)).successful, name


@pytest.mark.parametrize("name", ["rate", "deadline", "preview_lead"])
def test_a_parameter_that_is_no_number(robot: Robot, name: str) -> None:
    refused = robot.set_parameter(name, float("nan"))
    assert not refused.successful
    assert f"{name} out of range" in refused.reason


@pytest.mark.parametrize(
    ("name", "topic", "kind"), [("image", "/camera/image_raw", Image), ("plan", "/plan", ActionSequence)]
)
def test_two_publishers_on_one_topic(robot: Robot, name: str, topic: str, kind: type) -> None:
    known, other = robot.publisher(topic, kind), robot.publisher(topic, kind, reliable=False)
    robot.says(name, "1 ", f"expected one publisher on {topic}, got 2 (/robot)", doing=robot.step)
    robot.drop_publisher(topic, kind, reliable=False)
    assert other is not known


def test_a_second_node_of_the_name(robot: Robot) -> None:
    twin = rclpy.create_node("predictor", context=robot.context)
    robot.says("prediction", "1 ", "expected one node /predictor, got 2", "__node:=NAME", doing=robot.step)
    twin.destroy_node()


def test_more_values_than_the_fields_take(robot: Robot) -> None:
    def step() -> None:
        stamp = robot.next_stamp()
        robot.act(stamp, [0.5, -0.5, 7.0])
        robot.publisher("/camera/image_raw", Image).publish(image_message(stamp))

    robot.says("action", "1 ", "expected 2 values in position, got 3", doing=step)
    robot.predictions.clear()
    robot.until(lambda: robot.predictions, "predictions", step)


def test_a_camera_whose_stamps_stick(robot: Robot) -> None:
    stuck = robot.step()

    def step() -> None:
        robot.publisher("/camera/image_raw", Image).publish(image_message(stuck))

    robot.says("image", "expected stamps that increase, got the same one", doing=step)


def test_commands_in_another_unit(robot: Robot) -> None:
    def step() -> None:
        stamp = robot.next_stamp()
        robot.act(stamp, [0.5, 57.3])
        robot.publisher("/camera/image_raw", Image).publish(image_message(stamp))

    robot.says("action", "1 ", "got y = 57.3, 57.3 deviations from their mean 0", doing=step)
    robot.predictions.clear()
    robot.until(lambda: robot.predictions, "predictions", step)
    assert min(robot.predictions[-1].uncertainty) > 1.0
    answer = robot.call_rollouts([[0.0, 0.0], [0.0, 57.3]])
    assert answer.success
    assert answer.message.startswith("candidates[1]: expected values like those of training, got y = 57.3")
