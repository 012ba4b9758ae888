# SPDX-License-Identifier: Apache-2.0
"""Table, predictor and planner as real processes: plans keep to their bounds, the table executes them, and where there can
be none the robot is held still and the planner says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from dd_ros_msgs.msg import ActionSequence
from harness import LAUNCH, PATIENCE, ROOT, Robot, environment, needs_launch, running
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint
from dd_ros.config import ActionSpec, ReadoutSpec
from dd_ros.data.plans import to_ns
from dd_ros.demo.simulate import COMMAND_TOPIC, IMAGE_TOPIC, PLAN_TOPIC, STATE_NAMES, STATE_TOPIC, STREAMS
from dd_ros.diffusion.schedule import preset
from dd_ros.processes import Process, free_domain
from dd_ros.streams import ActionSource

HORIZON = 16
LOW, HIGH, CHANGE = 28.0, 484.0, 20.0
KEPT = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STEP_NS, MILLISECOND = 100_000_000, 1_000_000
Actions = NDArray[np.float32]
GOAL = [200.0, 300.0, 256.0, 256.0, 1.0, 0.0]


class Scene(NamedTuple):
    """Everything that runs.

    Attributes:
        robot: listens to the planner.
        predictor: its process.
        plans, commands: what was planned and executed, as it came.
    """

    robot: Robot
    predictor: Process
    plans: list[ActionSequence]
    commands: list[JointState]


def pushing_checkpoint(folder: Path) -> Path:
    """A tiny network of random weights for the table, with a head that reads the six numbers of its state."""
    source = ActionSource(topic=STATE_TOPIC, fields=("position[0:6]",), dim=6)
    config = tiny_config(
        streams=STREAMS, action=ActionSpec(dim=2, mean=(256.0, 256.0), std=(90.0, 90.0)), horizon=HORIZON,
        schedule=preset("1", chunk_frames=4, horizon=HORIZON),
        readouts=ReadoutSpec(
            sources=(source,), names=STATE_NAMES, mean=(256.0,) * 4 + (0.0,) * 2, std=(80.0,) * 4 + (0.7,) * 2
        ),
    )  # fmt: skip
    save_checkpoint(folder, config, random_model(config), card="")
    return folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("planner")
    checkpoint, domain = pushing_checkpoint(folder / "checkpoint"), free_domain()
    env = environment(domain) | {"SDL_VIDEODRIVER": "dummy"}
    topics = ["-r", f"image:={IMAGE_TOPIC}", "-r", f"action:={COMMAND_TOPIC}", "-r", f"plan:={PLAN_TOPIC}"]
    common = ["--ros-args", *topics, "-p", f"checkpoint:={checkpoint}"]
    bounds = ["-p", f"low:='{LOW:g}'", "-p", f"high:='{HIGH:g} {HIGH:g}'", "-p", f"change:='{CHANGE:g}'"]
    with ExitStack() as stack:
        found: dict[str, Process] = {}
        for name, module, arguments in (
            ("table", "dd_ros.ros.demo.table", ["--ros-args", "-p", "budget:=100000"]),
            ("predictor", "dd_ros.ros.node", [*common, "-p", "device:=cpu"]),
            ("planner", "dd_ros.ros.planner", [*common, *bounds, "-p", "samples:=6", "-p", "period:=0.2"]),
        ):
            command = [sys.executable, "-m", module, *arguments]
            found[name] = stack.enter_context(running(command, folder / f"{name}.log", env))
        robot = Robot(domain, folder / "planner.log", "/planner")
        stack.callback(robot.close)
        plans: list[ActionSequence] = []
        commands: list[JointState] = []
        robot.node.create_subscription(ActionSequence, PLAN_TOPIC, plans.append, 50)
        robot.node.create_subscription(JointState, COMMAND_TOPIC, commands.append, 50)
        yield Scene(robot, found["predictor"], plans, commands)


def test_a_planner_predicts_in_its_own_process(tmp_path: Path) -> None:
    """One process is both nodes: plans come, predictions go on, each node has its own state; a signal ends both."""
    checkpoint, domain = pushing_checkpoint(tmp_path / "checkpoint"), free_domain()
    env = environment(domain) | {"SDL_VIDEODRIVER": "dummy"}
    topics = ["-r", f"image:={IMAGE_TOPIC}", "-r", f"action:={COMMAND_TOPIC}", "-r", f"plan:={PLAN_TOPIC}"]
    both = [
        "--ros-args",
        *topics,
        "-r",
        "__node:=planner",
        "-p",
        f"checkpoint:={checkpoint}",
        "-p",
        "in_process:=true",
    ]
    both += [
        "-p",
        "predictor:device:=cpu",
        "-p",
        f"low:='{LOW:g}'",
        "-p",
        f"high:='{HIGH:g}'",
        "-p",
        "samples:=6",
    ]
    table = [sys.executable, "-m", "dd_ros.ros.demo.table", "--ros-args", "-p", "budget:=100000"]
    with ExitStack() as stack:
        stack.enter_context(running(table, tmp_path / "table.log", env))
        command = [sys.executable, "-m", "dd_ros.ros.planner", *both]
        process = stack.enter_context(running(command, tmp_path / "planner.log", env))
        robot = Robot(domain, tmp_path / "planner.log", "/planner")
        stack.callback(robot.close)
        plans: list[ActionSequence] = []
        robot.node.create_subscription(ActionSequence, PLAN_TOPIC, plans.append, 50)
        set_goal(robot, GOAL)
        robot.until(lambda: len(real(plans)) >= 5, "five plans")
        robot.says("planner", "0 active")
        assert {"predictor", "planner"} <= set(robot.node.get_node_names())
        predictor = Robot(domain, tmp_path / "planner.log", "/predictor")
        stack.callback(predictor.close)
        predictor.until(lambda: bool(predictor.predictions), "live predictions beside")
        assert predictor.change_state("deactivate")
        robot.says("planner", "2 predictor: expected an active node, got inactive; the robot is held still")
        assert predictor.change_state("activate")
        plans.clear()
        robot.until(lambda: len(real(plans)) >= 2, "plans again")
        process.send(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


@needs_launch
@pytest.mark.parametrize("in_process", ["false", "true"])
def test_the_launch_file_plans_and_writes_what_came_of_it(in_process: str, tmp_path: Path) -> None:
    checkpoint, out, log = (
        pushing_checkpoint(tmp_path / "checkpoint"),
        tmp_path / "out",
        tmp_path / "launch.log",
    )
    command = [sys.executable, "-c", LAUNCH, str(ROOT / "launch" / "pusht_planner.launch.py")]
    command += [
        f"checkpoint:={checkpoint}",
        "device:=cpu",
        f"out:={out}",
        "seconds:=3.0",
        f"in_process:={in_process}",
    ]
    with running(command, log, environment(free_domain())) as process:
        assert process.wait(2 * PATIENCE) == 0, log.read_text()
    found = json.loads((out / "plan.json").read_text())
    assert found["plans"] > 0
    assert found["planner"]["state"] == "active"
    assert ("[predictor-" in log.read_text()) == (in_process == "false"), "a process of its own, or none"
    assert "Traceback" not in log.read_text()


def real(plans: list[ActionSequence]) -> list[ActionSequence]:
    """Plans that are no stop."""
    return [plan for plan in plans if plan.count > 1]


def set_goal(robot: Robot, values: list[float]) -> None:
    if not hasattr(robot, "goals"):
        robot.goals = robot.node.create_publisher(Float64MultiArray, "/planner/goal_state", KEPT)  # type: ignore[attr-defined]
        robot.until(lambda: robot.goals.get_subscription_count() > 0, "the planner to listen")  # type: ignore[attr-defined]
    robot.goals.publish(Float64MultiArray(data=values))  # type: ignore[attr-defined]


def test_plans_keep_to_their_bounds(scene: Scene) -> None:
    scene.robot.until(lambda: len(real(scene.plans)) >= 5, "five plans")
    for plan in real(scene.plans):
        actions = np.array(plan.data).reshape(plan.count, plan.dim)
        assert actions.shape == (HORIZON, 2)
        assert ((actions >= LOW - 1e-3) & (actions <= HIGH + 1e-3)).all()
        assert np.abs(np.diff(actions, axis=0)).max() <= CHANGE + 1e-3
        assert plan.step == pytest.approx(0.1)
    scene.robot.says("planner", "0 active")


def test_the_table_executes_them_by_their_stamps(scene: Scene) -> None:
    scene.robot.until(
        lambda: len(executed(scene)) >= 10, "ten commands, on the move, that were planned for their time"
    )


def executed(scene: Scene) -> list[JointState]:
    """Commands that are what a plan had for their very time, and not what it had for the step before."""
    planned: dict[int, list[tuple[Actions, Actions]]] = {}
    for plan in real(list(scene.plans)):
        actions = np.array(plan.data).reshape(plan.count, 2)
        for step, (before, action) in enumerate(pairwise(actions), start=1):
            time = to_ns(plan.header.stamp) + step * STEP_NS
            planned.setdefault(time // MILLISECOND, []).append((before, action))
    return [
        command
        for command in list(scene.commands)
        if any(
            np.allclose(action, command.position, atol=1e-2)
            and not np.allclose(before, command.position, atol=1e-2)
            for before, action in planned.get(to_ns(command.header.stamp) // MILLISECOND, [])
        )
    ]


def stops(scene: Scene) -> bool:
    """Whether the newest plan is one that holds the robot still."""
    return bool(scene.plans) and scene.plans[-1].count == 1


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ([], ("goal: expected one on ~/goal_state or ~/goal_image, got none", "held still")),
        ([1.0, 2.0], ("goal: expected 6 values (pusher_x", "got 2")),
        ([9000.0, *GOAL[1:]], ("expected a goal in the workspace", "pusher_x = 9000")),
        ([float("inf"), *GOAL[1:]], ("goal: expected finite numbers",)),
    ],
)
def test_without_a_usable_goal_the_robot_is_held_still(
    scene: Scene, goal: list[float], words: tuple[str, ...]
) -> None:
    set_goal(scene.robot, goal)
    scene.robot.says("planner", *words)
    scene.robot.until(lambda: stops(scene), "a plan of one action")
    count = len(real(scene.plans))
    set_goal(scene.robot, GOAL)
    scene.robot.until(lambda: len(real(scene.plans)) > count, "plans again")


def test_a_cost_that_does_not_exist_is_said(scene: Scene) -> None:
    set_parameter(scene.robot, "cost", "nearness")
    scene.robot.says("planner", "cost: expected pixels, latents", "held still")
    set_parameter(scene.robot, "cost", "readouts:least + 0.1*smoothness")
    count = len(real(scene.plans))
    scene.robot.until(lambda: len(real(scene.plans)) > count, "plans again")


def test_a_predictor_that_is_gone_is_said(scene: Scene) -> None:
    scene.robot.until(lambda: bool(real(scene.plans)), "plans")
    scene.predictor.send(signal.SIGKILL)
    scene.robot.says("planner", "predict_rollouts", "held still")
    scene.robot.until(lambda: stops(scene), "a plan of one action")


def set_parameter(robot: Robot, name: str, value: Any) -> None:
    result = robot.set_parameter(name, value)
    assert result.successful, result.reason


def test_the_demo_plans_and_writes_what_came_of_it(tmp_path: Path) -> None:
    checkpoint = pushing_checkpoint(tmp_path / "checkpoint")
    command = [
        sys.executable,
        "-c",
        "from dd_ros.cli import main; main()",
        "demo",
        "--plan",
        "--seconds",
        "8",
    ]
    command += ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "goals reached" in done.stdout
    found = json.loads((tmp_path / "out/plan.json").read_text())
    assert found["plans"] >= 1
    assert found["planner"]["state"] == "active"
    assert (tmp_path / "out/plan.mp4").stat().st_size > 0
