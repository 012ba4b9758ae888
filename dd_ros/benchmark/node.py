# SPDX-License-Identifier: Apache-2.0
"""``dd_ros bench --node``: the real node measured through real topics.

Three processes: the node, a camera (this module run as a program), and the listener that called
``bench_node``. They share one clock, so ages are differences of plain time stamps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from dd_ros_msgs.msg import PredictedVideo
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

from dd_ros.config import CheckpointConfig
from dd_ros.data.plans import to_ns
from dd_ros.errors import InputError
from dd_ros.resources import find_checkpoint
from dd_ros.ros.messages import to_time
from dd_ros.ros.transport import profile_environment

CAMERA = (640, 480)  # width and height of the published images
ACTIONS_PER_IMAGE = 4
IMAGE_TOPIC, ACTION_TOPIC = "/bench/image", "/bench/action"
START_TIME = 120.0  # s for the node to be loaded, warm and predicting
SETTLE_TIME = 3.0  # s of predictions that do not count
STOP_TIME = 15.0  # s for a process to end by itself

DEFINITIONS = {
    "age_ms": "arrival of a prediction's first chunk at another process minus the stamp of the camera image it "
    "was made from (stamped just before publication): camera to node, conversion, waiting for the command, "
    "inference, node to listener",
    "age_last_chunk_ms": "the same for the last chunk of the horizon",
    "missed_deadlines": "chunks that came after the target times of all their frames",
    "late_frames": "predicted frames whose own target time had passed at publication",
    "dropped_frames": "camera images overwritten by newer ones before the node used them, and images that the "
    "transport lost",
    "published": "chunks received; predictions counts the camera images that were predicted from",
}


class Listener:
    """Keeps what the node publishes.

    Attributes:
        chunks: (arrival in ns, message) of every chunk.
        counts: newest counters of the node's diagnostics.
    """

    def __init__(self, domain: int):
        self.chunks: list[tuple[int, PredictedVideo]] = []
        self.counts: dict[str, int] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("bench_listener", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        reliable = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self._node.create_subscription(PredictedVideo, "/predictor/prediction", self._chunk, reliable)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)

    def _chunk(self, message: PredictedVideo) -> None:
        self.chunks.append((time.time_ns(), message))

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            for item in status.values:
                if item.value.isdigit():
                    self.counts[item.key] = int(item.value)

    def listen(self, seconds: float, processes: Mapping[str, subprocess.Popen[bytes]], logs: Path) -> None:
        """Take messages for some seconds; InputError when a process dies meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
            for name, process in processes.items():
                if process.poll() is not None:
                    raise InputError(f"--node: the {name} ended too early; {last_line(logs / name)}")

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def bench_node(
    checkpoint: str | Path, config: CheckpointConfig, device: str, seconds: float = 20.0
) -> dict[str, Any]:
    """Run node and camera as processes of their own for ``seconds`` and measure what arrives here.

    Args:
        checkpoint: folder or shipped name.
        config: its settings.
        device: ``cpu`` or ``cuda``.
        seconds: time that counts, after the node is warm.

    Returns:
        ``age_ms``, ``missed_deadlines``, ``dropped_frames``, ``published`` and more; ``node`` explains.

    Raises:
        InputError: the node or the camera does not run; the message has the last line of its log.
    """
    domain = 1 + os.getpid() % 100  # above 101 its ports clash with those the system hands out
    env = {**os.environ, **profile_environment(), "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"}
    commands = {"node": node_command(checkpoint, device), "camera": camera_command(config)}
    listener = Listener(domain)
    try:
        with tempfile.TemporaryDirectory() as folder, running(commands, Path(folder), env) as processes:
            logs, patience = Path(folder), time.monotonic() + START_TIME
            while not listener.chunks:
                listener.listen(0.2, processes, logs)
                if time.monotonic() > patience:
                    reason = f"no prediction within {START_TIME:.0f} s; {last_line(logs / 'node')}"
                    raise InputError(f"--node: {reason}")
            listener.listen(SETTLE_TIME, processes, logs)
            before, first = dict(listener.counts), len(listener.chunks)
            listener.listen(seconds, processes, logs)
            chunks = listener.chunks[first:]
            listener.listen(1.5, processes, logs)  # the diagnostics come once a second
        return figures(chunks, before, listener.counts, config, seconds)
    finally:
        listener.close()


def figures(
    chunks: Sequence[tuple[int, PredictedVideo]],
    before: Mapping[str, int],
    after: Mapping[str, int],
    config: CheckpointConfig,
    seconds: float,
) -> dict[str, Any]:
    """What the JSON holds of the node.

    Args:
        chunks: (arrival in ns, message), as received in the time that counts.
        before, after: counters of the diagnostics at its ends.
        config: settings of the checkpoint.
        seconds: length of that time.
    """
    ages: dict[str, list[float]] = {"first": [], "last": []}
    for arrival, message in chunks:
        age = (arrival - to_ns(message.header.stamp)) / 1e6
        if message.chunk == 0:
            ages["first"].append(age)
        if message.chunk == message.chunks - 1:
            ages["last"].append(age)
    if not ages["first"] or not ages["last"]:
        raise InputError(f"--node: no whole prediction within {seconds:g} s; is the machine overloaded?")
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in after}
    dropped, lost = grown.get("frames dropped", 0), grown.get("lost images", 0)
    return {
        "age_ms": quantiles(ages["first"]),
        "age_last_chunk_ms": quantiles(ages["last"]),
        "missed_deadlines": sum(all(message.late) for _, message in chunks),
        "late_frames": sum(sum(message.late) for _, message in chunks),
        "dropped_frames": dropped + lost,
        "published": len(chunks),
        "node": {
            "seconds": seconds,
            "camera": list(CAMERA),
            "camera_hz": config.streams.rate_hz,
            "predictions": len(ages["first"]),
            "observed_frames": grown.get("observed frames", 0),
            "overwritten_frames": dropped,
            "lost_images": lost,
            "definitions": DEFINITIONS,
        },
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and max."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    named = {"p50": p50, "p95": p95, "p99": p99, "max": max(values)}
    return {name: round(float(value), 2) for name, value in named.items()}


def node_command(checkpoint: str | Path, device: str) -> list[str]:
    """Command of the predictor, listening to the camera of this module."""
    command = [sys.executable, "-m", "dd_ros.ros.node", "--ros-args"]
    command += ["-r", f"image:={IMAGE_TOPIC}"]
    parameters = {
        "checkpoint": find_checkpoint(checkpoint).resolve(),
        "device": device,
        "action_topic": f"{ACTION_TOPIC}.position",
    }
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    return command


def camera_command(config: CheckpointConfig) -> list[str]:
    """Command of the camera, at the rate and with the action dimension of a checkpoint."""
    return [
        sys.executable,
        "-m",
        "dd_ros.benchmark.node",
        str(config.streams.rate_hz),
        str(config.action.dim),
    ]


@contextmanager
def running(
    commands: Mapping[str, list[str]], logs: Path, env: Mapping[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes by name, their output in ``logs``; all gone afterwards, whatever happens."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (logs / name).open("wb") as log:
                processes[name] = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, env=dict(env), start_new_session=True
                )
        yield processes
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGINT)
        for process in processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIME)
            process.kill()
            process.wait()


def last_line(log: Path) -> str:
    """What a process said last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def camera(rate: float, dim: int) -> None:
    """Publish VGA images at ``rate`` Hz and commands of ``dim`` values more often, until interrupted."""
    node = rclpy.create_node("bench_camera")
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(Image, IMAGE_TOPIC, reliable)
    actions = node.create_publisher(JointState, ACTION_TOPIC, reliable)
    width, height = CAMERA
    pixels = np.random.default_rng(0).integers(0, 256, (2, height * width * 3), np.uint8)
    shots = [
        Image(height=height, width=width, encoding="rgb8", step=3 * width, data=array("B", shot.tobytes()))
        for shot in pixels
    ]
    command = JointState(position=[0.0] * dim)
    period, start, count = 1.0 / (rate * ACTIONS_PER_IMAGE), time.monotonic(), 0
    while rclpy.ok():
        stamp = time.time_ns()
        command.header.stamp = to_time(stamp)
        actions.publish(command)
        if count % ACTIONS_PER_IMAGE == 0:
            shot = shots[count // ACTIONS_PER_IMAGE % 2]
            shot.header.stamp = command.header.stamp
            shot.header.frame_id = "camera"
            images.publish(shot)
        count += 1
        time.sleep(max(0.0, start + count * period - time.monotonic()))


def main(arguments: Sequence[str]) -> None:
    """The camera as a program: rate in Hz and action dimension."""
    rclpy.init()
    try:
        camera(float(arguments[0]), int(arguments[1]))
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
