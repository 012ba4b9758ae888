# SPDX-License-Identifier: Apache-2.0
"""``dd_ros demo``: robot, predictor and recorder as separate processes on real ROS 2 topics."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dd_ros.config import CheckpointConfig
from dd_ros.data.bags import find_bags
from dd_ros.data.images import IMAGE_TYPES
from dd_ros.data.rosbag import records
from dd_ros.demo.simulate import COMMAND_TOPIC, IMAGE_TOPIC, JOINTS, PLAN_TOPIC
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.resources import find_checkpoint, read_config
from dd_ros.ros.transport import profile_environment

DEFAULT_CHECKPOINT = "pusht"
# The predictor has to be loaded and warm within this time (s), the report written within the other.
START_TIME, REPORT_TIME = 180.0, 180.0
STOP_TIME = 15.0
POLL = 0.2
BAD_INPUT = 2  # exit status


@dataclass(frozen=True)
class Scene:
    """What there is to predict: the node that plays the robot, and its topics, actions as in a checkpoint."""

    command: list[str]
    image_topic: str
    action_topics: tuple[str, ...]
    plan_topic: str
    image_transport: str


def run(seconds: float, out: Path, bag: Path | None = None, checkpoint: str | None = None) -> int:
    """Run the demo and print where the report is.

    Args:
        seconds: time to record from the first prediction on.
        out: folder for video, images, report and the nodes' logs.
        bag: plays this bag (or folder of bags) instead of the simulated robot.
        checkpoint: folder or shipped name.

    Returns:
        0, or 1 when a process died or nothing was predicted; the reason is on stderr.

    Raises:
        InputError: unusable checkpoint, bag or folder, found before the start or by a node.
    """
    name = checkpoint or (DEFAULT_CHECKPOINT if bag is None else "g1_pick")
    scene = simulated(name) if bag is None else recorded(bag, name)
    logs = out / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    domain = free_domain()
    print(f"robot, predictor and recorder run with ROS_DOMAIN_ID={domain}; logs in {logs}", flush=True)
    nodes = {
        "robot": scene.command,
        "predictor": predictor(scene, name),
        "recorder": recorder(scene, seconds, out),
    }
    with started(nodes, logs, environment(domain)) as processes, interruptible():
        try:
            failure = watch(processes, logs, seconds)
        except KeyboardInterrupt:
            processes["recorder"].send_signal(signal.SIGINT)
            failure = finished(processes["recorder"], logs)
    for line in [] if failure else last_lines(logs / "recorder.log", 2):
        print(line)
    if failure:
        print(f"dd_ros demo: {failure}", file=sys.stderr)
    return 1 if failure else 0


def simulated(checkpoint: str) -> Scene:
    """The simulated robot; InputError where the checkpoint does not fit it."""
    config = read_config(checkpoint)
    if config.action.dim != len(JOINTS):
        raise InputError(
            f"checkpoint {checkpoint}: expected {len(JOINTS)} action values for the simulated robot, "
            f"got {config.action.dim}; give a recording of the robot with --bag"
        )
    if importlib.util.find_spec("gym_pusht") is None:
        raise InputError(
            "gym_pusht: not installed; pip install 'dd_ros[demo]', or give a recording with --bag"
        )
    command = [*module("dd_ros.ros.demo.robot"), "--ros-args", "-p", "seed:=1"]
    return Scene(command, IMAGE_TOPIC, (COMMAND_TOPIC,), PLAN_TOPIC, "raw")


def recorded(bag: Path, checkpoint: str) -> Scene:
    """Bags instead of a robot; InputError where they lack the checkpoint's topics."""
    config = read_config(checkpoint)
    for one in find_bags([bag]):
        transport = image_transport(one, config)
    streams = config.streams
    parameters = {"bag": str(bag.resolve()), "checkpoint": str(find_checkpoint(checkpoint).resolve())}
    command = [*module("dd_ros.ros.demo.player"), *ros_arguments({}, parameters)]
    return Scene(command, streams.image_topic, streams.action_topics, "/plan", transport)


def image_transport(bag: Path, config: CheckpointConfig) -> str:
    """``raw`` or ``compressed``; InputError where the bag lacks one of the checkpoint's topics."""
    wanted = set(config.streams.topics)
    types: dict[str, str] = {}
    for record in records(bag, None, Report()):
        types.setdefault(record.topic, record.msgtype)
        if wanted <= set(types):
            break
    missing = sorted(wanted - set(types))
    if missing:
        there = ", ".join(sorted(types)) or "no messages"
        raise InputError(f"{bag}: no messages of {', '.join(missing)}; it holds {there}")
    kind = types[config.streams.image_topic]
    if kind not in IMAGE_TYPES:
        raise InputError(f"{bag}: {config.streams.image_topic} is of type {kind}, expected {IMAGE_TYPES}")
    return "compressed" if kind.endswith("CompressedImage") else "raw"


def module(name: str) -> list[str]:
    """Command that runs a node's module with this very Python, installed or not."""
    return [sys.executable, "-m", name]


def ros_arguments(remappings: Mapping[str, str], parameters: Mapping[str, object]) -> list[str]:
    """``--ros-args`` with remappings and parameters."""
    arguments = ["--ros-args"]
    for name, topic in remappings.items():
        arguments += ["-r", f"{name}:={topic}"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    return arguments


def predictor(scene: Scene, checkpoint: str) -> list[str]:
    """Command of the predictor."""
    remappings = {"image": scene.image_topic, "plan": scene.plan_topic}
    parameters = {
        "action_topic": " ".join(scene.action_topics),
        "checkpoint": find_checkpoint(checkpoint).resolve(),
        "image_transport": scene.image_transport,
    }
    return [*module("dd_ros.ros.node"), *ros_arguments(remappings, parameters)]


def recorder(scene: Scene, seconds: float, out: Path) -> list[str]:
    """Command of the recorder."""
    remappings = {"image": scene.image_topic, "prediction": "/predictor/prediction"}
    parameters = {
        "seconds": float(seconds),
        "out": out.resolve(),
        "patience": START_TIME,
    }
    return [*module("dd_ros.ros.demo.recorder"), *ros_arguments(remappings, parameters)]


def free_domain() -> int:
    """A ROS domain of its own per run; above 101 its ports clash with those the system hands out."""
    return 1 + os.getpid() % 100


def environment(domain: int) -> dict[str, str]:
    """Environment of the nodes: they see each other only, and large images arrive complete."""
    own = {"ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1", "SDL_VIDEODRIVER": "dummy"}
    return os.environ | own | profile_environment()


@contextmanager
def started(
    commands: Mapping[str, list[str]], logs: Path, env: Mapping[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes of their own groups, each with its log; all gone afterwards, whatever happens."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (logs / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, env=dict(env), start_new_session=True
                )
        yield processes
    finally:
        for kill, patience in ((signal.SIGINT, STOP_TIME), (signal.SIGKILL, STOP_TIME)):
            for process in processes.values():
                if process.poll() is None:
                    process.send_signal(kill)
            for process in processes.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(patience)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that no node is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def watch(processes: Mapping[str, subprocess.Popen[bytes]], logs: Path, seconds: float) -> str | None:
    """Wait for the recorder to finish, showing how far it is; why the demo failed, or None."""
    end = time.monotonic() + START_TIME + seconds + REPORT_TIME
    with Console(stderr=True).status("starting") as status:
        while processes["recorder"].poll() is None:
            for name, process in processes.items():
                if name != "recorder" and process.poll() is not None:
                    return died(name, process.returncode, logs)
            if time.monotonic() > end:
                return f"the recorder did not finish within {START_TIME + seconds + REPORT_TIME:.0f} s"
            status.update(progress(logs))
            time.sleep(POLL)
    return finished(processes["recorder"], logs)


def finished(process: subprocess.Popen[bytes], logs: Path) -> str | None:
    """Why the recorder failed, or None."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(REPORT_TIME)
    return died("recorder", process.returncode, logs) if process.returncode else None


def died(name: str, status: int | None, logs: Path) -> str:
    """What to say of a process that ended too early, with its own last words.

    Raises:
        InputError: the process itself complained of bad input.
    """
    words = last_lines(logs / f"{name}.log", 1)
    if status == BAD_INPUT and words:
        raise InputError(words[0])
    return f"the {name} ended with status {status}: {words[0] if words else 'it said nothing'} (log: {logs / f'{name}.log'})"


def progress(logs: Path) -> str:
    """The recorder's last line, without its log header."""
    lines = last_lines(logs / "recorder.log", 1)
    return lines[0].rpartition("]: ")[2] if lines else "starting: loading the checkpoint"


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that are not empty."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [line for line in lines if line.strip()][-count:]
