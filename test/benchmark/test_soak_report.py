# SPDX-License-Identifier: Apache-2.0
"""What a soak calls wrong: times, phases, memory that grows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dd_ros.benchmark.expected import SEED, Expected
from dd_ros.benchmark.soak_report import Phase, Sample, figures, markdown, slope
from dd_ros.live.ladder import rungs
from dd_ros.live.soak import Received
from dd_ros.predictor import Predictor
from dd_ros.resources import read_config

STEP = 100_000_000
NOW = 1_700_000_000_000_000_000


def received(**changes: object) -> Received:
    """A second chunk, published 50 ms after its image."""
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    chunk = Received(NOW, NOW + STEP // 2, 1, 4, 3, (NOW + 3 * STEP, NOW + 4 * STEP), (False, False), frames)
    return chunk._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"first_step": 1}, "expected target times"),
        ({"targets_ns": (NOW + 3 * STEP, NOW + 5 * STEP)}, "expected target times"),
        ({"published_ns": NOW + 10 * STEP}, "not marked late"),
        ({"published_ns": NOW + 10 * STEP, "late": (True, True)}, ""),
        ({"late": (True, False)}, "is marked late"),
    ],
)
def test_times(changes: dict, words: str) -> None:
    found = received(**changes).wrong_times(STEP, slack_ns=STEP)
    assert words in found
    assert bool(found) == bool(words)


def test_a_phase_fails_for_anything_but_the_time_it_took() -> None:
    assert not Phase("burst", recovery=9.0, missed=3).failed
    assert Phase("burst").failed
    for name in ("wrong_content", "wrong_times", "crashes", "tracebacks"):
        assert Phase("burst", recovery=0.1, **{name: 1}).failed


def samples(life: int, rise: float, seconds: int) -> list[Sample]:
    """Of a process whose memory grows by ``rise`` MiB per hour, and by a lot in its first seconds."""
    return [
        Sample(life, float(s), 300.0 + rise * s / 3600.0 + 50.0 * (s < 30), 19, 20)
        for s in range(0, seconds, 10)
    ]


def test_memory_is_judged_by_the_longest_life() -> None:
    assert slope(samples(1, 0.0, 300)) is None
    rise = slope(samples(1, 500.0, 300) + samples(2, 7.0, 2400))
    assert rise == pytest.approx(7.0)


def test_the_report_has_a_row_per_fault_and_says_what_went_wrong() -> None:
    phases = [
        Phase("burst", predictions=5, recovery=0.5, checked=12, psnr=[30.0, 40.0]),
        Phase("burst", predictions=6, recovery=1.5, checked=12),
        Phase("node killed", problems=["no prediction"]),
    ]
    found = samples(1, 0.0, 20)
    result = figures(phases, found, slow=1.0)
    assert (result["predictions"], result["slow_recoveries"], result["failed_phases"]) == (11, 1, 1)
    text = markdown(result, phases, found)
    assert "| burst | 2 | 11 | 1.50 | 0 | 24 | 35.0 | 0 | 0 | 0 | 0 |" in text
    assert "| node killed | 1 | 0 | never |" in text
    assert "- node killed: no prediction" in text


def test_predictions_are_told_from_each_other_and_from_wrong_ones(tiny_checkpoint: Path) -> None:
    expected = Expected(tiny_checkpoint, read_config(tiny_checkpoint), 3)
    frames = expected.frames[0][2][2:4]
    assert expected.place(3, frames) == 2
    assert expected.place(5, frames) is None
    assert expected.place(3, np.roll(frames, 8, axis=2)) is None
    assert expected.place(3, frames[:, ::2]) is None
    assert expected.psnr(np.broadcast_to(expected.scene.image, frames.shape)) == 99.0


def test_predictions_of_every_rung_of_the_ladder_are_known(tiny_checkpoint: Path) -> None:
    config = read_config(tiny_checkpoint)
    expected = Expected(tiny_checkpoint, config, 3)
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    for step in range(config.context_frames + 2):
        predictor.observe_step(
            expected.scene.image, step * predictor.step_ns, expected.scene.command, step=step
        )
    actions = np.tile(expected.scene.command, (predictor.horizon, 1))
    ladder = rungs(predictor.schedule, predictor.horizon)
    assert len({rung.schedule.levels for rung in ladder}) == len(expected.frames) > 1
    assert min(rung.frames for rung in ladder) < predictor.horizon
    for rung in ladder:
        predictor.seed(SEED)
        predictor.predict(actions)
        for chunk in predictor.predict_chunks(actions, schedule=rung.schedule, horizon=rung.frames):
            assert expected.place(chunk.first_step, chunk.frames) == 1
