# SPDX-License-Identifier: Apache-2.0
"""Predicted frames meet the camera frames of their times, in whatever order both come."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dd_ros.errors import InputError
from dd_ros.view.seen import Image, Pair, Predicted, Seen, steps_of

STEP, HORIZON, START = 100_000_000, 4, 10**18


def frame(value: int) -> Image:
    return np.full((4, 6, 3), value, np.uint8)


def chunk(step: int, first: int = 1, count: int = HORIZON) -> Predicted:
    """Predicted at model step ``step``; the frame for step t, made at s, has the value 10 * s + t."""
    frames = np.stack([frame(10 * step + step + first + k) for k in range(count)])
    none = np.zeros((count, 1), np.float32)
    return Predicted(
        stamp_ns=START + step * STEP, step_ns=STEP, horizon=HORIZON, first_step=first, frames=frames,
        uncertainty=none[:, 0], actions=none,
    )  # fmt: skip


def told(pairs: list[Pair]) -> list[tuple[int, int, int, int]]:
    """Of each pair: lead, step it is for, value of the real and of the predicted frame."""
    return [
        (pair.lead, (pair.target_ns - START) // STEP, int(pair.real[0, 0, 0]), int(pair.predicted[0, 0, 0]))
        for pair in pairs
    ]


def test_an_error_is_known_once_the_true_frame_is_there() -> None:
    seen = Seen([1, 3], step_ns=STEP, horizon=HORIZON)
    assert seen.camera(START, frame(100)) == []
    assert seen.predicted(chunk(0)) == []
    assert told(seen.camera(START + STEP, frame(101))) == [(1, 1, 101, 1)]
    assert seen.camera(START + 2 * STEP, frame(102)) == []
    (pair,) = seen.camera(START + 3 * STEP, frame(103))
    assert told([pair]) == [(3, 3, 103, 3)]
    assert pair.stamp_ns == START
    assert pair.copied is not None
    assert pair.copied[0, 0, 0] == 100


def test_a_prediction_that_comes_after_its_time_meets_the_frame_that_was_there() -> None:
    seen = Seen([1, 3], step_ns=STEP, horizon=HORIZON)
    for step in range(4):
        seen.camera(START + step * STEP, frame(100 + step))
    assert told(seen.predicted(chunk(0))) == [(1, 1, 101, 1), (3, 3, 103, 3)]
    assert seen.camera(START + 3 * STEP + 1, frame(9)) == [], "no pair twice"


def test_whatever_the_order_the_pairs_are_the_same() -> None:
    chance = random.Random(0)
    wanted = {
        (lead, step, 100 + step, 10 * (step - lead) + step) for lead in (1, 3) for step in range(lead, 8)
    }
    for _ in range(200):
        seen = Seen([1, 3], step_ns=STEP, horizon=HORIZON)
        events = [("camera", step) for step in range(8)] + [("predicted", step) for step in range(8)]
        events.sort(key=lambda event: event[1] + chance.uniform(0.0, 3.0))
        found: list[tuple[int, int, int, int]] = []
        for kind, step in events:
            if kind == "camera":
                jitter = chance.randint(-STEP // 5, STEP // 5)
                found += told(seen.camera(START + step * STEP + jitter, frame(100 + step)))
            else:
                for first in (1, 3):
                    found += told(seen.predicted(chunk(step, first, 2)))
        assert len(found) == len(set(found))
        assert set(found) == wanted


def test_memory_is_bounded_however_long_it_runs() -> None:
    seen = Seen([1, 4], step_ns=STEP, horizon=HORIZON)
    for step in range(1000):
        seen.predicted(chunk(step % 20)._replace(stamp_ns=START + step * STEP))
        if step % 7:
            seen.camera(START + step * STEP, frame(1))
    kept = [len(timeline.stamps) for timeline in (seen._real, *seen._predicted.values())]
    assert max(kept) <= HORIZON + 20 + HORIZON + 1


def test_a_clock_that_goes_back_starts_anew() -> None:
    seen = Seen([1], step_ns=STEP, horizon=HORIZON)
    seen.camera(START + 100 * STEP, frame(1))
    seen.predicted(chunk(100 % 20)._replace(stamp_ns=START + 100 * STEP))
    assert seen.camera(START, frame(2)) == []
    assert seen.predicted(chunk(0)) == []
    assert told(seen.camera(START + STEP, frame(3))) == [(1, 1, 3, 1)]


def test_leads_in_seconds_are_model_steps_within_the_horizon() -> None:
    assert steps_of([], step_ns=STEP, horizon=16) == (4, 8, 16)
    assert steps_of([], step_ns=STEP, horizon=1) == (1,)
    assert steps_of([0.5, 0.2, 9.0, 0.21, 1e-3], step_ns=STEP, horizon=8) == (1, 2, 5, 8)
    for odd in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="leads: expected seconds above 0"):
            steps_of([0.5, odd], step_ns=STEP, horizon=8)
