# SPDX-License-Identifier: Apache-2.0
"""The examples that speak ROS, each in a process of its own beside a real predictor."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from harness import PATIENCE, ROOT, STEP_NS, Robot, environment, pixels, running
from sensor_msgs.msg import Image

from dd_ros.data.images import decode_rgb
from dd_ros.data.plans import to_ns
from dd_ros.ros.messages import video_frames

pytest_plugins = ["node_fixtures"]
EXAMPLES = ROOT / "examples"


def planner(robot: Robot, *arguments: object) -> subprocess.Popen[str]:
    """The planner's client, started beside the robot."""
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "rollouts_client.py"), *map(str, arguments)],
        env=environment(robot.domain), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def predicts(robot: Robot) -> None:
    """Wait until the node predicts, however slow the machine is."""
    robot.predictions.clear()
    robot.until(lambda: len(robot.predictions) >= 4, "predictions", robot.step)


def test_a_planners_client_names_the_best_candidate(robot: Robot, tmp_path: Path) -> None:
    predicts(robot)
    goal = tmp_path / "goal.png"
    cv2.imwrite(str(goal), pixels(5)[..., ::-1])
    client = planner(robot, "--goal", goal, "--around", "0.5", "-0.5", "--steps", "8", "--candidates", "6")
    robot.until(lambda: client.poll() is not None, "the planner's end", robot.step)
    said, wrong = client.communicate()
    assert client.returncode == 0, wrong
    assert "best of 6: number" in said
    refused = planner(robot, "--goal", goal, "--around", "0.5", "--candidates", "2")
    robot.until(lambda: refused.poll() is not None, "the planner's end", robot.step)
    _, wrong = refused.communicate()
    assert refused.returncode == 1
    assert "refused: candidates[0]: expected 2 action values, got 1" in wrong
    nothing = planner(robot, "--goal", tmp_path / "none.png", "--around", "0.5")
    assert nothing.wait(PATIENCE) == 2


def test_a_node_shows_what_was_predicted_for_now(robot: Robot, tmp_path: Path) -> None:
    predicts(robot)
    shown: list[tuple[int, Image]] = []
    subscription = robot.node.create_subscription(
        Image, "/delay_free_view/image", lambda msg: shown.append((time.time_ns(), msg)), 50
    )
    command = [sys.executable, str(EXAMPLES / "delay_free_view.py"), "--ros-args"]
    command += ["-r", "prediction:=/predictor/prediction"]
    robot.predictions.clear()
    with running(command, tmp_path / "view.log", environment(robot.domain)) as view:
        robot.until(lambda: len(shown) >= 10, "ten images for now", robot.step)
    assert view.status == 0, (tmp_path / "view.log").read_text()
    robot.node.destroy_subscription(subscription)
    known: dict[int, list[Any]] = {}
    for chunk in robot.predictions:
        for target, frame in zip(chunk.target_stamps, video_frames(chunk), strict=True):
            known.setdefault(to_ns(target), []).append(frame)
    for received, image in shown:
        stamp = to_ns(image.header.stamp)
        frame = decode_rgb(image, image.width, image.height)
        assert any(
            np.array_equal(frame, other) for other in known[stamp]
        )  # one of those predicted for that time
        assert stamp - received < 3 * STEP_NS  # never what is far ahead
