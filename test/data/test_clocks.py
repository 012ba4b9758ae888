# SPDX-License-Identifier: Apache-2.0
"""Clocks of a recording: which one its stamps are of, and where it was reset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dd_ros.data.clocks import choose_stamps, count_resets
from dd_ros.report import Report

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def topic(first: int, count: int, ahead: int | None) -> list[tuple[int | None, int]]:
    """Messages every 0.1 s from ``first``, with header stamps ``ahead`` of their receive times, or without."""
    times = [first + k * SECOND // 10 for k in range(count)]
    return [(None if ahead is None else time + ahead, time) for time in times]


@pytest.mark.parametrize(
    ("image", "action", "chosen", "said"),
    [
        (0, 0, "headers", ""),
        (-10_000_000, -1_000_000, "headers", ""),
        (-9 * DAY, -9 * DAY, "headers", ""),  # both of a simulation's clock
        (-3 * SECOND, 0, "headers", "synchronised"),
        (-9 * DAY, 0, "received", "different clocks"),
        (None, None, "received", ""),
        (-9 * DAY, None, "received", "another clock"),
        (None, 40 * SECOND, "received", "another clock"),
    ],
)
def test_headers_where_both_are_of_one_clock(
    image: int | None, action: int | None, chosen: str, said: str
) -> None:
    images, actions = topic(20 * DAY, 9, image), topic(20 * DAY, 12, action)
    problems = Report()
    pick = 0 if chosen == "headers" else 1
    found = choose_stamps({"/image": images, "/action": actions}, problems)
    assert found == {
        "/image": [times[pick] for times in images],
        "/action": [times[pick] for times in actions],
    }
    assert said in " ".join(problems)
    assert bool(said) == bool(problems)


def test_commands_without_header_keep_their_arrival_beside_stamped_images() -> None:
    images, actions = topic(20 * DAY, 9, -50_000_000), topic(20 * DAY, 12, None)
    found = choose_stamps({"/image": images, "/action": actions}, Report())
    assert found == {
        "/image": [header for header, _ in images],
        "/action": [received for _, received in actions],
    }


def test_a_message_that_lacks_its_stamp() -> None:
    images, actions = topic(20 * DAY, 9, -50_000_000), topic(20 * DAY, 12, 0)
    images[4] = (None, images[4][1])
    assert choose_stamps({"/image": images, "/action": actions}, Report())["/image"][4] == images[4][1]
    images, actions = topic(20 * DAY, 9, -9 * DAY), topic(20 * DAY, 12, -9 * DAY)
    images[0] = (None, images[0][1])  # a simulation that had not begun: no time on its clock
    assert choose_stamps({"/image": images, "/action": actions}, Report())["/image"][0] is None


@given(
    st.lists(st.integers(2, 40), min_size=1, max_size=5),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 9),
)
def test_resets_are_counted_once_for_all_topics(
    lengths: list[int], every: int, phase: int, late: int
) -> None:
    """Takes of ``lengths`` seconds; images at 10 Hz, actions every so often, beginning ``late`` steps in."""
    stamps, expected = [], []
    for take, length in enumerate(lengths):
        for step in range(10 * length):
            stamps.append(("image", step * SECOND // 10))
            expected.append(take)
            if step >= late and step % every == phase % every:
                stamps.append(("action", step * SECOND // 10 + 1000))
                expected.append(take)
    assert count_resets(stamps) == expected


def test_messages_under_way_during_a_reset_stay_with_their_own_time() -> None:
    order = [
        ("action", 60),
        ("image", 60),
        ("action", 0),
        ("image", 61),
        ("action", 1),
        ("image", 1),
        ("image", 2),
    ]
    assert count_resets([(t, s * SECOND) for t, s in order]) == [0, 0, 1, 0, 1, 1, 1]


def test_small_steps_back_are_no_reset() -> None:
    order = [("image", 0), ("image", 900_000_000), ("image", 100_000_000), ("action", 0), ("image", SECOND)]
    assert count_resets(order) == [0] * 5
