# SPDX-License-Identifier: Apache-2.0
"""Whatever comes out of a callback is named, and the node goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String

from dd_ros.errors import InputError
from dd_ros.live.problems import Problems
from dd_ros.live.statistics import Rate
from dd_ros.ros.guard import Guard, reason_of
from dd_ros.ros.spin import run_until_signalled
from dd_ros.ros.topics import Input


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def problems(said: list[str]) -> Problems:
    return Problems(lambda level, text: said.append(text))


def broken(error: Exception | None) -> str:
    if error is not None:
        raise error
    return "good"


def test_exceptions_are_named_answered_and_over_with_the_next_good_call(
    context: Context, problems: Problems, said: list[str]
) -> None:
    callback = Guard(context, problems)("plan callback", broken, refused=reason_of)
    assert callback(InputError("expected a, got b")) == "expected a, got b"
    for step in (1e300, 2e300):
        assert callback(OverflowError(f"{step:g} is too large")) == f"OverflowError: {step:g} is too large"
    assert callback(KeyError("x")) == "KeyError: 'x'"
    assert [problem.text.splitlines()[0] for problem in problems.current("plan")] == ["KeyError: 'x'"]
    assert callback(None) == "good"
    assert [text.splitlines()[0] for text in said] == [
        "plan callback: OverflowError: 1e+300 is too large",
        "plan callback: KeyError: 'x'",
        "plan callback: good again",
    ]
    assert sum("Traceback" in text for text in said) == 2
    Guard(context, problems)("action callback", broken)(InputError("expected a, got b"))
    assert said[-1] == "action callback: expected a, got b"


def test_a_shutdown_goes_through_and_nothing_is_said_after_it(
    context: Context, problems: Problems, said: list[str]
) -> None:
    callback = Guard(context, problems)("plan callback", broken)
    with pytest.raises(ExternalShutdownException):
        callback(ExternalShutdownException())
    rclpy.shutdown(context=context)
    assert callback(RuntimeError("publisher's context is invalid")) is None
    assert said == []


def test_a_program_goes_on_after_what_callbacks_of_rclpy_raise(problems: Problems, said: list[str]) -> None:
    """A /clock before 1970 is one."""

    def fragile() -> Node:
        node = rclpy.create_node("fragile", parameter_overrides=[Parameter("use_sim_time", value=True)])
        clock, msg = node.create_publisher(ClockMessage, "/clock", 1), ClockMessage()
        msg.clock.sec = -5
        node.create_timer(0.01, lambda: clock.publish(msg), clock=Clock(clock_type=ClockType.STEADY_TIME))
        return node

    status = run_until_signalled(
        "fragile", fragile, [], start=lambda node: None, stop=lambda node: 0, over=lambda node: len(said) > 1,
        failed=lambda node, error: Guard(node.context, problems).passed("prediction executor", error),
    )  # fmt: skip
    assert status == 0
    assert said[0].startswith(
        "prediction executor: ValueError: Seconds value must not be negative\nTraceback"
    )
    assert said[1] == "prediction executor: good again"


def test_an_input_outlives_what_its_callback_raises(
    context: Context, problems: Problems, said: list[str]
) -> None:
    node = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    came: list[str] = []

    def callback(msg: String, kind: str) -> None:
        came.append(msg.data)
        if len(came) < 3:
            raise OverflowError("no room")

    Input(
        node, "words", topics=["words"], types=["std_msgs/msg/String"], depth=5, callback=callback, rate=Rate(),
        problems=problems,
    )  # fmt: skip
    publisher = node.create_publisher(String, "words", 5)
    while len(came) < 4:
        publisher.publish(String(data="x"))
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    assert [text.splitlines()[0] for text in said] == [
        "words callback: OverflowError: no room",
        "words callback: good again",
    ]
