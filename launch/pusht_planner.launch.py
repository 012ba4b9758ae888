# SPDX-License-Identifier: Apache-2.0
"""A planner at work: a simulated table, the predictor of its camera, the planner, and a recorder.

ros2 launch dd_ros pusht_planner.launch.py seconds:=60 out:=out/plan
"""

from collections.abc import Mapping
from typing import Any

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.conditions import UnlessCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dd_ros.ros.transport import profile_environment
from launch import LaunchDescription

# Arguments: type, default, meaning. Nodes have parameters of the same names.
ARGUMENTS: dict[str, tuple[type, str, str]] = {
    "checkpoint": (str, "pusht", "checkpoint folder, or the name of a shipped one"),
    "device": (str, "auto", "auto, cpu or cuda"),
    "rate": (
        float,
        "1.0",
        "live predictions per second at most, 0 for one per step; the rest of the time is the planner's",
    ),
    "in_process": (bool, "false", "whether the planner's process predicts too, instead of a node beside it"),
    "seconds": (float, "60.0", "time to record from the first plan on"),
    "out": (str, "out/plan", "folder for video and report"),
    "seed": (int, "1", "start and goals"),
    "samples": (int, "16", "candidates of an iteration"),
    "iterations": (int, "4", "iterations of a plan at most"),
    "cost": (str, "readouts:least", "what plans are rated by"),
    "namespace": (str, "", "namespace of all nodes"),
}
WORKSPACE: Mapping[str, Any] = {
    "low": "28 28",
    "high": "484 484",
    "change": "20 20",
}  # units of the table, per step of 0.1 s
TOPICS = [("image", "camera/image_raw"), ("action", "pusher/command"), ("plan", "pusher/plan")]
# Writing the video takes a while; launch shall not kill the recorder meanwhile.
STOP_TIME, REPORT_TIME = "20", "120"


def node(name: str, *parameters: str, patience: str = STOP_TIME, **extra: Any) -> Node:
    """The node ``name`` of this package; when it ends, all end."""
    values = {
        key: ParameterValue(LaunchConfiguration(key), value_type=ARGUMENTS[key][0]) for key in parameters
    }
    fixed = extra.pop("fixed", {})
    return Node(
        package="dd_ros", executable=name, name=name, namespace=LaunchConfiguration("namespace"),
        parameters=[{**fixed, **values}], output="screen", on_exit=Shutdown(), sigterm_timeout=patience,
        sigkill_timeout=patience, **extra,
    )  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (_, default, text) in ARGUMENTS.items()
            ),
            *(SetEnvironmentVariable(name, text) for name, text in profile_environment().items()),
            node("pusht_table", "seed", additional_env={"SDL_VIDEODRIVER": "dummy"}),
            node(
                "predictor", "checkpoint", "device", "rate", remappings=TOPICS,
                condition=UnlessCondition(LaunchConfiguration("in_process")),
            ),
            node(
                "planner", "checkpoint", "samples", "iterations", "cost", "in_process", remappings=TOPICS, fixed=WORKSPACE,
                ros_arguments=[
                    argument
                    for name in ("device", "rate")
                    for argument in ("-p", [f"predictor:{name}:=", LaunchConfiguration(name)])
                ],
            ),
            node("plan_recorder", "seconds", "out", patience=REPORT_TIME),
        ]
    )  # fmt: skip
