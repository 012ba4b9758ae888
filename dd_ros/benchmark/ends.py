# SPDX-License-Identifier: Apache-2.0
"""How the node ends: signals at random times in every phase of its life, each on a node of its own.

``python -m dd_ros.benchmark.ends --signals 100 --checkpoint pusht`` prints a line per signal and fails when one end was
not clean. The phases: ``start`` (from the process's first line on: imports, loading), ``configure`` (the node is there and
loads), ``predicting``, ``asked`` (256 rollouts requested and the answer under way) and ``twice`` (predicting, a second
signal right after the first).
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dd_ros.benchmark.node import camera_command, node_command
from dd_ros.errors import InputError
from dd_ros.processes import Process, free_domain, interruptible, started
from dd_ros.resources import read_config

if TYPE_CHECKING:  # it needs ROS
    from dd_ros.ros.operator import Remote

PHASES = ("start", "configure", "predicting", "asked", "twice")
STARTING = ("start", "configure")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
AT_ONCE = 4  # nodes that live at the same time
START_SPAN = 4.0  # s after a node's first line in which signals of its start come
WORK_SPAN = 0.5  # s after a node's appearance, first prediction, or a request, in which the others come
BETWEEN_TWO = 0.05  # s between two signals to one node
PATIENCE = 120.0  # s; a limit for broken code
CANDIDATES = 256
LAST_WORDS = 4000  # characters of the log of a node that ended badly
POLL = 0.02  # s


class Plan(NamedTuple):
    """One signal: the phase it comes in, its number, and seconds after that phase began."""

    phase: str
    number: signal.Signals
    delay: float


class End(NamedTuple):
    """How a node ended.

    Attributes:
        plan: what it got.
        status: exit status; None where it had to be killed, or did not come to the plan's phase.
        seconds: from the signal to the end, or spent in waiting for the phase.
        log: all it said.
    """

    plan: Plan
    status: int | None
    seconds: float
    log: str

    @property
    def traceback(self) -> bool:
        """Whether there is one in its log."""
        return "Traceback" in self.log

    @property
    def clean(self) -> bool:
        """Status 0 and no traceback; how long it took is judged by whoever knows the machine."""
        return self.status == 0 and not self.traceback

    def __str__(self) -> str:
        state = "clean" if self.clean else "NOT CLEAN"
        return (
            f"{self.plan.number.name} {self.plan.delay:.2f} s into {self.plan.phase}: {state}, status {self.status}, "
            f"{self.seconds:.2f} s"
            + ("" if self.clean else f"; the end of its log:\n{self.log[-LAST_WORDS:]}")
        )


def plans(count: int, seed: int) -> list[Plan]:
    """``count`` signals, all phases in turn, at random times."""
    chance, made = random.Random(seed), []
    for index in range(count):
        phase = PHASES[index % len(PHASES)]
        span = START_SPAN if phase == "start" else WORK_SPAN
        made.append(Plan(phase, chance.choice(SIGNALS), chance.uniform(0.0, span)))
    return made


def ends(checkpoint: str | Path, count: int, *, seed: int = 0, device: str = "cpu") -> Iterator[End]:
    """Start nodes, signal them, and tell how each ended.

    Raises:
        InputError: no ROS here, or a checkpoint that cannot be used.
    """
    try:
        from dd_ros.ros.operator import Operator
        from dd_ros.ros.transport import node_environment
    except ImportError as error:
        raise InputError(f"expected a ROS 2 environment ({error}); run make setup or source one") from error
    config, domain = read_config(checkpoint), free_domain()
    env = node_environment(domain) | {"OMP_NUM_THREADS": "1"}
    camera = {"camera": camera_command(config.streams.rate_hz, config.action.dim)}
    with (
        tempfile.TemporaryDirectory() as folder,
        interruptible(),
        started(camera, Path(folder), env),
        Operator(domain) as operator,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def end(index: int, plan: Plan) -> End:
            name = f"node{index}"
            command = [*node_command(checkpoint, device), "-r", f"__ns:=/{name}"]
            with started({name: command}, Path(folder), env) as processes:
                return _end(processes[name], plan, operator.node(f"/{name}/predictor"), config.action.dim)

        yield from pool.map(end, range(count), plans(count, seed))


def _end(process: Process, plan: Plan, node: Remote, dim: int) -> End:
    """Wait for the phase and the moment of the signal, send it, and see what comes."""
    begun = time.monotonic()
    reached = {"start": lambda: catches(process, signal.SIGTERM), "configure": node.there}.get(
        plan.phase, lambda: bool(node.predictions)
    )
    while not reached():
        spent = time.monotonic() - begun
        if process.status is not None or spent > PATIENCE:
            process.send(signal.SIGABRT)  # a node that hangs says where each of its threads is
            process.wait(PATIENCE)
            return End(plan, None, spent, process.log.read_text(errors="replace"))
        time.sleep(POLL)
    if plan.phase == "asked":
        node.ask(CANDIDATES, dim)
    time.sleep(plan.delay)
    process.send(plan.number)
    sent = time.monotonic()
    if plan.phase == "twice":
        time.sleep(BETWEEN_TWO)
        process.send(plan.number)
    status = process.wait(PATIENCE)
    seconds = time.monotonic() - sent
    return End(plan, status, seconds, process.log.read_text(errors="replace"))


def catches(process: Process, number: signal.Signals) -> bool:
    """Whether the program has a handler for a signal; SIGTERM's is our first line, SIGINT has Python's before it."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)


def main() -> int:
    """Print how each node ended; 1 where one was not clean, 2 where it could not be tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="pusht", help="folder or shipped name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = []
    try:
        for end in ends(args.checkpoint, args.signals, seed=args.seed, device=args.device):
            print(end, flush=True)
            found.append(end)
    except InputError as error:
        print(f"ends: {error}", file=sys.stderr)
        return 2
    working = [end.seconds for end in found if end.plan.phase not in STARTING and end.status is not None]
    clean = sum(end.clean for end in found)
    print(f"{clean} of {len(found)} clean; a working node took at most {max(working, default=0.0):.2f} s")
    return 0 if clean == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
