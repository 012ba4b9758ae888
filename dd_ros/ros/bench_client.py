# SPDX-License-Identifier: Apache-2.0
"""A client that asks a predictor for rollouts at a fixed rate, as a program; the last line of its output is what it found.

``python -m dd_ros.ros.bench_client CANDIDATES DIM PERIOD DEADLINE`` asks for CANDIDATES of DIM values every PERIOD seconds,
whether or not the last answer is there, each to be answered within DEADLINE seconds (0: whenever), until interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take seconds
    from dd_ros.ros.signals import leave_at_once_when_signalled

    leave_at_once_when_signalled()

import json
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from dd_ros.ros.messages import to_time
from dd_ros.ros.signals import Ending, noted

OPEN = 256  # requests that may be open


class Client:
    """Asks, and keeps what comes.

    Args:
        candidates, dim: of a request.
        deadline: seconds that the node has; 0: any.
    """

    def __init__(self, candidates: int, dim: int, deadline: float):
        self._node = rclpy.create_node("bench_client")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._client: Any = self._node.create_client(
            PredictRollouts, "/predictor/predict_rollouts", qos_profile=QoSProfile(depth=OPEN)
        )
        rows = np.random.default_rng(0).normal(size=(candidates, dim)).astype(np.float32)
        self._candidates = [ActionSequence(count=1, dim=dim, data=array("f", row.tobytes())) for row in rows]
        self._deadline = deadline
        self._asked = self._late = self._reduced = 0
        self._answers: list[tuple[float, int, str]] = []
        self._refusals: Counter[str] = Counter()
        self._refused_ms: list[float] = []

    def ask(self) -> None:
        """One request; its answer is noted when it comes."""
        now = time.time_ns()
        request = PredictRollouts.Request(candidates=self._candidates)
        if self._deadline:
            request.deadline = to_time(now + round(1e9 * self._deadline))
        self._asked += 1
        future: Future[Any] = self._client.call_async(request)
        future.add_done_callback(lambda done: self._note(done.result(), (time.time_ns() - now) / 1e6))

    def _note(self, answer: PredictRollouts.Response, milliseconds: float) -> None:
        if not answer.success:
            self._refusals[answer.message] += 1
            self._refused_ms.append(milliseconds)
            return
        self._late += bool(self._deadline) and milliseconds > 1e3 * self._deadline
        self._reduced += answer.reduced
        self._answers.append((milliseconds, answer.candidates, answer.schedule))

    def turn(self, seconds: float) -> None:
        """Take what comes for so long."""
        self._executor.spin_once(timeout_sec=seconds)

    def figures(self) -> dict[str, Any]:
        """Counts, latencies in ms, and what was rolled out."""
        milliseconds = [answer[0] for answer in self._answers]
        return {
            "asked": self._asked,
            "answered": len(self._answers),
            "late": self._late,
            "reduced": self._reduced,
            "answer_ms": quantiles(milliseconds),
            "candidates": {"mean": round(float(np.mean([a[1] for a in self._answers] or [0])), 2)},
            "schedules": dict(Counter(answer[2] for answer in self._answers).most_common(5)),
            "refused": sum(self._refusals.values()),
            "refused_ms": quantiles(self._refused_ms),
            "refusals": dict(self._refusals.most_common(3)),
        }

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()


def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max; empty of nothing."""
    if not milliseconds:
        return {}
    named = zip(("p50", "p99", "max"), np.percentile(milliseconds, (50, 99, 100)), strict=True)
    return {name: round(float(value), 1) for name, value in named}


def asking(client: Client, period: float, ending: Ending) -> None:
    """Ask every ``period`` seconds until a signal comes."""
    due = time.monotonic()
    while not ending.asked:
        if time.monotonic() >= due:
            client.ask()
            due += period
        client.turn(max(0.0, min(due - time.monotonic(), 0.05)))


def main(arguments: Sequence[str]) -> None:
    """The client as a program."""
    candidates, dim, period, deadline = arguments
    with noted() as ending:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        client = Client(int(candidates), int(dim), float(deadline))
        asking(client, float(period), ending)
        print(json.dumps(client.figures()), flush=True)
        client.close()
        rclpy.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
