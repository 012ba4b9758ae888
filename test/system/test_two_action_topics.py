# SPDX-License-Identifier: Apache-2.0
"""A robot whose action comes on two topics: which one is missing or wrong is said, and it recovers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Robot, image_message, robot_with_predictor
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray

from dd_ros.config import CheckpointConfig
from dd_ros.settings import read_yaml, write_yaml
from dd_ros.streams import ActionSource

SOURCES = (
    ActionSource(topic="/arm", type="sensor_msgs/msg/JointState", fields=("position[elbow]",), dim=1),
    ActionSource(topic="/gripper", type="std_msgs/msg/Float64MultiArray", fields=("data",), dim=1),
)


@pytest.fixture(scope="module")
def arm(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    """A node whose checkpoint knows two topics, the second remapped."""
    folder = tmp_path_factory.mktemp("two") / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    config = read_yaml(folder / "config.yaml", CheckpointConfig)
    streams = config.streams.model_copy(update={"actions": SOURCES})
    write_yaml(folder / "config.yaml", config.model_copy(update={"streams": streams}))
    command = [sys.executable, "-m", "dd_ros.ros.node", "--ros-args", "-p", f"checkpoint:={folder}"]
    command += ["-p", "device:=cpu", "-r", "image:=/camera/image_raw", "-r", "action_2:=/hand"]
    with robot_with_predictor(folder.parent / "predictor.log", *command) as robot:
        yield robot


def test_two_topics(arm: Robot) -> None:
    def step(hand: list[float] | None) -> None:
        stamp = arm.next_stamp()
        joints = JointState(name=["wrist", "elbow"], position=[9.0, 0.5])
        arm.publisher("/arm", JointState).publish(joints)
        if hand is not None:
            arm.publisher("/hand", Float64MultiArray).publish(Float64MultiArray(data=hand))
        arm.publisher("/camera/image_raw", Image).publish(image_message(stamp))

    def predicted(*actions: float) -> bool:
        return any(list(msg.actions) == [*actions] * 2 for msg in arm.predictions)

    arm.says("action_2", "2 ", "/hand", "got no publisher", doing=lambda: step(None))
    arm.says("action", "0 ok", doing=lambda: step(None))
    assert arm.predictions == []
    arm.until(lambda: predicted(0.5, 0.25), "predictions from both topics", lambda: step([0.25]))
    arm.says("action_2", "0 ok", doing=lambda: step([0.25]))
    assert "/hand (std_msgs/msg/Float64MultiArray" in arm.value("action_2", "topic")
    for values, words in (([float("nan")], "finite"), ([1.0, 2.0], "expected 1 action values, got 2")):
        arm.says("action_2", "2 ", "/hand", words, doing=lambda values=values: step(values))
        assert arm.shown()["action"].startswith("0 ok")
    arm.says("action_2", "2 ", "expected actions on /hand, got nothing for", doing=lambda: step(None))
    arm.until(lambda: predicted(0.5, 0.75), "predictions with the hand back", lambda: step([0.75]))
