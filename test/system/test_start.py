# SPDX-License-Identifier: Apache-2.0
"""Ways to start the node: by hand in a namespace, by launch file, with a bad checkpoint; large images."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from geometry_msgs.msg import Twist
from harness import (
    PATIENCE,
    ROOT,
    Robot,
    environment,
    needs_launch,
    pixels,
    predictor_command,
    robot_with_predictor,
    set_stamp,
)
from sensor_msgs.msg import CompressedImage

from dd_ros.processes import free_domain


@pytest.fixture(scope="module")
def namespaced(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    """A node as a lifecycle manager would start it: unconfigured, in a namespace, with a parameter file."""
    folder = tmp_path_factory.mktemp("namespaced")
    (folder / "predictor.yaml").write_text(
        f"/**/predictor:\n  ros__parameters:\n    checkpoint: {tiny_checkpoint}\n    autostart: false\n"
        "    image_transport: compressed\n    action_topic: action.linear.x,angular.z\n    seed: 7\n    device: cpu\n"
    )
    command = [sys.executable, "-m", "dd_ros.ros.node", "--ros-args", "-r", "__ns:=/robot1"]
    command += ["--params-file", str(folder / "predictor.yaml")]
    with robot_with_predictor(folder / "predictor.log", *command, node_name="/robot1/predictor") as robot:
        yield robot


def test_compressed_images_and_chosen_fields_on_the_checkpoints_own_topics(namespaced: Robot) -> None:
    robot = namespaced
    assert robot.get_parameter("seed").integer_value == 7
    assert robot.state() == "unconfigured"
    assert robot.change_state("configure")
    assert robot.change_state("activate")
    images = robot.publisher("/robot1/camera/image_raw/compressed", CompressedImage, reliable=False)
    actions = robot.publisher("/robot1/action", Twist)
    twist = Twist()
    twist.linear.x, twist.angular.z = 0.25, -0.75

    def step() -> None:
        stamp = robot.next_stamp()
        data = cv2.imencode(".jpg", pixels(stamp))[1].tobytes()
        msg = CompressedImage(format="jpeg", data=array("B", data))
        set_stamp(msg, stamp)
        actions.publish(twist)
        images.publish(msg)

    robot.until(lambda: len(robot.predictions) > 8, "predictions", step)
    assert list(robot.predictions[-1].actions) == [0.25, -0.75] * 2
    robot.says("image", "0 ok", doing=step)
    assert "/robot1/camera/image_raw/compressed" in robot.value("image", "topic")
    assert "best effort" in robot.value("image", "topic")
    assert "geometry_msgs/msg/Twist, reliable" in robot.value("action", "topic")


def test_a_bad_checkpoint_ends_the_start_with_one_line_and_status_2(tmp_path: Path) -> None:
    result = subprocess.run(
        predictor_command(tmp_path / "nowhere"), env=environment(free_domain()), capture_output=True,
        text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("predictor: ")]
    assert len(lines) == 1
    assert "nowhere" in lines[0]
    assert "Traceback" not in result.stderr


@needs_launch
def test_the_launch_file_brings_the_node_up(tiny_checkpoint: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom launch import LaunchService\n"
        "from launch.actions import IncludeLaunchDescription as Include\n"
        "from launch.launch_description_sources import PythonLaunchDescriptionSource as Source\n"
        "from launch import LaunchDescription\n"
        "arguments = [argument.split(':=') for argument in sys.argv[2:]]\n"
        "service = LaunchService()\n"
        "include = Include(Source(sys.argv[1]), launch_arguments=arguments)\n"
        "service.include_launch_description(LaunchDescription([include]))\n"
        "sys.exit(service.run())\n"
    )
    arguments = [f"checkpoint:={tiny_checkpoint}", "device:=cpu", "namespace:=robot2", "autostart:=true"]
    arguments += ["image_topic:=/camera/image_raw", "action_topic:=/action", "plan_topic:=/plan"]
    command = [sys.executable, "-c", script, str(ROOT / "launch" / "predict.launch.py"), *arguments]
    log = tmp_path / "launch.log"
    with robot_with_predictor(log, *command, node_name="/robot2/predictor") as robot:
        robot.recovers()
        assert robot.state() == "active"
