# SPDX-License-Identifier: Apache-2.0
"""Problems are said once, stay visible long enough, and end."""

from __future__ import annotations

import pytest

from dd_ros.live.problems import NOTES, Level, Problems
from dd_ros.report import MOST_KINDS


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[tuple[Level, str]]:
    return []


@pytest.fixture
def problems(clock: Clock, said: list[tuple[Level, str]]) -> Problems:
    return Problems(
        lambda level, text: said.append((level, text)), linger=3.0, repeat_after=10.0, clock=clock
    )


def test_said_once_however_often_it_shows(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    for _ in range(100):
        problems.report("image", "expected a, got b")
        clock.now += 1.0
    assert said == [(Level.ERROR, "image: expected a, got b")]


def test_a_kind_is_one_problem_whatever_its_numbers(
    problems: Problems, said: list[tuple[Level, str]]
) -> None:
    for seconds in range(5):
        problems.report("image topic", f"silent for {seconds} s", kind="silent")
    assert len(said) == 1
    assert problems.current("image")[0].text == "silent for 4 s"


def test_recovery_is_said_once_and_the_problem_lingers(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    problems.report("action", "bad", Level.WARN)
    for _ in range(3):
        problems.solved("action")
    assert said[1:] == [(Level.OK, "action: good again")]
    clock.now += 2.0
    assert [p.text for p in problems.current("action")] == ["bad"]
    clock.now += 2.0
    assert problems.current("action") == []


def test_flapping_does_not_fill_the_log(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    for _ in range(50):
        problems.report("action", "bad")
        problems.solved("action")
        clock.now += 0.1
    assert len(said) == 2


def test_said_again_after_a_good_while(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    problems.report("action", "bad")
    problems.solved("action")
    clock.now += 11.0
    problems.report("action", "bad")
    assert [text for _, text in said] == ["action: bad", "action: good again", "action: bad"]


def test_aspects_belong_to_their_input_and_the_worst_comes_first(problems: Problems) -> None:
    problems.report("image time", "late", Level.WARN)
    problems.report("image", "broken", Level.ERROR)
    problems.report("plan", "short", Level.WARN)
    assert [p.text for p in problems.current("image")] == ["broken", "late"]


def test_events_are_said_every_time_and_fade(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    for _ in range(2):
        problems.note("image reset", "clock went back")
        clock.now += 1.0
    assert said == [(Level.WARN, "image reset: clock went back")] * 2
    assert [p.text for p in problems.current("image")] == ["clock went back"]
    clock.now += 3.0
    assert problems.current("image") == []


def test_texts_that_differ_in_numbers_alone_are_one_problem(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    for length in range(100_000):
        problems.report("image", f"expected a whole jpeg, got {length} bytes, {length / 7:g} of them good")
    assert said == [(Level.ERROR, "image: expected a whole jpeg, got 0 bytes, 0 of them good")]
    assert problems.times("image") == 100_000
    clock.now += 11.0
    problems.report("image", "expected a whole jpeg, got 7 bytes, 1 of them good")
    assert said[1:] == [
        (
            Level.ERROR,
            "image: expected a whole jpeg, got 7 bytes, 1 of them good (and 99999 times more before)",
        )
    ]


def test_texts_that_differ_in_all_else_are_bounded(problems: Problems, said: list[tuple[Level, str]]) -> None:
    def word(k: int) -> str:
        return "".join(chr(ord("a") + int(digit)) for digit in str(k))

    for k in range(5000):
        problems.report("image", f"expected rgb8, got {word(k)}")
    assert len(said) == MOST_KINDS + 1
    assert problems.times("image") == 5000
    assert [p.text for p in problems.current("image")] == [f"expected rgb8, got {word(4999)}"]


def test_events_that_do_not_end_are_not_said_for_ever(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    for k in range(1000):
        problems.note("image reset", f"a step back of {k} s")
        clock.now += 0.03
    assert [text for _, text in said] == [
        *(f"image reset: a step back of {k} s" for k in range(NOTES - 1)),
        f"image reset: a step back of {NOTES - 1} s; not said again while it goes on",
    ]


def test_of_a_bug_the_first_is_said_with_its_place_and_diagnostics_get_one_line(
    problems: Problems, clock: Clock, said: list[tuple[Level, str]]
) -> None:
    for k in range(3):
        try:
            raise OverflowError(f"{k} is too large\nreally")
        except OverflowError as error:
            problems.failed("plan", error)
    clock.now += 11.0
    problems.failed("plan", OverflowError("9 is too large"))
    first, second = (text for _, text in said)
    assert first.startswith("plan: OverflowError: 0 is too large\nTraceback")
    assert "raise OverflowError" in first
    assert second == "plan: OverflowError: 9 is too large (and 2 times more before)"
