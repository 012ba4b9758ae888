# SPDX-License-Identifier: Apache-2.0
"""``dd_ros demo --plan``: table, predictor, planner and recorder as separate processes on real ROS 2 topics."""

from __future__ import annotations

from pathlib import Path

from dd_ros.demo.simulate import COMMAND_TOPIC, IMAGE_TOPIC, PLAN_TOPIC
from dd_ros.errors import InputError
from dd_ros.processes import free_domain
from dd_ros.resources import find_checkpoint, read_config
from dd_ros.ros.demo.launcher import (
    DEFAULT_CHECKPOINT,
    log_folder,
    module,
    predictor,
    ros_arguments,
    run_nodes,
    simulated,
)

STREAM_HZ = 0.5  # of live predictions, which are for people here: the device is for the planner
SEARCH = {"samples": 12, "iterations": 4, "period": 0.0}
# Units of the table; ``change`` is the most that the pusher's target moves in a step of a tenth of a second.
WORKSPACE = {"low": "28 28", "high": "484 484", "change": "20 20"}


def run(*, seconds: float, out: Path, checkpoint: str | None = None) -> int:
    """Run the demo and print where the video is.

    Args:
        seconds: time to record from the first plan on.
        out: folder for video, report and the nodes' logs.
        checkpoint: folder or shipped name.

    Returns:
        0, or 1 when a process died or nothing was planned; the reason is on stderr.

    Raises:
        InputError: unusable checkpoint or folder, found before the start or by a node.
    """
    name = checkpoint or DEFAULT_CHECKPOINT
    scene = simulated(name)
    if read_config(name).readouts is None:
        raise InputError(
            f"checkpoint {name}: expected one that reads the places of pusher and block off its frames; see dd_ros readout --help"
        )
    logs, domain = log_folder(out), free_domain()
    print(
        f"table, predictor, planner and recorder run with ROS_DOMAIN_ID={domain}; logs in {logs}", flush=True
    )
    parameters = {"checkpoint": find_checkpoint(name).resolve(), "action_topic": COMMAND_TOPIC, **WORKSPACE}
    topics = {"image": IMAGE_TOPIC, "plan": PLAN_TOPIC}
    nodes = {
        "table": [*module("dd_ros.ros.demo.table"), *ros_arguments({}, {"seed": 1})],
        "predictor": [*predictor(scene, name), "-p", f"rate:={STREAM_HZ}"],
        "planner": [*module("dd_ros.ros.planner"), *ros_arguments(topics, parameters | SEARCH)],
        "recorder": [
            *module("dd_ros.ros.demo.plan_recorder"),
            *ros_arguments({}, {"seconds": float(seconds), "out": out.resolve()}),
        ],
    }
    return run_nodes(nodes, logs, domain=domain, seconds=seconds)
