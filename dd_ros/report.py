# SPDX-License-Identifier: Apache-2.0
"""What could not be used and why: one line for each kind of problem, however often it is met."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dd_ros.errors import one_line

NUMBER = re.compile(r"\d+(\.\d+)?")
# Kinds of problems that are kept of one source, and entries of all together; what goes beyond shares one.
MOST_KINDS = 20
MOST_ENTRIES = 10_000
OTHERS = "problems of other kinds"


class Entry(NamedTuple):
    """A kind of problem.

    Attributes:
        source: file, bag or topic that it was met in.
        text: source, what was expected and what came, as it was said first.
        cure: what to do about it, or what is made of it.
        times: how often it was met.
    """

    source: str
    text: str
    cure: str = ""
    times: int = 1

    @property
    def line(self) -> str:
        """The problem for people to read."""
        times = f" ({self.times} times)" if self.times > 1 else ""
        return self.text + (f"; {self.cure}" if self.cure else "") + times


class Report:
    """Collects problems. Those of one source whose texts differ only in numbers are one entry, with a count.

    Iterating gives a line for each entry, in the order in which they were met first; ``len`` is their number.

    Args:
        entries: what another report held.
    """

    def __init__(self, entries: Iterable[Entry] = ()):
        self._entries: dict[tuple[str, str], Entry] = {}
        self._kinds: Counter[str] = Counter()
        for entry in entries:
            self._put(entry)

    def add(self, source: object, what: object, cure: str = "", *, times: int = 1) -> None:
        """Note a problem.

        Args:
            source: file, bag or topic; ``""`` where whoever reads the report knows it.
            what: what was expected and what came; it may begin with its source, which is not said twice.
            cure: what to do about it, or what is made of it.
            times: how often it was met.
        """
        place, text = one_line(str(source)), one_line(str(what))
        self._put(Entry(place, text if text.startswith(place) else f"{place}: {text}", one_line(cure), times))

    def update(self, other: Report) -> None:
        """Take in what another look at the same things found: an entry of both was met as often as the one that was met more often."""
        for entry in other.entries:
            known = self._entries.get(kind_of(entry))
            more = entry.times - (known.times if known else 0)
            if more > 0:
                self._put(entry._replace(times=more))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All kinds of problems that are kept."""
        return tuple(self._entries.values())

    def lines(self, start: int = 0) -> list[str]:
        """The lines from entry number ``start`` on."""
        return list(self)[start:]

    def __iter__(self) -> Iterator[str]:
        return iter([entry.line for entry in self._entries.values()])

    def __len__(self) -> int:
        return len(self._entries)

    def _put(self, entry: Entry) -> None:
        full = len(self._entries) >= MOST_ENTRIES or self._kinds[entry.source] >= MOST_KINDS
        if full and kind_of(entry) not in self._entries:
            entry = Entry("", OTHERS, times=entry.times)
        key = kind_of(entry)
        known = self._entries.get(key)
        if known is None:
            self._kinds[entry.source] += 1
        self._entries[key] = known._replace(times=known.times + entry.times) if known else entry


def kind_of(entry: Entry) -> tuple[str, str]:
    """What entries must share to be one: their source, and the rest of the text but for its numbers."""
    return entry.source, without_numbers(entry.text.removeprefix(entry.source))


def without_numbers(text: str) -> str:
    """The text with every number replaced by 0: what problems of one kind share."""
    return NUMBER.sub("0", text)
