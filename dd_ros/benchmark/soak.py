# SPDX-License-Identifier: Apache-2.0
"""Faults at random against a running node, and whether it comes back: content, time, crashes, memory.

``python -m dd_ros.benchmark.soak --minutes 30 --checkpoint pusht --out out/soak`` (``make soak``). Node, camera, commander
and subscriber are processes of their own. One phase after the other: a fault for a while, then good data again; the node
has to predict from it, the very frames that a predictor in this process makes of the same scene.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dd_ros.benchmark.expected import SEED, Expected
from dd_ros.benchmark.soak_report import Phase, Sample, figures, markdown, sample
from dd_ros.errors import InputError
from dd_ros.live.ladder import Keep
from dd_ros.live.soak import ACTION_TOPIC, IMAGE_TOPIC, PLAN_TOPIC, Received
from dd_ros.processes import Process, free_domain, interruptible, started
from dd_ros.resources import find_checkpoint, read_config

if TYPE_CHECKING:  # it needs ROS
    from dd_ros.ros.operator import Operator

START = "start"
# What camera, commander and subscriber do by themselves when told its name.
TOLD = (
    "camera gone", "camera drops", "stamps back", "stamps ahead", "stamps stuck", "burst", "120 Hz", "resized images",
    "cut images", "garbage images", "odd encodings", "commands of NaN", "absurd commands", "short commands",
    "no commands", "bad plans", "slow subscriber",
)  # fmt: skip
KILL = "node killed"
# What is done to them from here: the methods of these names.
DONE = (
    "large requests", "frozen subscriber", "busy machine", KILL, "lifecycle", "parameters", "clock changes",
)  # fmt: skip
FAULTS = (*TOLD, *DONE)
KILL_ROUNDS = 60  # the node is killed in the first round and every sixtieth after: memory that grows shows in long lives
ROLES = ("camera", "commander", "subscriber")
FAULT_SPAN = (0.5, 2.0)  # s that a fault lasts
REFILLED = 4  # predictions after which the context holds good frames only
CHECKED = 12  # chunks whose content is compared after a phase
KNOWN = 20  # predictions after the seeding that are known
PATIENCE = 60.0  # s; a node that has not come back by then never will
SLOW = 1.0  # s from which a recovery counts as slow
HOGS = 3
CANDIDATES = 256
POLL = 0.01  # s
SLACK_NS = 250_000_000  # between the moment a frame is judged late and its publication, on a busy machine
DEFAULTS: dict[str, Any] = {"rate": 0.0, "hold_last_action": True, "drop_late": False, "preview_lead": 0.5}


class Soak:
    """A node under fire.

    Args:
        checkpoint: folder or shipped name.
        operator: participant in their domain.
        start: starts a program by name and command; it is gone when the soak ends.
        expected: what the node should predict.
        seed: decides what happens.

    Attributes:
        phases, samples: what was seen so far.
    """

    def __init__(
        self, checkpoint: str | Path, *, operator: Operator, start: Callable[[str, Sequence[str]], Process],
        expected: Expected, seed: int,
    ):  # fmt: skip
        self.phases: list[Phase] = []
        self.samples: list[Sample] = []
        self._checkpoint, self._operator, self._start, self._expected = checkpoint, operator, start, expected
        self._chance = random.Random(seed)
        self._remote = operator.node("/predictor")
        module = [sys.executable, "-m", "dd_ros.ros.soak"]
        others = {role: start(role, [*module, role, str(checkpoint), str(seed)]) for role in ROLES}
        self._others = others
        self._lives = self._tracebacks = 0
        self._node = self._begin_life()

    def run(self, seconds: float, faults: Sequence[str] = FAULTS) -> None:
        """The start, then rounds of faults until the time is over, each fault once in a round (killing: see KILL_ROUNDS)."""
        end = time.monotonic() + seconds
        self._phase(START)
        for number in itertools.count():
            due = [fault for fault in faults if fault != KILL or number % KILL_ROUNDS == 0]
            for fault in self._chance.sample(due or faults, len(due or faults)):
                if time.monotonic() >= end:
                    return
                self._phase(fault)

    def _phase(self, fault: str) -> None:
        phase = Phase(fault)
        self.phases.append(phase)
        seconds = self._chance.uniform(*FAULT_SPAN)
        if fault in TOLD:
            self._operator.tell(fault)
            self._watch(seconds)
        elif fault in DONE:
            getattr(self, "_" + fault.replace(" ", "_"))(seconds)
        self._operator.tell("")
        if fault in (START, KILL):  # loading is no recovery
            self._until(lambda: bool(self._remote.predictions) or self._node.status is not None)
        if self._recovers() and self._until(self._remote.set("seed", SEED).done):
            self._compare()
        log = self._node.log.read_text(errors="replace")
        phase.tracebacks += log.count("Traceback") - self._tracebacks
        self._tracebacks = log.count("Traceback")
        found = sample(self._node.popen.pid, self._lives, time.monotonic() - self._born)
        self.samples += [found] if found else []

    def _recovers(self) -> bool:
        """Whether predictions of good data come, and so many that the context is good."""
        phase, began, stamp = self.phases[-1], time.monotonic(), time.time_ns()
        for index in range(REFILLED):
            found = self._next(stamp)
            if found is None:
                phase.problems.append(f"no prediction of good data within {PATIENCE:.0f} s")
                return False
            if index == 0:
                phase.recovery = time.monotonic() - began
            stamp = found
        return True

    def _next(self, after: int) -> int | None:
        """Stamp of the next prediction that came whole, from an image after ``after``; None where none comes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for chunk in self._taken():
                if chunk.chunk == chunk.chunks - 1 and after < chunk.stamp_ns < time.time_ns():
                    return chunk.stamp_ns
            self._see_to_crashes()
            time.sleep(POLL)
        return None

    def _compare(self) -> None:
        """The next predictions are those of a predictor of our own, one after the other."""
        phase, place, since = (
            self.phases[-1],
            -1,
            time.time_ns(),
        )  # images from before may be older than the seeding
        end = time.monotonic() + PATIENCE
        while phase.checked < CHECKED and time.monotonic() < end:
            for chunk in self._taken():
                if chunk.stamp_ns <= since or phase.checked == CHECKED:
                    continue
                found = self._expected.place(chunk.first_step, chunk.frames)
                phase.checked += 1
                phase.psnr.append(self._expected.psnr(chunk.frames))
                if found is None or found < place:
                    phase.wrong_content += 1
                else:
                    place = found
            self._see_to_crashes()
            time.sleep(POLL)
        if not phase.checked:
            phase.wrong_content += 1
            phase.problems.append("no prediction to compare")

    def _taken(self) -> Iterator[Received]:
        """Chunks that have come; counted, and their times checked, on the way."""
        phase = self.phases[-1]
        while self._remote.predictions:
            chunk = self._remote.predictions.popleft()
            phase.predictions += chunk.chunk == 0
            phase.missed += all(chunk.late)
            wrong = chunk.wrong_times(self._expected.step_ns, SLACK_NS)
            if wrong and phase.fault != "clock changes":  # where the node's clock is another one
                phase.wrong_times += 1
                phase.problems.append(wrong)
            yield chunk

    def _watch(self, seconds: float) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            list(self._taken())
            time.sleep(POLL)

    def _until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; False where the node ended or it took too long, which is a problem of the phase."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if self._node.status is not None or time.monotonic() > end:
                self.phases[-1].problems.append("the node did not answer")
                return False
            time.sleep(POLL)
        return True

    def _begin_life(self) -> Process:
        """Start the node."""
        self._lives += 1
        self._born, self._tracebacks = time.monotonic(), 0
        transport = self._chance.choice(["raw", "compressed"])
        parameters = {
            "checkpoint": find_checkpoint(self._checkpoint).resolve(),
            "device": "cpu",
            "image_transport": transport,
            "action_topic": f"{ACTION_TOPIC}.position[0:{len(self._expected.scene.command)}]",
        }
        command = [sys.executable, "-m", "dd_ros.ros.node", "--ros-args"]
        command += ["-r", f"image:={IMAGE_TOPIC}", "-r", f"plan:={PLAN_TOPIC}"]
        command += [text for name, value in parameters.items() for text in ("-p", f"{name}:={value}")]
        return self._start(f"node{self._lives}", command)

    def _see_to_crashes(self) -> None:
        """A node that ended by itself is counted and started again."""
        if self._node.status is None:
            return
        phase = self.phases[-1]
        phase.crashes += 1
        phase.problems.append(f"the node ended with {self._node.status}: {self._node.last_words()}")
        phase.tracebacks += self._node.log.read_text(errors="replace").count("Traceback") - self._tracebacks
        self._node = self._begin_life()

    def _large_requests(self, seconds: float) -> None:
        dim = len(self._expected.scene.command)
        self._remote.ask(CANDIDATES, dim)
        self._until(self._remote.ask(5000, dim).done)
        self._watch(seconds)

    def _frozen_subscriber(self, seconds: float) -> None:
        self._others["subscriber"].send(signal.SIGSTOP)
        self._watch(seconds)
        self._others["subscriber"].send(signal.SIGCONT)

    def _busy_machine(self, seconds: float) -> None:
        hogs = [self._start("hog", [sys.executable, "-c", "while True: pass"]) for _ in range(HOGS)]
        self._watch(seconds)
        for hog in hogs:
            hog.send(signal.SIGKILL)

    def _node_killed(self, seconds: float) -> None:
        self._node.send(signal.SIGKILL)
        self._node.wait(PATIENCE)
        self._watch(seconds)
        self._remote.predictions.clear()
        self._node = self._begin_life()

    def _lifecycle(self, seconds: float) -> None:
        deep = self._chance.random() < 0.5
        self._change("deactivate", *(["cleanup"] if deep else []))
        self._watch(seconds)
        self._change(*(["configure"] if deep else []), "activate")

    def _change(self, *transitions: str) -> None:
        for transition in transitions:
            reply = self._remote.change(transition)
            if self._until(reply.done) and not getattr(reply.result(), "success", False):
                self.phases[-1].problems.append(f"{transition} failed")

    def _parameters(self, seconds: float) -> None:
        odd = {"rate": -1.0, "schedule": "9-9", "seed": -5, "preview_lead": 1e9, "checkpoint": "other"}
        good = {"rate": 3.0, "hold_last_action": False, "drop_late": True, "preview_lead": 60.0, "seed": 3}
        for values in (odd, good):
            for name, value in self._chance.sample(sorted(values.items()), len(values)):
                self._until(self._remote.set(name, value).done)
        self._watch(seconds)
        for name, value in {**DEFAULTS, "keep": self._chance.choice(get_args(Keep))}.items():
            self._until(self._remote.set(name, value).done)

    def _clock_changes(self, seconds: float) -> None:
        self._until(self._remote.set("use_sim_time", True).done)
        self._watch(seconds)
        self._until(self._remote.set("use_sim_time", False).done)


def soak(
    checkpoint: str | Path, *, seconds: float, out: Path, seed: int = 0, faults: Sequence[str] = FAULTS
) -> dict[str, Any]:
    """Run a soak and write ``soak.json`` and ``soak.md`` into ``out``, with the logs beside them.

    Returns:
        The sums, as ``soak_report.figures``.

    Raises:
        InputError: no ROS here, or a checkpoint that cannot be used.
    """
    try:
        from dd_ros.ros.operator import Operator
        from dd_ros.ros.transport import node_environment
    except ImportError as error:
        raise InputError(f"expected a ROS 2 environment ({error}); run make setup or source one") from error
    config, domain = read_config(checkpoint), free_domain()
    expected = Expected(checkpoint, config, KNOWN)
    env = node_environment(domain) | {"SDL_VIDEODRIVER": "dummy"}
    out.mkdir(parents=True, exist_ok=True)
    with interruptible(), ExitStack() as stack, Operator(domain) as operator:

        def start(name: str, command: Sequence[str]) -> Process:
            return stack.enter_context(started({name: command}, out, env))[name]

        found = Soak(checkpoint, operator=operator, start=start, expected=expected, seed=seed)
        try:
            found.run(seconds, faults)
        except KeyboardInterrupt:
            print("interrupted; the report is of what was seen", file=sys.stderr)
    result = figures(found.phases, found.samples, SLOW)
    everything = {
        **result,
        "seed": seed,
        "phases": [asdict(phase) for phase in found.phases],
        "samples": [item._asdict() for item in found.samples],
    }
    (out / "soak.json").write_text(json.dumps(everything, indent=1))
    (out / "soak.md").write_text(markdown(result, found.phases, found.samples))
    return result


def main() -> int:
    """Print the sums; 1 where a phase failed, 2 where nothing could be tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="pusht", help="folder or shipped name")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0, help="decides what happens when")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder for report and logs")
    args = parser.parse_args()
    try:
        result = soak(args.checkpoint, seconds=60.0 * args.minutes, out=args.out, seed=args.seed)
    except InputError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    print("\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in result.items()))
    print(f"report in {args.out / 'soak.md'}")
    return 1 if result["failed_phases"] else 0


if __name__ == "__main__":
    sys.exit(main())
