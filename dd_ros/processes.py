# SPDX-License-Identifier: Apache-2.0
"""Programs in processes of their own: started together, watched, and none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

PATIENCE = 15.0  # s that all processes together get to end by themselves
DOMAINS = 100  # ROS domains to choose from; above 101 their ports clash with those the system hands out
# UDP: the first one that a program in domain 0 takes, one that none takes, and from there to the next domain's.
FIRST_PORT, UNUSED_PORT, PORTS_PER_DOMAIN = 7410, 7402, 250
CLAIMS = 8  # domains that a program keeps to itself; by the time that there are more, whoever it started is in the first

_domains = count()
_claims: deque[socket.socket] = deque()


@dataclass(frozen=True)
class Process:
    """A program that was started, with the process group that it leads.

    Attributes:
        name: what to call it.
        log: file with all that it writes, stdout and stderr.
        popen: its handle.
    """

    name: str
    log: Path
    popen: subprocess.Popen[bytes]

    @property
    def status(self) -> int | None:
        """Exit status, negative for the signal that ended it; None while it runs."""
        return self.popen.poll()

    def wait(self, seconds: float) -> int | None:
        """Its status once it has ended; None where it still runs after ``seconds``."""
        with suppress(subprocess.TimeoutExpired):
            return self.popen.wait(seconds)
        return None

    def send(self, number: signal.Signals) -> None:
        """Signal the whole group, as a terminal does; nothing where nobody is left."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def last_lines(self, number: int) -> list[str]:
        """The last lines of its log that are not empty, at most ``number``."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line for line in lines if line.strip()][-number:]

    def last_words(self) -> str:
        """What it said last."""
        return (self.last_lines(1) or ["it said nothing"])[0]


@contextmanager
def started(
    commands: Mapping[str, Sequence[str]], logs: Path, env: Mapping[str, str], *, patience: float = PATIENCE
) -> Iterator[dict[str, Process]]:
    """Run programs side by side; all are gone afterwards, with their children, whatever happens.

    At the end all get SIGINT, and whoever is still there after ``patience`` gets SIGKILL. An interrupt meanwhile
    (Ctrl-C once more) kills at once.

    Args:
        commands: program and arguments by name.
        logs: folder for the output, ``<name>.log`` each; must exist.
        env: their environment.
        patience: seconds that all together get to end.

    Raises:
        OSError: a program or its log cannot be opened; those already started are stopped.
    """
    processes: dict[str, Process] = {}
    try:
        for name, command in commands.items():
            log = logs / f"{name}.log"
            with log.open("wb") as output:
                popen = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(env),
                    start_new_session=True,
                )  # fmt: skip
            processes[name] = Process(name, log, popen)
        yield processes
    finally:
        _stop(processes.values(), patience)


def _stop(processes: Collection[Process], patience: float) -> None:
    try:
        for process in processes:
            process.send(signal.SIGINT)
        end = time.monotonic() + patience
        for process in processes:
            process.wait(max(0.0, end - time.monotonic()))
    finally:
        for process in processes:
            process.send(signal.SIGKILL)  # a program that went may have left children
        for process in processes:
            process.wait(patience)


def first_ended(processes: Iterable[Process]) -> Process | None:
    """The first of ``processes`` that no longer runs; None while all do."""
    return next((process for process in processes if process.status is not None), None)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM is a KeyboardInterrupt, as Ctrl-C is, so that nothing started is left behind.

    Without effect outside of the main thread, where signals never arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_domain() -> int:
    """A ROS domain, 1 to 100, that nobody on this machine is in, another one at each call.

    None either that another program was given just now: each keeps its last few to itself, by binding a port of
    theirs that DDS leaves unused.
    """
    for _ in range(DOMAINS):
        domain = 1 + (7 * os.getpid() + next(_domains)) % DOMAINS
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            claim.bind(("", UNUSED_PORT + PORTS_PER_DOMAIN * domain))
            probe.bind(("", FIRST_PORT + PORTS_PER_DOMAIN * domain))
            _claims.append(claim)
            if len(_claims) > CLAIMS:
                _claims.popleft().close()
            break
        claim.close()
    return domain


def process_start() -> float:
    """When this process began, by ``time.monotonic``; now where the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic()
    return time.monotonic() - max(0.0, age)
