# SPDX-License-Identifier: Apache-2.0
"""The real node under load, through real topics: what the ladder is good for.

``python -m dd_ros.benchmark.load burn --checkpoint pusht --json burn.json`` counts missed deadlines of the live stream, and of
requests with a deadline, beside processes that burn the cores, with the ladder and without.
``python -m dd_ros.benchmark.load requests --checkpoint pusht --json requests.json`` measures the rate of the live stream alone,
and while a client asks for 16 candidates twice a second.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_ros.benchmark.node import (
    LAST_TIME,
    SETTLE_TIME,
    attend,
    camera_command,
    figures,
    first_of_each,
    node_command,
    wait_for_predictions,
)
from dd_ros.errors import InputError
from dd_ros.live.bench import Arrival
from dd_ros.processes import Process, free_domain, interruptible, started
from dd_ros.resources import read_config

if TYPE_CHECKING:  # it needs ROS
    from dd_ros.ros.bench import Listener

BURN = [sys.executable, "-c", "while True: pass"]
# Parameters of the node. Chunks that are late even so are of no use to a planner, so the ladder is measured without them.
LADDER: dict[str, dict[str, object]] = {
    "with_ladder": {"keep": "horizon", "drop_late": True},
    "without_ladder": {"keep": "all"},
}
PATIENCE = 30.0  # s for a client to end

DEFINITIONS = {
    "missed_percent": "chunks of the live stream published after the times of all their frames, of all published",
    "late_percent": "answers that came after the deadline of their request, of all asked that were not refused",
    "predictions_hz": "predictions per second of which a chunk came",
    "timely_hz": "frames per second that came before the time they are for",
    "rate_kept_percent": "predictions_hz while the client asks, of that alone",
    "frames": "frames of a prediction, on average",
}


class Node:
    """A running node with a camera, and what is measured of it.

    Args:
        listener: hears it.
        processes: all that run.
        logs: folder for more.
        env: environment of all.
        hertz, dim: of the checkpoint's images and actions.
    """

    def __init__(
        self, listener: Listener, processes: Mapping[str, Process], *, logs: Path, env: Mapping[str, str], hertz: float,
        dim: int,
    ):  # fmt: skip
        self._listener, self._processes, self._logs, self._env = listener, dict(processes), logs, env
        self._hertz, self._dim = hertz, dim

    @contextmanager
    def beside(self, **commands: Sequence[str]) -> Iterator[None]:
        """More programs meanwhile."""
        with started(commands, self._logs, self._env) as more:
            self._processes |= more
            yield
            for name in more:
                del self._processes[name]

    def measure(self, seconds: float) -> dict[str, Any]:
        """The live stream, after it has settled."""
        attend(self._listener, self._processes, SETTLE_TIME)
        before, first = self._listener.counters(), len(self._listener.arrivals)
        attend(self._listener, self._processes, seconds)
        arrivals = self._listener.arrivals[first:]
        attend(self._listener, self._processes, LAST_TIME)
        found = figures(
            arrivals, before=before, after=self._listener.counters(), camera_hz=self._hertz, seconds=seconds
        )
        return {**stream(arrivals, seconds), "rung": self._listener.value("rung"), **found}

    def measure_asked(
        self, seconds: float, *, candidates: int, period: float, deadline: float
    ) -> dict[str, Any]:
        """The live stream and the answers while a client asks."""
        arguments = map(str, (candidates, self._dim, period, deadline))
        command = [sys.executable, "-m", "dd_ros.ros.bench_client", *arguments]
        with started({"client": command}, self._logs, self._env) as client:
            self._processes |= client
            found = self.measure(seconds)
            del self._processes["client"]
            client["client"].send(signal.SIGINT)
            if client["client"].wait(PATIENCE) != 0:
                raise InputError(f"the client ended badly; {client['client'].last_words()}")
            answers = json.loads(client["client"].last_words())
        promised = answers["asked"] - answers["refused"]
        answers["late_percent"] = percent(answers["late"], promised)
        return {**found, "requests": answers}


@contextmanager
def running(checkpoint: str | Path, device: str, **parameters: object) -> Iterator[Node]:
    """A node that predicts, with such parameters.

    Raises:
        InputError: no ROS here, or the node does not run.
    """
    try:
        from dd_ros.ros.bench import Listener
        from dd_ros.ros.transport import node_environment
    except ImportError as error:
        raise InputError(f"expected a ROS 2 environment ({error}); run make setup or source one") from error
    config, domain = read_config(checkpoint), free_domain()
    rate, dim = config.streams.rate_hz, config.action.dim
    commands = {
        "node": node_command(checkpoint, device, **parameters),
        "camera": camera_command(rate, dim),
    }
    env, listener = node_environment(domain), Listener(domain)
    try:
        with (
            tempfile.TemporaryDirectory() as logs,
            interruptible(),
            started(commands, Path(logs), env) as processes,
        ):
            wait_for_predictions(listener, processes)
            yield Node(listener, processes, logs=Path(logs), env=env, hertz=rate, dim=dim)
    finally:
        listener.close()


def burn(
    checkpoint: str | Path, device: str, seconds: float, *, burners: int, **asked: Any
) -> dict[str, Any]:
    """Missed deadlines beside processes that burn the cores, with the ladder and without, and of requests with it."""
    result = {}
    for name, parameters in LADDER.items():
        with (
            running(checkpoint, device, **parameters) as node,
            node.beside(**{f"burner{number}": BURN for number in range(burners)}),
        ):
            result[name] = node.measure(seconds)
            result[f"{name}_and_requests"] = node.measure_asked(seconds, **asked)
    return result


def requests(checkpoint: str | Path, device: str, seconds: float, **asked: Any) -> dict[str, Any]:
    """The rate of the live stream alone and while a client asks, with a deadline and without one."""
    with running(checkpoint, device, **LADDER["with_ladder"]) as node:
        alone = node.measure(seconds)
        result = {"alone": alone}
        for name, deadline in (("asked", asked["deadline"]), ("asked_without_deadline", 0.0)):
            result[name] = node.measure_asked(seconds, **(asked | {"deadline": deadline}))
            kept = percent(result[name]["predictions_hz"], alone["predictions_hz"])
            result[name]["rate_kept_percent"] = kept
    return result


def stream(arrivals: Sequence[Arrival], seconds: float) -> dict[str, Any]:
    """Rate, misses and length of the predictions that arrived within ``seconds``."""
    firsts = first_of_each(arrivals)
    frames = [arrival.chunks * len(arrival.late) for arrival in firsts]
    missed = sum(all(arrival.late) for arrival in arrivals)
    return {
        "predictions_hz": round(len(firsts) / seconds, 3),
        "missed_percent": percent(missed, len(arrivals)),
        "timely_hz": round(sum(not late for arrival in arrivals for late in arrival.late) / seconds, 2),
        "frames": round(sum(frames) / len(frames), 2) if frames else 0.0,
    }


def percent(part: float, whole: float) -> float:
    """``part`` of ``whole`` in percent; 0 of nothing."""
    return round(100.0 * part / whole, 3) if whole else 0.0


def main() -> int:
    """Write the figures; 2 where they could not be had."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("burn", "requests"))
    parser.add_argument("--checkpoint", default="pusht", help="folder or shipped name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--burners", type=int, default=2, help="processes that burn the cores")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--period", type=float, default=0.5, help="seconds between two requests")
    parser.add_argument("--deadline", type=float, default=0.5, help="seconds that the node has for an answer")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    args = parser.parse_args()
    asked = {"candidates": args.candidates, "period": args.period, "deadline": args.deadline}
    try:
        if args.mode == "burn":
            found = burn(args.checkpoint, args.device, args.seconds, burners=args.burners, **asked)
        else:
            found = requests(args.checkpoint, args.device, args.seconds, **asked)
    except InputError as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    written = {
        "mode": args.mode, "checkpoint": str(args.checkpoint), "device": args.device, "asked": asked,
        "burners": args.burners if args.mode == "burn" else 0, **found, "definitions": DEFINITIONS,
    }  # fmt: skip
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(written, indent=2) + "\n")
    for name, part in found.items():
        keys = ("predictions_hz", "missed_percent", "timely_hz", "rate_kept_percent", "frames", "rung")
        print(name, {key: part[key] for key in keys if key in part}, part.get("requests", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
