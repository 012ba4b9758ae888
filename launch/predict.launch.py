# SPDX-License-Identifier: Apache-2.0
"""The predictor on a robot's topics, configured and active.

ros2 launch dd_ros predict.launch.py image_topic:=/camera/image_raw action_topic:=/cmd_vel checkpoint:=g1_pick
"""

from typing import Any

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from dd_ros.ros.transport import profile_environment
from dd_ros.ros.viewers import VIEWS, viewer
from launch import LaunchContext, LaunchDescription

# Arguments that set the node's parameter of the same name; empty leaves it to params_file.
PARAMETERS = {
    "checkpoint": "checkpoint folder, or the name of a shipped one",
    "device": "auto, cpu or cuda",
    "image_transport": "raw or compressed",
    "action_topic": "topics of the commands as executed, with spaces between; fields as in /cmd_vel.linear.x,angular.z",
    "autostart": "true: configure and activate at start",
    "use_sim_time": "true: take the time from /clock",
}
# Arguments that remap the node's topics; empty keeps the name, or takes the checkpoint's topic.
TOPICS = {
    "image_topic": "camera topic",
    "plan_topic": "topic of the commands the robot means to take",
}
OTHERS = {
    "params_file": "YAML file with parameters; see config/predictor.yaml",
    "namespace": "namespace of the node",
}
SWITCHES = ("autostart", "use_sim_time")
VIEW = "program that shows what is predicted; see docs/view.md"


def predictor(context: LaunchContext) -> list[Node]:
    """The node, with what was given on the command line."""
    given = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *TOPICS, *OTHERS)}
    parameters = {
        name: given[name].lower() == "true" if name in SWITCHES else given[name]
        for name in PARAMETERS
        if given[name]
    }
    remappings = [(name.removesuffix("_topic"), given[name]) for name in TOPICS if given[name]]
    return [
        Node(
            package="dd_ros",
            executable="predictor",
            name="predictor",
            namespace=given["namespace"],
            parameters=[*([given["params_file"]] if given["params_file"] else []), parameters],
            remappings=remappings,
            output="screen",
        )
    ]


def view(context: LaunchContext) -> list[Any]:
    """The program to look on with, if any."""
    names = ("namespace", "checkpoint", "action_topic", "use_sim_time", "view")
    given: dict[str, Any] = {name: LaunchConfiguration(name).perform(context) for name in names}
    given["use_sim_time"] = given["use_sim_time"].lower() == "true"
    found = viewer(given.pop("view"), **given)
    return [*([LogInfo(msg=found.text)] if found.text else []), *([Node(**found.node)] if found.node else [])]


def generate_launch_description() -> LaunchDescription:
    arguments = {**PARAMETERS, **TOPICS, **OTHERS}
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value="", description=text)
                for name, text in arguments.items()
            ),
            DeclareLaunchArgument("view", default_value="none", choices=VIEWS, description=VIEW),
            *(SetEnvironmentVariable(name, value) for name, value in profile_environment().items()),
            OpaqueFunction(function=predictor),
            OpaqueFunction(function=view),
        ]
    )
