# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the inputs right now: said once in the log, shown in the diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Severity, with the values of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass
class Problem:
    """One thing wrong with one input.

    Attributes:
        text: what was expected and what came.
        level: WARN while predictions go on, ERROR when they cannot.
        seen: time of its last occurrence, seconds of a steady clock.
        logged: whether it was said.
        open: whether good data is still to come.
    """

    text: str
    level: Level
    seen: float
    logged: bool
    open: bool = True


class Problems:
    """Registry of problems by input name. Thread safe.

    A problem is logged when it first shows, not at every message that shows it again; it is logged
    again only after it was away for ``repeat_after`` seconds. It stays visible for ``linger``
    seconds after good data has returned, so that diagnostics that come once a second show it.

    Names are an input and an aspect of it, such as ``image`` and ``image time``.

    Args:
        log: called with level and text.
        linger, repeat_after: seconds.
        clock: steady clock in seconds.
    """

    def __init__(
        self,
        log: Callable[[Level, str], None],
        linger: float = 2.0,
        repeat_after: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._log, self._linger, self._repeat_after, self._clock = log, linger, repeat_after, clock
        self._problems: dict[str, Problem] = {}
        self._said: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def report(self, name: str, text: str, level: Level = Level.ERROR, kind: str = "") -> None:
        """Input ``name`` has a problem; texts of one ``kind`` (default: equal texts) are the same one."""
        with self._lock:
            now = self._clock()
            said = self._said.get((name, kind or text))
            new = said is None or now - said > self._repeat_after
            self._said[name, kind or text] = now
            before = self._problems.get(name)
            logged = new or (before is not None and before.logged)
            self._problems[name] = Problem(text, level, now, logged)
        if new:
            self._log(level, f"{name}: {text}")

    def note(self, name: str, text: str) -> None:
        """Something happened that is over already: said every time, and visible for a while."""
        with self._lock:
            self._problems[name] = Problem(text, Level.WARN, self._clock(), logged=False, open=False)
        self._log(Level.WARN, f"{name}: {text}")

    def solved(self, name: str) -> None:
        """Good data came in on ``name``; said once per problem that was said."""
        with self._lock:
            problem = self._problems.get(name)
            if problem is None or not problem.open:
                return
            problem.open = False
            logged, problem.logged = problem.logged, False
        if logged:
            self._log(Level.OK, f"{name}: good again")

    def current(self, input_name: str) -> list[Problem]:
        """Problems of an input and its aspects to show now, the worst first."""
        with self._lock:
            now = self._clock()
            over = [n for n, p in self._problems.items() if not p.open and now - p.seen > self._linger]
            for name in over:
                del self._problems[name]
            found = [p for name, p in self._problems.items() if name.split()[0] == input_name]
        return sorted(found, key=lambda problem: -problem.level)

    def clear(self) -> None:
        """Forget all problems and what was said about them."""
        with self._lock:
            self._problems.clear()
            self._said.clear()
