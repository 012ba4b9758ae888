# SPDX-License-Identifier: Apache-2.0
"""``dd_ros bench --node``: the real node measured through real topics.

Three processes: the node, a camera (``dd_ros.ros.bench`` run as a program), and the listener that called
``bench_node``. They share one clock, so ages are differences of plain time stamps.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dd_ros.errors import InputError
from dd_ros.live.bench import ACTION_TOPIC, CAMERA, IMAGE_TOPIC, Arrival, Counters
from dd_ros.processes import Process, first_ended, free_domain, interruptible, started
from dd_ros.resources import find_checkpoint, read_config

if TYPE_CHECKING:  # it needs ROS
    from dd_ros.ros.bench import Listener

START_TIME = 120.0  # s for the node to be loaded, warm and predicting
SETTLE_TIME = 3.0  # s of predictions that do not count
LAST_TIME = 1.5  # s for the last diagnostics, which come once a second
POLL = 0.05  # s

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


def bench_node(checkpoint: str | Path, device: str, seconds: float = 20.0) -> dict[str, Any]:
    """Run node and camera as processes of their own for ``seconds`` and measure what arrives here.

    Args:
        checkpoint: folder or shipped name.
        device: ``cpu`` or ``cuda``.
        seconds: time that counts, after the node is warm.

    Returns:
        ``age_ms``, ``missed_deadlines``, ``dropped_frames``, ``published`` and more; ``node`` explains.

    Raises:
        InputError: no ROS here, or the node or the camera does not run; the message has the last line of its log.
    """
    try:
        from dd_ros.ros.bench import Listener
        from dd_ros.ros.transport import node_environment
    except ImportError as error:
        raise InputError(
            f"--node: no ROS 2 environment ({error}); run make setup or source a ROS installation"
        ) from error
    config, domain = read_config(checkpoint), free_domain()
    rate, dim = config.streams.rate_hz, config.action.dim
    commands = {"node": node_command(checkpoint, device), "camera": camera_command(rate, dim)}
    listener = Listener(domain)
    try:
        with (
            tempfile.TemporaryDirectory() as logs,
            interruptible(),
            started(commands, Path(logs), node_environment(domain)) as processes,
        ):
            wait_for_predictions(listener, processes)
            attend(listener, processes, SETTLE_TIME)
            before, first = listener.counters(), len(listener.arrivals)
            attend(listener, processes, seconds)
            arrivals = listener.arrivals[first:]
            attend(listener, processes, LAST_TIME)
        return figures(arrivals, before=before, after=listener.counters(), camera_hz=rate, seconds=seconds)
    finally:
        listener.close()


def wait_for_predictions(listener: Listener, processes: Mapping[str, Process]) -> None:
    """Until the first chunk is there; InputError where none comes."""
    end = time.monotonic() + START_TIME
    while not listener.arrivals:
        attend(listener, processes, POLL)
        if time.monotonic() > end:
            words = processes["node"].last_words()
            raise InputError(f"--node: no prediction within {START_TIME:.0f} s; {words}")


def attend(listener: Listener, processes: Mapping[str, Process], seconds: float) -> None:
    """Take messages for some seconds; InputError when a process dies meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        listener.listen(POLL)
        ended = first_ended(processes.values())
        if ended is not None:
            raise InputError(f"--node: the {ended.name} ended too early; {ended.last_words()}")


def figures(
    arrivals: Sequence[Arrival], *, before: Counters, after: Counters, camera_hz: float, seconds: float
) -> dict[str, Any]:
    """What the JSON holds of the node.

    Args:
        arrivals: chunks received in the time that counts.
        before, after: counters of the diagnostics at its ends.
        camera_hz: images per second that the camera published.
        seconds: length of that time.

    Raises:
        InputError: not one whole prediction among ``arrivals``.
    """
    firsts = first_of_each(arrivals)
    lasts = [arrival for arrival in arrivals if arrival.chunk == arrival.chunks - 1]
    if not firsts or not lasts:
        raise InputError(f"--node: no whole prediction within {seconds:g} s; is the machine overloaded?")
    observed, dropped, lost = (new - old for new, old in zip(after, before, strict=True))
    return {
        "age_ms": quantiles(firsts),
        "age_last_chunk_ms": quantiles(lasts),
        "missed_deadlines": sum(all(arrival.late) for arrival in arrivals),
        "late_frames": sum(sum(arrival.late) for arrival in arrivals),
        "dropped_frames": dropped + lost,
        "published": len(arrivals),
        "node": {
            "seconds": seconds,
            "camera": list(CAMERA),
            "camera_hz": camera_hz,
            "predictions": len(firsts),
            "observed_frames": observed,
            "overwritten_frames": dropped,
            "lost_images": lost,
            "definitions": DEFINITIONS,
        },
    }


def first_of_each(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """The first chunk that came of each prediction: where late ones are left out (``drop_late``) it need not be number 0."""
    found: dict[int, Arrival] = {}
    for arrival in arrivals:
        found.setdefault(arrival.stamp_ns, arrival)
    return list(found.values())


def quantiles(arrivals: Sequence[Arrival]) -> dict[str, float]:
    """p50, p95, p99 and max of the ages at arrival in ms."""
    ages = [(arrival.received_ns - arrival.stamp_ns) / 1e6 for arrival in arrivals]
    p50, p95, p99 = np.percentile(ages, (50, 95, 99))
    named = {"p50": p50, "p95": p95, "p99": p99, "max": max(ages)}
    return {name: round(float(value), 2) for name, value in named.items()}


def node_command(checkpoint: str | Path, device: str, **more: object) -> list[str]:
    """Command of the predictor, listening to the camera; ``more`` are parameters."""
    command = [sys.executable, "-m", "dd_ros.ros.node", "--ros-args"]
    command += ["-r", f"image:={IMAGE_TOPIC}"]
    parameters = {
        "checkpoint": find_checkpoint(checkpoint).resolve(),
        "device": device,
        "action_topic": f"{ACTION_TOPIC}.position",
        **more,
    }
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    return command


def camera_command(rate: float, dim: int) -> list[str]:
    """Command of the camera: images at ``rate`` Hz, commands of ``dim`` values."""
    return [sys.executable, "-m", "dd_ros.ros.bench", str(rate), str(dim)]
