# SPDX-License-Identifier: Apache-2.0
"""The supervisor with real processes: stubborn ones, ones that die, ones that leave children behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dd_ros.processes import (
    DOMAINS,
    FIRST_PORT,
    PORTS_PER_DOMAIN,
    Process,
    first_ended,
    free_domain,
    interruptible,
    started,
)

SLEEPS = "import signal, time; signal.signal(signal.SIGINT, {}); print('here', flush=True); time.sleep(300)"
WAITS = SLEEPS.format(
    "signal.default_int_handler"
)  # which a shell that starts tests in the background takes away
STUBBORN = SLEEPS.format("signal.SIG_IGN")
PARENT = (  # prints the number of a child that ignores SIGINT, and ends at once
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE);"
    "child.stdout.readline(); print(child.pid, flush=True)"
)
LIMIT = 60.0  # s; for broken code, not a measure of speed


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def speaks(process: Process) -> bool:
    return process.last_lines(1) == ["here"]


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command_line(path: Path) -> str:
    """A file of /proc; nothing for a process that is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def test_each_has_a_log_and_is_asked_to_end(tmp_path: Path) -> None:
    says = "import sys, os; print('out'); print(os.environ['GIVEN'], file=sys.stderr)"
    commands = {"waiting": python(WAITS), "talker": python(says)}
    with started(commands, tmp_path, os.environ | {"GIVEN": "value"}) as processes:
        until(lambda: speaks(processes["waiting"]))
        assert processes["talker"].wait(LIMIT) == 0
        assert processes["waiting"].status is None
        assert processes["waiting"].wait(0.01) is None
    assert sorted((tmp_path / "talker.log").read_text().split()) == ["out", "value"]
    assert processes["waiting"].status == -signal.SIGINT  # Python's own: KeyboardInterrupt, then the signal
    assert processes["waiting"].last_words() == "KeyboardInterrupt"


def test_one_that_ignores_the_interrupt_is_killed(tmp_path: Path) -> None:
    with started({"stubborn": python(STUBBORN)}, tmp_path, os.environ, patience=0.5) as processes:
        until(lambda: speaks(processes["stubborn"]))
    assert processes["stubborn"].status == -signal.SIGKILL


def test_children_of_one_that_went_are_gone_too(tmp_path: Path) -> None:
    with started({"parent": python(PARENT, STUBBORN)}, tmp_path, os.environ, patience=0.5) as processes:
        assert processes["parent"].wait(LIMIT) == 0
        child = int(processes["parent"].last_words())
        assert alive(child)
    until(lambda: not alive(child))


def test_one_that_dies_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    dies = "import sys; print('first\\n'); sys.exit('no such thing')"
    with started({"waiting": python(WAITS), "robot": python(dies)}, tmp_path, os.environ) as processes:
        until(lambda: speaks(processes["waiting"]))
        assert first_ended([processes["waiting"]]) is None
        until(lambda: first_ended(processes.values()) is not None)
        assert first_ended(processes.values()) is processes["robot"]
        assert (processes["robot"].status, processes["robot"].last_words()) == (1, "no such thing")
        assert processes["robot"].last_lines(5) == ["first", "no such thing"]


def test_one_without_a_word(tmp_path: Path) -> None:
    with started({"mute": python("")}, tmp_path, os.environ) as processes:
        assert processes["mute"].wait(LIMIT) == 0
        assert processes["mute"].last_words() == "it said nothing"


def test_nothing_is_left_behind_after_an_error(tmp_path: Path) -> None:
    found: list[Process] = []

    def fail() -> None:
        with started({"one": python(WAITS), "two": python(WAITS)}, tmp_path, os.environ) as processes:
            found.extend(processes.values())
            until(lambda: all(map(speaks, found)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [process.status for process in found] == 2 * [-signal.SIGINT]


def test_a_program_that_is_not_there_stops_the_others(tmp_path: Path) -> None:
    mark = str(tmp_path)  # tells the first among all processes, whether it came to speak or not
    commands = {"first": python(WAITS, mark), "second": ["no-such-program"]}
    with pytest.raises(FileNotFoundError, match="no-such-program"), started(commands, tmp_path, os.environ):
        pytest.fail("the second cannot be started")
    assert (tmp_path / "first.log").exists()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark in command_line(path)]


def test_an_interrupt_while_they_end_kills_at_once(tmp_path: Path) -> None:
    found: list[Process] = []

    def run() -> None:
        commands = {"stubborn": python(STUBBORN)}
        with interruptible(), started(commands, tmp_path, os.environ, patience=LIMIT) as processes:
            found.extend(processes.values())
            until(lambda: speaks(found[0]))
            signal.setitimer(signal.ITIMER_REAL, 0.2)  # by then the process is being given its time

    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        run()
    signal.signal(signal.SIGALRM, before)
    assert found[0].status == -signal.SIGKILL


def test_sigterm_is_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_interruptible_in_a_thread_changes_nothing() -> None:
    found = []

    def work() -> None:
        with interruptible():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_a_domain_that_somebody_is_in_is_passed_over() -> None:
    taken = free_domain()
    assert 1 <= taken <= DOMAINS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind(("", FIRST_PORT + PORTS_PER_DOMAIN * taken))
        assert taken not in {free_domain() for _ in range(DOMAINS)}


def test_a_domain_that_another_program_was_given_is_passed_over(tmp_path: Path) -> None:
    draw = "from dd_ros.processes import free_domain; print(*(free_domain() for _ in range(4)), flush=True); "
    commands = {f"program{k}": python(f"{draw}import time; time.sleep(300)") for k in range(2)}
    with started(commands, tmp_path, os.environ) as programs:
        until(lambda: all(program.last_lines(1) for program in programs.values()))
        others = {int(number) for program in programs.values() for number in program.last_words().split()}
        assert len(others) == 8
        assert not others & {free_domain() for _ in range(DOMAINS)}
