# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the inputs right now: said once in the log, shown in the diagnostics."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from dd_ros.report import MOST_KINDS, OTHERS, without_numbers

NOTES = 5  # how often what is over at once is said in ``repeat_after`` seconds


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


@dataclass
class Kind:
    """Problems of one input that differ only in numbers.

    Attributes:
        seen: time of the last one, seconds of a steady clock.
        times: how often it was met.
        shown: how often it was met since it was away.
        unsaid: how often it was met without a line in the log since the last line.
    """

    seen: float
    times: int = 0
    shown: int = 0
    unsaid: int = 0


class Problems:
    """Registry of problems by input name. Thread safe, and of bounded size whatever comes.

    A problem is logged when it first shows, not at every message that shows it again; it is logged
    again, with how often it was met, only after it was away for ``repeat_after`` seconds. Texts that
    differ only in numbers are one kind of problem; of more kinds than MOST_KINDS of one input the
    rest shares one. A problem stays visible for ``linger`` seconds after good data has returned, so
    that diagnostics that come once a second show it.

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
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._log, self._linger, self._repeat_after, self._clock = log, linger, repeat_after, clock
        self._problems: dict[str, Problem] = {}
        self._kinds: dict[str, dict[str, Kind]] = {}
        self._lock = threading.Lock()

    def report(self, name: str, text: str, level: Level = Level.ERROR, *, kind: str = "") -> None:
        """Input ``name`` has a problem; texts of one ``kind`` (default: equal but for numbers) are the same one."""
        with self._lock:
            now = self._clock()
            known = self._kind(name, kind or without_numbers(text), now)
            new = known.shown == 1
            before = self._problems.get(name)
            logged = new or (before is not None and before.logged)
            self._problems[name] = Problem(text, level, now, logged)
            more = f" (and {known.unsaid} times more before)" if known.unsaid else ""
            known.unsaid = 0 if new else known.unsaid + 1
        if new:
            self._log(level, f"{name}: {text}{more}")

    def failed(self, name: str, error: Exception) -> None:
        """An exception that is nobody's input error, such as a bug: the first of a kind is said with where it came from."""
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        kind = without_numbers(text)
        with self._lock:
            known = kind in self._kinds.get(name, ())
        whole = text if known else f"{text}\n{''.join(traceback.format_exception(error))}"
        self.report(name, whole, kind=kind)

    def note(self, name: str, text: str) -> None:
        """Something happened that is over already: said each time, if not too often, and visible for a while."""
        with self._lock:
            now = self._clock()
            known = self._kind(name, without_numbers(text), now)
            self._problems[name] = Problem(text, Level.WARN, now, logged=False, open=False)
        if known.shown <= NOTES:
            more = "; not said again while it goes on" if known.shown == NOTES else ""
            self._log(Level.WARN, f"{name}: {text}{more}")

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

    def times(self, input_name: str) -> int:
        """How often an input and its aspects had a problem."""
        with self._lock:
            kinds = [kinds for name, kinds in self._kinds.items() if name.split()[0] == input_name]
            return sum(kind.times for of_name in kinds for kind in of_name.values())

    def clear(self) -> None:
        """Forget all problems and what was said about them."""
        with self._lock:
            self._problems.clear()
            self._kinds.clear()

    def _kind(self, name: str, text: str, now: float) -> Kind:
        """The kind of problem that was just met, counted."""
        kinds = self._kinds.setdefault(name, {})
        if text not in kinds and len(kinds) >= MOST_KINDS:
            text = OTHERS
        known = kinds.setdefault(text, Kind(now))
        if now - known.seen > self._repeat_after:
            known.shown = 0
        known.seen, known.times, known.shown = now, known.times + 1, known.shown + 1
        return known
