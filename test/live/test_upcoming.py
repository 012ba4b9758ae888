# SPDX-License-Identifier: Apache-2.0
"""Which predicted frame is for now, as chunks come in and time goes by."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dd_ros.live.upcoming import Screen, Upcoming

STEP = 100_000_000


def numbered(first: int, count: int) -> NDArray[np.uint8]:
    """Frames that hold a number."""
    return np.arange(first, first + count, dtype=np.uint8)[:, None, None, None]


def due(upcoming: Upcoming, now: int) -> tuple[int, int] | None:
    """Time and number of what is due."""
    found = upcoming.due(now)
    return None if found is None else (found.target_ns, int(found.frame[0, 0, 0]))


def test_each_frame_is_due_once_in_the_step_before_its_time() -> None:
    upcoming = Upcoming(step_ns=STEP, horizon=4)
    upcoming.add(0, 1, numbered(1, 4))
    found = [due(upcoming, now) for now in range(0, 5 * STEP, STEP // 4)]
    assert [item for item in found if item] == [(k * STEP, k) for k in (1, 2, 3, 4)]
    assert found[0] is not None, "before the time of the first is over"


def test_a_newer_prediction_counts_for_its_times_and_the_older_one_until_then() -> None:
    upcoming = Upcoming(step_ns=STEP, horizon=4)
    upcoming.add(0, 1, numbered(1, 4))
    upcoming.add(
        2 * STEP + 3_000_000, 1, numbered(11, 2)
    )  # its camera jitters: for times 3 and 4, a little later
    assert due(upcoming, STEP // 2) == (STEP, 1)
    assert due(upcoming, STEP + 1) == (2 * STEP, 2)
    assert due(upcoming, 2 * STEP + 1) == (3 * STEP + 3_000_000, 11)


def test_nothing_is_due_where_nothing_is_for_about_now() -> None:
    upcoming = Upcoming(step_ns=STEP, horizon=4)
    assert due(upcoming, 0) is None
    upcoming.add(0, 4, numbered(4, 2))
    assert due(upcoming, 0) is None, "too far ahead"
    assert due(upcoming, 3 * STEP) == (4 * STEP, 4)
    assert due(upcoming, 6 * STEP) is None, "over"


@given(
    chunks=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 16), st.integers(1, 4)), max_size=40),
    now=st.integers(0, 60),
)
def test_what_is_due_is_of_the_last_chunk_for_that_time(chunks: list[tuple[int, int, int]], now: int) -> None:
    upcoming, last = Upcoming(step_ns=STEP, horizon=64), dict[int, int]()
    for number, (stamp, first, count) in enumerate(chunks):
        upcoming.add(stamp * STEP, first, np.full((count, 1, 1, 1), number, np.uint8))
        last |= {stamp + first + index: number for index in range(count)}
    coming = min((time for time in last if time > now), default=None)
    near = coming is not None and coming == now + 1
    assert due(upcoming, now * STEP) == (
        (coming * STEP, last[coming]) if near and coming is not None else None
    )
    assert len(upcoming._frames) <= 128


def test_the_screen_shows_one_frame_after_the_other_between_predictions() -> None:
    step, shown = 20_000_000, list[int]()
    upcoming = Upcoming(step_ns=step, horizon=16)
    screen = Screen(upcoming, now_ns=time.time_ns, show=lambda due: shown.append(due.target_ns))
    predictions = 0
    while len(shown) < 30:
        upcoming.add(time.time_ns(), 1, numbered(1, 16))
        screen.look()
        predictions += 1
        time.sleep(0.2)
    screen.stop()
    assert shown == sorted(set(shown))
    assert len(shown) > 2 * predictions
