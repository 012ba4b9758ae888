# SPDX-License-Identifier: Apache-2.0
"""The resampler against slow, obvious references on random streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_steps import slow_steps

from dd_ros.data.commands import ActionBuffer, JoinedActions
from dd_ros.data.images import resize
from dd_ros.data.steps import NEW_EPISODE, Episode, StepClock, due_images, episode_of, model_steps
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource, StreamSpec

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


def resampled(stamps: list[int], actions: ActionBuffer) -> list[Episode]:
    """Episodes of images that carry their number."""
    images = due_images(((s, make_frame(n)) for n, s in enumerate(stamps)), StepClock(SPEC.rate_hz))
    return [episode_of(run, "bag") for run in model_steps(images, JoinedActions([actions]), SPEC.rate_hz)]


@given(DISTANCES)
def test_resample_equals_walking_the_grid(distances: list[int]) -> None:
    stamps = stamps_of(distances)
    actions = ActionBuffer(1)
    actions.push(-(10**18), [0.0])
    episodes = resampled(stamps, actions)
    expected = slow_steps(stamps, 100 * MS)
    assert [
        [(int(s), int(f[0, 0, 0])) for s, f in zip(e.stamps, e.frames, strict=True)] for e in episodes
    ] == expected


@given(DISTANCES, st.floats(3.0, 60.0))
def test_the_clock_never_drifts_and_never_repeats(distances: list[int], rate: float) -> None:
    clock, last, before = StepClock(rate), 0, -NEW_EPISODE
    for stamp in stamps_of(distances):
        resets = clock.resets
        step = clock.step_of(stamp)
        if step is None:
            continue
        ticks = step - before
        assert ticks > 0
        if clock.resets > resets:
            assert ticks == NEW_EPISODE
        elif before >= 0:
            assert stamp > last
            assert ticks >= NEW_EPISODE or abs((stamp - last) - ticks * 1e9 / rate) <= 1.0e9 / rate
        last, before = stamp, step


def test_a_restart_begins_an_episode_where_the_next_image_is() -> None:
    clock = StepClock(10.0)
    assert [clock.step_of(n * 100 * MS) for n in range(3)] == [0, 1, 2]
    clock.restart()
    assert clock.newest_ns is None
    assert [clock.step_of((n * 100 + 230) * MS) for n in range(2)] == [2 + NEW_EPISODE, 3 + NEW_EPISODE]
    assert clock.resets == 0


@pytest.mark.parametrize(
    ("lost", "lengths"), [([4], [12]), ([4, 5], [4, 6]), ([0, 11], [10]), ([2, 6], [12])]
)
def test_due_images_that_cannot_be_used_are_missed_steps(lost: list[int], lengths: list[int]) -> None:
    """One is bridged, several begin an episode; the grid stays, though the camera is faster than the model."""
    images = due_images(((n * 67 * MS, n) for n in range(18)), StepClock(10.0))
    due = list(images)
    assert [image.step for image in due] == list(range(12))
    actions = ActionBuffer(1)
    actions.push(0, [0.0])
    usable = [image for image in due if image.step not in lost]
    runs = model_steps(usable, JoinedActions([actions]), 10.0)
    assert [len(run) for run in runs] == lengths
    assert {step.image for run in runs for step in run} == {image.image for image in usable}


def test_a_late_first_command_costs_no_more_than_the_images_before_it() -> None:
    """A 15 Hz camera under a 10 Hz model: two grids in a row took every second step for a year."""
    actions = ActionBuffer(1)
    actions.push(50 * MS, [0.0])
    images = due_images(((round(n * 1000 / 15) * MS, n) for n in range(270)), StepClock(10.0))
    (run,) = model_steps(images, JoinedActions([actions]), 10.0)
    assert len(run) == 179


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
    episodes = resampled([n * 100 * MS for n in range(6)], actions)
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
