# SPDX-License-Identifier: Apache-2.0
"""One line for each kind of problem, however often it is met."""

from __future__ import annotations

import pickle
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dd_ros.report import MOST_ENTRIES, MOST_KINDS, Entry, Report


def test_lines() -> None:
    report = Report()
    assert not report
    report.add(Path("/bags/one"), "expected 2 values, got 3", "left out")
    report.add("/bags/two", "/bags/two /camera: no images")  # begins with its source already
    report.add("", "silent for 3.1 s")
    assert list(report) == [
        "/bags/one: expected 2 values, got 3; left out",
        "/bags/two /camera: no images",
        "silent for 3.1 s",
    ]
    assert (len(report), report.lines(1), report.lines(3)) == (3, list(report)[1:], [])


def test_texts_that_differ_in_numbers_are_one_kind_and_the_first_is_the_example() -> None:
    report = Report()
    for number in (7, 12.5, 100):
        report.add("/bag/1", f"image {number}: got {number} bytes", "left out")
    report.add("/bag/2", "image 7: got 7 bytes")  # another source
    report.add("/bag/1", "image 7: got no bytes")  # another kind
    report.add("/bag/1", "image 8: got no bytes", times=3)
    assert list(report) == [
        "/bag/1: image 7: got 7 bytes; left out (3 times)",
        "/bag/2: image 7: got 7 bytes",
        "/bag/1: image 7: got no bytes (4 times)",
    ]


def test_two_looks_at_the_same_count_once() -> None:
    first, second = Report(), Report()
    for _ in range(3):
        first.add("bag", "damaged at 7")
    for number in range(5):
        second.add("bag", f"damaged at {number}")
    second.add("bag", "silent")
    first.update(second)
    assert list(first) == ["bag: damaged at 7 (5 times)", "bag: silent"]
    second.update(first)
    assert [entry.times for entry in second.entries] == [5, 1]


def test_it_comes_back_from_its_entries() -> None:
    report = Report()
    for number in range(4):
        report.add("bag", f"damaged at {number}", "read as far as it goes")
    again = Report(Entry(*list(entry)) for entry in report.entries)
    assert (again.entries, list(again)) == (report.entries, list(report))


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b 1"]), st.sampled_from(["x", "y 1", "y 2", "1.5 z"]))))
def test_nothing_is_lost_and_nothing_said_twice(problems: list[tuple[str, str]]) -> None:
    report = Report()
    for source, what in problems:
        report.add(source, what)
    assert sum(entry.times for entry in report.entries) == len(problems)
    assert len(set(report)) == len(report) == len({(s, w.replace("2", "1")) for s, w in problems})


def test_a_flood_of_one_kind_is_one_entry() -> None:
    report = Report()
    for number in range(100_000):
        report.add("bag", f"image {number}: got {number / 7} bytes")
    assert list(report) == ["bag: image 0: got 0.0 bytes (100000 times)"]
    assert len(pickle.dumps(report)) < 1000


def word(number: int) -> str:
    """A text without digits that belongs to this number alone."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def test_a_flood_of_kinds_or_sources_is_bounded_and_counted() -> None:
    report = Report()
    for number in range(1000):
        report.add("bag", word(number))
    report.add("other", "still heard")
    assert list(report)[MOST_KINDS:] == [
        f"problems of other kinds ({1000 - MOST_KINDS} times)",
        "other: still heard",
    ]
    for number in range(2 * MOST_ENTRIES):
        report.add(f"bag_{number}", "broken")
    assert MOST_ENTRIES <= len(report) <= MOST_ENTRIES + 1
    assert sum(entry.times for entry in report.entries) == 1001 + 2 * MOST_ENTRIES
