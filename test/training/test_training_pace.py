# SPDX-License-Identifier: Apache-2.0
"""The time that was asked for is shared out and kept, by a clock that only the test moves."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from dd_ros.processes import process_start
from dd_ros_training.callbacks import StageClock
from dd_ros_training.pace import SHARES, Pace


class Hands:
    """The hands of a clock."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += seconds


def train(clock: StageClock, hands: Hands, *, step: float, validation: float, every: int) -> int:
    """A stage as the trainer runs it, until its clock says that it is over; the steps it made."""
    loop = SimpleNamespace(total_batch_idx=-1)
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda value: value), should_stop=False, fit_loop=loop,
        val_check_interval=every, val_check_batch=every,
    )  # fmt: skip
    hands.move(3.0)  # loaders start
    clock.on_train_start(trainer, None)  # type: ignore[arg-type]
    while clock.fraction() < 1.0:
        loop.total_batch_idx += 1
        clock.on_train_batch_start(trainer)
        hands.move(step)
        clock.on_train_batch_end(trainer)
        if (loop.total_batch_idx + 1) % trainer.val_check_batch == 0 or clock.fraction() >= 1.0:
            clock.on_validation_start(trainer)
            hands.move(validation)
            clock.on_validation_end(trainer)
    return loop.total_batch_idx + 1


@pytest.mark.parametrize("step", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("validation", [0.5, 20.0])
def test_a_stage_ends_in_time_with_all_that_belongs_to_it(step: float, validation: float) -> None:
    hands = Hands()
    clock = StageClock(2.0, now=hands, validation=validation / 2)
    steps = train(clock, hands, step=step, validation=validation, every=200)
    spent = hands.time - 1000.0
    assert spent <= 120.0 + step + validation / 2  # the first validation may take longer than was expected
    assert spent >= 120.0 - 2 * step - validation
    assert steps > 1


def test_a_stage_has_no_more_than_is_left_for_it() -> None:
    hands = Hands()
    clock = StageClock(60.0, now=hands, left=30.0, validation=2.0)
    train(clock, hands, step=0.5, validation=2.0, every=1000)
    assert 28.0 <= hands.time - 1000.0 <= 30.5


def test_a_stage_that_goes_on_has_what_was_left_of_its_share() -> None:
    hands = Hands()
    clock = StageClock(1.0, now=hands, left=600.0)
    clock.load_state_dict({"elapsed": 40.0})
    train(clock, hands, step=0.5, validation=0.0, every=1000)
    assert 19.0 <= hands.time - 1000.0 <= 20.5


@pytest.mark.parametrize("seconds", [60.0, 600.0, 3600.0])
@pytest.mark.parametrize("window", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("stages", [tuple(SHARES), ("distillation",)])
def test_a_run_ends_in_time_whatever_the_machine_does(
    seconds: float, window: float, stages: tuple[str, ...]
) -> None:
    hands = Hands()
    pace = Pace(seconds, start=hands.time, window_seconds=window, stages=stages, now=hands)
    hands.move(12.0)  # start-up, reading, probing
    possible = pace.least_seconds() <= seconds
    spent = {}
    for name in stages:
        begun = hands.time
        clock = StageClock(1e6, now=hands, left=pace.stage_seconds(name), validation=pace.validation_seconds)
        train(clock, hands, step=0.5, validation=pace.validation_seconds, every=200)
        hands.move(1.0)  # what comes after a stage
        spent[name] = hands.time - begun
    hands.move(pace.windows * window)
    total = hands.time - 1000.0
    if possible:
        assert 0.75 * seconds < total <= seconds
        if len(stages) == len(SHARES):
            assert spent["distillation"] >= spent["autoencoder"] >= spent["teacher"]
    else:
        assert (seconds, window) == (60.0, 3.0)


def test_a_long_run_has_the_figures_it_always_had() -> None:
    pace = Pace(3600.0, start=time.monotonic(), window_seconds=1.0)
    assert (pace.windows, pace.validation_clips) == (180, 48)
    assert Pace(6 * 3600.0, start=0.0, window_seconds=1.0).windows == 300


def test_a_process_knows_when_it_began() -> None:
    assert 0.0 < process_start() <= time.monotonic()
