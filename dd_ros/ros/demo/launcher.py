# SPDX-License-Identifier: Apache-2.0
"""``dd_ros demo``: robot, predictor and recorder as separate processes on real ROS 2 topics."""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dd_ros.config import CheckpointConfig
from dd_ros.console import from_checkout
from dd_ros.data.bags import find_bags
from dd_ros.data.images import IMAGE_TYPES
from dd_ros.data.lerobot import keys_of, set_of
from dd_ros.data.lerobot.episodes import reader_at
from dd_ros.data.rosbag import records
from dd_ros.data.video import format_of
from dd_ros.demo.simulate import COMMAND_TOPIC, IMAGE_TOPIC, JOINTS, PLAN_TOPIC
from dd_ros.errors import InputError, meant
from dd_ros.processes import Process, first_ended, free_domain, interruptible, started
from dd_ros.report import Report
from dd_ros.resources import find_checkpoint, read_config
from dd_ros.ros.topics import ros_name
from dd_ros.ros.transport import TRANSPORT_TYPES, node_environment
from dd_ros.streams import StreamSpec
from dd_ros.view.sinks import Sink

DEFAULT_CHECKPOINT = "pusht"
# The predictor has to be loaded and warm within this time (s), the report written within the other.
START_TIME, REPORT_TIME = 180.0, 180.0
POLL = 0.2
BAD_INPUT = 2  # exit status


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What there is to predict: the node that plays the robot, and its topics, actions as in a checkpoint."""

    command: list[str]
    image_topic: str
    action_topics: tuple[str, ...]
    plan_topic: str
    image_transport: str


def run(
    *, seconds: float, out: Path, bag: Path | None = None, checkpoint: str | None = None,
    image_topic: str | None = None, action_topics: Sequence[str] = (), delay: float = 0.0, view: bool = False,
    save: Path | None = None,
) -> int:  # fmt: skip
    """Run the demo and print where the report is.

    Args:
        seconds: time to record from the first prediction on.
        out: folder for video, images, report and the nodes' logs.
        bag: plays this bag (or folder of bags, or LeRobot data set) instead of the simulated robot.
        checkpoint: folder or shipped name.
        image_topic, action_topics: of the bag, instead of those the checkpoint names; actions as
            ``streams.parse_actions`` takes them.
        delay: seconds by which images reach the predictor late; above 0 the recording is of a predictive display.
        view: look on with rerun.
        save: look on, and write a recording instead of showing it.

    Returns:
        0, or 1 when a process died or nothing was predicted; the reason is on stderr.

    Raises:
        InputError: unusable checkpoint, bag or folder, found before the start or by a node.
    """
    name = checkpoint or (DEFAULT_CHECKPOINT if bag is None else "g1_pick")
    if bag is None and (image_topic or action_topics):
        raise InputError("--image-topic and --action-topic: expected with --bag, whose topics they name")
    check_delay(delay, name)
    scene = simulated(name) if bag is None else recorded(bag, name, image_topic, action_topics=action_topics)
    logs, domain = log_folder(out), free_domain()
    print(f"robot, predictor and recorder run with ROS_DOMAIN_ID={domain}; logs in {logs}", flush=True)
    nodes = {"robot": scene.command}
    if delay:
        nodes["delay"] = delayer(scene, delay)
    nodes["predictor"] = predictor(scene, name, late=delay > 0.0)
    nodes["recorder"] = display(scene, name, seconds, out, delay) if delay else recorder(scene, seconds, out)
    if view or save:
        sink = Sink(save=save)
        sink.check()
        nodes["viewer"] = viewer(scene, name, sink)
        print(sink.where, flush=True)
    return run_nodes(nodes, logs, domain=domain, seconds=seconds)


def log_folder(out: Path) -> Path:
    """The folder for the nodes' logs, made; InputError where that is impossible."""
    logs = out / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    return logs


def run_nodes(nodes: Mapping[str, Sequence[str]], logs: Path, *, domain: int, seconds: float) -> int:
    """Run the commands of ``nodes`` until the one called ``recorder`` has ended, and print its last two lines.

    Returns:
        0, or 1 when a process died or nothing was recorded; the reason is on stderr.

    Raises:
        InputError: of a node.
    """
    env = node_environment(domain) | {"SDL_VIDEODRIVER": "dummy"}
    with interruptible(), started(nodes, logs, env) as processes:
        recording = processes["recorder"]
        try:
            failure = watch(processes, seconds)
        except KeyboardInterrupt:
            recording.send(signal.SIGINT)
            failure = finished(recording)
        for line in [] if failure else recording.last_lines(2):
            print(line)
    if failure:
        print(f"dd_ros demo: {failure}", file=sys.stderr)
    return 1 if failure else 0


def check_delay(delay: float, checkpoint: str) -> None:
    """InputError where no prediction reaches as far as images are late."""
    config = read_config(checkpoint)
    reach = config.horizon / config.streams.rate_hz
    if delay >= reach:
        raise InputError(
            f"--delay {delay:g}: expected less than the {reach:.2f} s that checkpoint {checkpoint} looks ahead"
        )


def simulated(checkpoint: str) -> Scene:
    """The simulated robot; InputError where the checkpoint does not fit it."""
    config = read_config(checkpoint)
    if config.action.dim != len(JOINTS):
        raise InputError(
            f"checkpoint {checkpoint}: expected {len(JOINTS)} action values for the simulated robot, "
            f"got {config.action.dim}; give a recording of the robot with --bag"
        )
    if importlib.util.find_spec("gym_pusht") is None:
        raise InputError(f"gym_pusht: not installed; {from_checkout('demo')}, or give a recording with --bag")
    command = [*module("dd_ros.ros.demo.robot"), "--ros-args", "-p", "seed:=1"]
    return Scene(
        command=command, image_topic=IMAGE_TOPIC, action_topics=(COMMAND_TOPIC,), plan_topic=PLAN_TOPIC,
        image_transport="raw",
    )  # fmt: skip


def recorded(
    bag: Path, checkpoint: str, image_topic: str | None = None, *, action_topics: Sequence[str] = ()
) -> Scene:
    """Recordings instead of a robot; InputError where they lack the checkpoint's topics, or those given instead."""
    config = read_config(checkpoint)
    streams = config.streams.with_topics(image_topic, action_topics)
    transport, actions = "raw", tuple(action_topics) or streams.action_topics
    for one in find_bags([bag]):
        if set_of(one):
            actions = set_topics(one, streams, config)
        else:
            transport = image_transport(one, streams)
    parameters = {
        "bag": str(bag.resolve()),
        "checkpoint": str(find_checkpoint(checkpoint).resolve()),
        **({"image_topic": image_topic} if image_topic else {}),
        **({"action_topic": " ".join(action_topics)} if action_topics else {}),
    }
    command = [*module("dd_ros.ros.demo.player"), *ros_arguments({}, parameters)]
    return Scene(
        command=command, image_topic=ros_name(streams.image_topic), action_topics=actions, plan_topic="/plan",
        image_transport=transport,
    )  # fmt: skip


def set_topics(bag: Path, streams: StreamSpec, config: CheckpointConfig) -> tuple[str, ...]:
    """Topics on which the player publishes the commands of a data set's episode, with their fields.

    Raises:
        InputError: the data set lacks a feature, or has another number of values than the checkpoint.
    """
    dim, features = (
        reader_at(bag.parent, streams).dim,
        [key for source in streams.actions for key in keys_of(source)],
    )
    if dim != config.action.dim:
        raise InputError(
            f"{bag.parent}: {', '.join(features)}: expected {config.action.dim} action values as in "
            f"checkpoint {config.name}, got {dim}; choose another --action-topic or checkpoint"
        )
    return tuple(f"{ros_name(source.topic)}.position" for source in streams.actions)


def image_transport(bag: Path, streams: StreamSpec) -> str:
    """``raw`` or ``compressed``, as the player sends them; InputError where the bag lacks one of the topics."""
    wanted, video = set(streams.topics), False
    types: dict[str, str] = {}
    for record in records(bag, None, Report()):
        types.setdefault(record.topic, record.msgtype)
        video = video or (record.topic == streams.image_topic and bool(format_of(record)))
        if wanted <= set(types):
            break
    missing = sorted(wanted - set(types))
    if missing:
        there = ", ".join(sorted(types)) or "no messages"
        raise InputError(
            f"{bag}: no messages of {', '.join(missing)}; it holds {there}{meant(missing[0], sorted(types))}"
        )
    kind = types[streams.image_topic]
    if video:
        return "raw"  # decoded by the player
    if kind not in IMAGE_TYPES:
        raise InputError(f"{bag}: {streams.image_topic} is of type {kind}, expected {IMAGE_TYPES}")
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


def predictor(scene: Scene, checkpoint: str, *, late: bool = False) -> list[str]:
    """Command of the predictor; where images are ``late``, of those, and it makes up for it."""
    topic = f"{scene.image_topic}/delayed" if late else scene.image_topic
    remappings = {"image": topic, "plan": scene.plan_topic}
    parameters: dict[str, object] = {
        "action_topic": " ".join(scene.action_topics),
        "checkpoint": find_checkpoint(checkpoint).resolve(),
        "image_transport": scene.image_transport,
        **({"preview_lead": 0.0} if late else {}),
    }
    return [*module("dd_ros.ros.node"), *ros_arguments(remappings, parameters)]


def delayer(scene: Scene, delay: float) -> list[str]:
    """Command of the node that makes the camera late."""
    kind = TRANSPORT_TYPES[scene.image_transport]
    parameters = {"topic": scene.image_topic, "type": kind, "seconds": float(delay)}
    return [*module("dd_ros.ros.demo.delay"), *ros_arguments({}, parameters)]


def display(scene: Scene, checkpoint: str, seconds: float, out: Path, delay: float) -> list[str]:
    """Command of the node that compares what the late camera, the predictor and the camera show."""
    remappings = {
        "image": scene.image_topic,
        "delayed": f"{scene.image_topic}/delayed",
        "predicted_image": "/predictor/predicted_image",
    }
    parameters = {
        "seconds": float(seconds),
        "out": out.resolve(),
        "patience": START_TIME,
        "delay": float(delay),
        "type": TRANSPORT_TYPES[scene.image_transport],
        "checkpoint": read_config(checkpoint).name,
    }
    return [*module("dd_ros.ros.demo.display"), *ros_arguments(remappings, parameters)]


def recorder(scene: Scene, seconds: float, out: Path) -> list[str]:
    """Command of the recorder."""
    remappings = {"image": scene.image_topic, "prediction": "/predictor/prediction"}
    parameters = {
        "seconds": float(seconds),
        "out": out.resolve(),
        "patience": START_TIME,
    }
    return [*module("dd_ros.ros.demo.recorder"), *ros_arguments(remappings, parameters)]


def viewer(scene: Scene, checkpoint: str, sink: Sink) -> list[str]:
    """Command of the viewer."""
    parameters = {
        "image_topic": scene.image_topic,
        "action_topic": " ".join(scene.action_topics),
        "checkpoint": find_checkpoint(checkpoint).resolve(),
        **({} if sink.save is None else {"save": sink.save.resolve()}),
    }
    return [*module("dd_ros.ros.viewer"), *ros_arguments({}, parameters)]


def watch(processes: Mapping[str, Process], seconds: float) -> str | None:
    """Wait for the recorder to finish, showing how far it is; why the demo failed, or None."""
    recording = processes["recorder"]
    others = [process for process in processes.values() if process is not recording]
    end = time.monotonic() + START_TIME + seconds + REPORT_TIME
    with Console(stderr=True).status("starting") as status:
        while recording.status is None:
            ended = first_ended(others)
            if ended is not None:
                return died(ended)
            if time.monotonic() > end:
                return f"the recorder did not finish within {START_TIME + seconds + REPORT_TIME:.0f} s"
            status.update(progress(recording))
            time.sleep(POLL)
    return finished(recording)


def finished(recording: Process) -> str | None:
    """Why the recorder failed, or None."""
    if recording.wait(REPORT_TIME) is None:
        return f"the recorder did not finish within {REPORT_TIME:.0f} s"
    return died(recording) if recording.status else None


def died(process: Process) -> str:
    """What to say of a process that ended too early, with its own last words.

    Raises:
        InputError: the process itself complained of bad input.
    """
    if process.status == BAD_INPUT and process.last_lines(1):
        raise InputError(process.last_words())
    return (
        f"the {process.name} ended with status {process.status}: {process.last_words()} (log: {process.log})"
    )


def progress(recording: Process) -> str:
    """The recorder's last line, without its log header."""
    lines = recording.last_lines(1)
    return lines[0].rpartition("]: ")[2] if lines else "starting: loading the checkpoint"
