# SPDX-License-Identifier: Apache-2.0
"""A start that cannot work ends with one line and status 2; transitions that fail say why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.msg import State
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node

from dd_ros.errors import InputError
from dd_ros.ros.lifecycle import ManagedNode
from dd_ros.ros.node import PredictorNode, main
from dd_ros.ros.spin import run_until_signalled


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rate:=fast", ["rate"]),
        ("rate:=-1.0", ["rate", "-1.0"]),
        ("device:=tpu", ["device", "auto or cpu or cuda", "'tpu'"]),
        ("schedule:=9-9", ["schedule '9-9'", "4-3-2-2"]),
        ("image_transport:=theora", ["image_transport", "raw or compressed", "'theora'"]),
        ("checkpoint:=/nowhere", ["/nowhere", "config.yaml"]),
    ],
)
def test_bad_parameters(
    tiny_checkpoint: Path, override: str, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--ros-args", "-p", f"checkpoint:={tiny_checkpoint}", "-p", "device:=cpu", "-p", override]
    assert main(arguments) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("predictor: ")]
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}, [], ["docs/security.md"]),
        ({}, ["--ros-args", "-r", "image"], ["remap rule: '-r image'", "ROS arguments"]),
    ],
)
def test_where_ros_does_not_start_one_line_says_why(
    environment: dict[str, str],
    arguments: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    error = capfd.readouterr().err
    (line,) = (line for line in error.splitlines() if line.startswith("predictor: ROS does not start: "))
    assert all(word in line for word in words), line
    assert "Traceback" not in error


def test_where_ros_does_not_make_the_node_one_line_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    def kind() -> Node:
        return rclpy.create_node("refused", cli_args=["--ros-args", "-r", "image"])

    assert run_until_signalled("refused", kind, [], start=lambda node: None, stop=lambda node: 0) == 2
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith("refused: ROS does not start: ")
    assert "Traceback" not in error


class Fragile(ManagedNode):
    """Fails in ``configure`` as often as told."""

    failures: list[Exception]
    undone = 0

    def configure(self) -> None:
        if self.failures:
            raise self.failures.pop()

    def cleanup(self) -> None:
        self.undone += 1


@pytest.fixture
def node() -> Iterator[Fragile]:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Fragile("fragile", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_failed_transition_is_logged_undone_and_can_be_tried_again(
    node: Fragile, capfd: pytest.CaptureFixture[str]
) -> None:
    node.failures = [RuntimeError("no memory"), InputError("file.yaml: missing")]
    for reason in ("file.yaml: missing", "RuntimeError: no memory"):
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert node.failure == reason
        assert f"configure failed: {reason}" in capfd.readouterr().err
        assert node._state_machine.current_state[0] == State.PRIMARY_STATE_UNCONFIGURED
    assert node.undone == 2
    node.start()
    assert (node.phase, node.failure) == ("active", "")


def test_a_start_that_fails_says_why(node: Fragile) -> None:
    node.failures = [InputError("file.yaml: missing")]
    with pytest.raises(InputError, match=r"file\.yaml: missing"):
        node.start()


def test_a_device_that_fails_makes_the_node_unconfigured_and_it_can_start_again(
    tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On a CPU the worker is told of the error by hand: what follows is the same."""
    context = rclpy.Context()
    rclpy.init(
        args=["--ros-args", "-p", f"checkpoint:={tiny_checkpoint}", "-p", "device:=cpu"], context=context
    )
    node = PredictorNode(context=context)
    try:
        node.start()
        assert node.worker is not None
        node.worker.device_error = "CUDA error: unspecified launch failure"
        node._watch()
        assert (node.phase, node.predictor, node.worker) == ("unconfigured", None, None)
        said = capfd.readouterr().err
        assert "expected a working cpu device, got 'CUDA error: unspecified launch failure'" in said
        node.start()
        assert node.phase == "active"
        node._watch()
        assert node.phase == "active"
    finally:
        node.stop()
        node.destroy_node()
        rclpy.shutdown(context=context)
