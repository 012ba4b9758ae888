# SPDX-License-Identifier: Apache-2.0
"""The demo: a simulated robot, the predictor of its camera, and a recorder.

ros2 launch dd_ros demo.launch.py seconds:=30 out:=out/demo

Without ``seconds`` it runs until Ctrl-C; the report is written then.
"""

from collections.abc import Sequence
from typing import Any

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dd_ros.ros.transport import profile_environment
from dd_ros.ros.viewers import VIEWS, viewer
from launch import LaunchContext, LaunchDescription

IMAGE, ACTION, PLAN = "camera/image_raw", "pusher/command", "pusher/plan"
# Arguments: type, default, meaning. Nodes have parameters of the same names.
ARGUMENTS: dict[str, tuple[type, str, str]] = {
    "checkpoint": (str, "pusht", "checkpoint folder, or the name of a shipped one"),
    "device": (str, "auto", "auto, cpu or cuda"),
    "seconds": (float, "0.0", "time to record from the first prediction on; 0 records until Ctrl-C"),
    "out": (str, "out/demo", "folder for video, images and report"),
    "seed": (int, "1", "what the simulated robot does"),
    "namespace": (str, "", "namespace of all nodes"),
}
# Writing the video takes a while; launch shall not kill the recorder meanwhile.
STOP_TIME, REPORT_TIME = "20", "120"
VIEW = "program that shows what is predicted; see docs/view.md"


def node(name: str, parameters: Sequence[str], patience: str = STOP_TIME, **extra: Any) -> Node:
    """The node ``name`` of this package; when it ends, all end.

    Args:
        name: of the node and of its executable.
        parameters: those that arguments of the same names set.
        patience: seconds it gets to end after Ctrl-C, and as many again after SIGTERM.
        extra: more arguments of ``Node``.
    """
    values = {
        key: ParameterValue(LaunchConfiguration(key), value_type=ARGUMENTS[key][0]) for key in parameters
    }
    return Node(
        package="dd_ros",
        executable=name,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[values],
        output="screen",
        on_exit=Shutdown(),
        sigterm_timeout=patience,
        sigkill_timeout=patience,
        **extra,
    )


def view(context: LaunchContext) -> list[Any]:
    """The program to look on with, if any; when it ends, the others go on."""
    names = ("namespace", "checkpoint", "view")
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    found = viewer(given.pop("view"), **given)
    return [*([LogInfo(msg=found.text)] if found.text else []), *([Node(**found.node)] if found.node else [])]


def generate_launch_description() -> LaunchDescription:
    topics = [("image", IMAGE), ("action", ACTION), ("plan", PLAN)]
    heard = [("image", IMAGE), ("prediction", "predictor/prediction")]
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (_, default, text) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument("view", default_value="none", choices=VIEWS, description=VIEW),
            *(SetEnvironmentVariable(name, text) for name, text in profile_environment().items()),
            node("pusht_robot", ["seed"], additional_env={"SDL_VIDEODRIVER": "dummy"}),
            node("predictor", ["checkpoint", "device"], remappings=topics),
            node("recorder", ["seconds", "out"], REPORT_TIME, remappings=heard),
            OpaqueFunction(function=view),
        ]
    )
