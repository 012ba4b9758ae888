# SPDX-License-Identifier: Apache-2.0
"""The resampler against slow, obvious references on random streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_steps import slow_steps

from dd_ros.config import ActionSource, StreamSpec
from dd_ros.data.commands import ActionBuffer, JoinedActions
from dd_ros.data.images import resize
from dd_ros.data.steps import FrameClock, StampsWentBack, missed_too_many, resample
from dd_ros.errors import InputError

MS = 1_000_000
SPEC = StreamSpec(
    image_topic="/image", actions=(ActionSource(topic="/action"),), rate_hz=10.0, width=4, height=2
)
# Mostly camera-like distances, now and then a gap, a step back or a reset.
DISTANCES = st.lists(
    st.one_of(st.integers(20, 140), st.integers(20, 140), st.integers(-50, 900), st.just(-2500)),
    min_size=1,
    max_size=60,
)


def stamps_of(distances: list[int]) -> list[int]:
    return [int(stamp) * MS for stamp in 10_000 + np.cumsum(distances)]


def make_frame(number: int) -> np.ndarray:
    return np.full((2, 4, 3), number % 256, np.uint8)


@given(DISTANCES)
def test_resample_equals_walking_the_grid(distances: list[int]) -> None:
    stamps = stamps_of(distances)
    actions = ActionBuffer(1)
    actions.push(-(10**18), [0.0])
    episodes = resample(((s, make_frame(n)) for n, s in enumerate(stamps)), actions, SPEC)
    expected = slow_steps(stamps, 100 * MS)
    assert [
        [(int(s), int(f[0, 0, 0])) for s, f in zip(e.stamps, e.frames, strict=True)] for e in episodes
    ] == expected


@given(DISTANCES, st.floats(3.0, 60.0))
def test_the_clock_never_drifts_and_never_repeats(distances: list[int], rate: float) -> None:
    clock, last = FrameClock(rate), None
    for stamp in stamps_of(distances):
        try:
            ticks = clock.accept(stamp)
        except StampsWentBack:
            clock.reset()
            ticks, last = clock.accept(stamp), None
        assert ticks >= 0
        if ticks and last is not None:
            assert stamp > last
            assert missed_too_many(ticks) or abs((stamp - last) - ticks * 1e9 / rate) <= 1.0e9 / rate
        last = stamp if ticks else last


TIMES = st.lists(st.integers(0, 900), min_size=1, max_size=30)


@given(TIMES, st.integers(-100, 1100))
def test_hold_is_the_newest_command_not_after(times: list[int], at: int) -> None:
    buffer = ActionBuffer(2)
    for number, time in enumerate(times):
        buffer.push(time * MS, [number, -number])
    before = [(time, number) for number, time in enumerate(times) if time <= at]
    value = buffer.at(at * MS)
    if not before:
        assert value is None
    else:
        assert value is not None
        assert value.dtype == np.float32
        assert value.tolist() == [max(before)[1], -max(before)[1]]


@given(st.lists(st.integers(0, 900), min_size=2, max_size=30, unique=True), st.integers(-100, 1100))
def test_linear_is_numpys_interpolation(times: list[int], at: int) -> None:
    buffer = ActionBuffer(1, mode="linear")
    values = {time: float((time * 7919) % 101) for time in times}
    for time in times:
        buffer.push(time * MS, [values[time]])
    ordered = sorted(times)
    value = buffer.at(at * MS)
    if at < ordered[0]:
        assert value is None
    else:
        assert value == pytest.approx(np.interp(at, ordered, [values[time] for time in ordered]), abs=1e-3)


def test_actions_are_bounded_and_a_reset_forgets() -> None:
    buffer = ActionBuffer(1, capacity=3)
    for number in range(10):
        buffer.push(number * MS, [number])
    assert len(buffer) == 3
    buffer.push(-5000 * MS, [42.0])
    assert len(buffer) == 1
    assert buffer.newest_ns == -5000 * MS


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0], "expected 2 action values, got 1"), ([1.0, np.nan], "NaN"), ([np.inf, 0.0], "infinity")],
)
def test_bad_actions_are_refused_by_name(values: list[float], message: str) -> None:
    buffer = ActionBuffer(2, name="/cmd_vel")
    with pytest.raises(InputError, match=f"/cmd_vel: .*{message}"):
        buffer.push(0, values)
    assert len(buffer) == 0


def test_frames_before_the_first_action_are_left_out() -> None:
    actions = ActionBuffer(1)
    actions.push(250 * MS, [1.0])
    episodes = resample(((n * 100 * MS, make_frame(n)) for n in range(6)), actions, SPEC, "bag")
    assert [e.name for e in episodes] == ["bag"]
    assert episodes[0].stamps.tolist() == [300 * MS, 400 * MS, 500 * MS]


def test_resize_keeps_what_fits() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 3), dtype=np.uint8)
    assert np.array_equal(resize(image, 4, 2), image)
    assert resize(np.full((480, 640, 3), 9, np.uint8), 4, 2).tolist() == np.full((2, 4, 3), 9).tolist()


COMMANDS = st.lists(st.tuples(st.integers(0, 900), st.integers(-9, 9)), max_size=12)


@given(st.lists(COMMANDS, min_size=1, max_size=3), st.lists(st.integers(-50, 1000), min_size=1, max_size=9))
def test_joined_actions_are_what_each_topic_had_in_force(
    topics: list[list[tuple[int, int]]], times: list[int]
) -> None:
    parts = [ActionBuffer(1) for _ in topics]
    for part, commands in zip(parts, topics, strict=True):
        for stamp, value in commands:
            part.push(stamp, [value])
    joined = JoinedActions(parts)
    for time in times:
        wanted: list[int] | None = []
        for commands in topics:
            best = None
            for stamp, value in commands:  # of two at the same time the later one counts
                if stamp <= time and (best is None or stamp >= best[0]):
                    best = (stamp, value)
            wanted = None if wanted is None or best is None else [*wanted, best[1]]
        got = joined.at(time)
        assert (None if got is None else got.tolist()) == wanted
    newest = [max((stamp for stamp, _ in commands), default=None) for commands in topics]
    assert joined.newest_ns == (None if None in newest else min(newest))
