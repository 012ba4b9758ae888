# SPDX-License-Identifier: Apache-2.0
"""The demo: a simulated robot, the predictor of its camera, and a recorder.

ros2 launch dd_ros demo.launch.py seconds:=30 out:=out/demo

Without ``seconds`` it runs until Ctrl-C; the report is written then.
"""

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dd_ros.ros.transport import profile_environment
from launch import LaunchDescription

IMAGE, ACTION, PLAN = "camera/image_raw", "pusher/command", "pusher/plan"
ARGUMENTS = {
    "checkpoint": ("pusht", "checkpoint folder, or the name of a shipped one"),
    "device": ("auto", "auto, cpu or cuda"),
    "seconds": ("0.0", "time to record from the first prediction on; 0 records until Ctrl-C"),
    "out": ("out/demo", "folder for video, pictures and report"),
    "seed": ("1", "what the simulated robot does"),
    "namespace": ("", "namespace of all nodes"),
}
# Writing the video takes a while; launch shall not kill the recorder meanwhile.
STOP_TIME, REPORT_TIME = "20", "120"


def generate_launch_description() -> LaunchDescription:
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    common = {"package": "dd_ros", "namespace": value["namespace"], "output": "screen"}
    patient = {"sigterm_timeout": STOP_TIME}
    robot = Node(
        **common,
        executable="pusht_robot",
        name="pusht_robot",
        parameters=[{"seed": ParameterValue(value["seed"], value_type=int)}],
        additional_env={"SDL_VIDEODRIVER": "dummy"},
        on_exit=Shutdown(),
        **patient,
    )
    predictor = Node(
        **common,
        executable="predictor",
        name="predictor",
        parameters=[
            {
                "checkpoint": ParameterValue(value["checkpoint"], value_type=str),
                "device": ParameterValue(value["device"], value_type=str),
                "autostart": True,
            }
        ],
        remappings=[("image", IMAGE), ("action", ACTION), ("plan", PLAN)],
        on_exit=Shutdown(),
        **patient,
    )
    recorder = Node(
        **common,
        executable="recorder",
        name="recorder",
        parameters=[
            {
                "seconds": ParameterValue(value["seconds"], value_type=float),
                "out": ParameterValue(value["out"], value_type=str),
            }
        ],
        remappings=[("image", IMAGE), ("prediction", "predictor/prediction")],
        sigterm_timeout=REPORT_TIME,
        sigkill_timeout=REPORT_TIME,
        on_exit=Shutdown(),
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            *(SetEnvironmentVariable(name, text) for name, text in profile_environment().items()),
            robot,
            predictor,
            recorder,
        ]
    )
