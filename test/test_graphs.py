# SPDX-License-Identifier: Apache-2.0
"""The predictor over recorded work: the same numbers as without, whatever comes between. On a CPU, see ``fake_graphs``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_graphs import FakeGraphs

from dd_ros import Predictor, engine, graphs
from dd_ros.checkpoint import load_checkpoint
from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.live.ladder import rungs

STEP = 100_000_000  # ns
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
CANDIDATES = RNG.normal(size=(19, 8, 2))
ACTIONS, NOW = CANDIDATES[0], [0.1, -0.2]
Life = Callable[[Predictor], list[np.ndarray]]


def observe(predictor: Predictor, *steps: int) -> None:
    for step in steps:
        predictor.observe_step(IMAGES[step % 12], step * STEP, [0.1 * step, -0.2], step=step)


def stream(predictor: Predictor) -> list[np.ndarray]:
    found = []
    for step in range(5):
        observe(predictor, step)
        found.append(predictor.predict(CANDIDATES[step]))
    return found


def gaps_and_resets(predictor: Predictor) -> list[np.ndarray]:
    observe(predictor, 0, 1, 3)  # one missed
    found = [predictor.predict(ACTIONS)]
    observe(predictor, 9)  # a gap: starts anew
    found.append(predictor.predict(ACTIONS))
    predictor.reset()
    observe(predictor, 4, 5)
    return [*found, predictor.predict(ACTIONS)]


def schedules_and_seeds(predictor: Predictor) -> list[np.ndarray]:
    observe(predictor, 0, 1)
    found = [predictor.predict(ACTIONS)]
    usual = predictor.schedule
    for schedule in (preset("1", 2, 8), preset("2-1_clean_context", 2, 8), usual):
        predictor.set_schedule(schedule)
        predictor.seed(3)
        found.append(predictor.predict(ACTIONS))
    return found


def shorter_horizons(predictor: Predictor) -> list[np.ndarray]:
    observe(predictor, 0)
    found = []
    for frames in (2, 8, 4, 6, 8):
        found += [chunk.frames for chunk in predictor.predict_chunks(ACTIONS, horizon=frames)]
        parts = predictor.rollouts_by_chunk(
            CANDIDATES[:3], frames="last", context=predictor.context(), at_once=2, horizon=frames
        )
        found += [part.frames for part in parts if part]
    return found


def left_before_the_end(predictor: Predictor) -> list[np.ndarray]:
    observe(predictor, 0)
    abandoned = predictor.predict_chunks(CANDIDATES[1])
    next(abandoned)
    found = [predictor.predict(ACTIONS)]
    del abandoned
    next(predictor.predict_chunks(CANDIDATES[2]))
    observe(predictor, 1)
    return [*found, predictor.predict(ACTIONS)]


def one_inside_the_other(predictor: Predictor) -> list[np.ndarray]:
    """A request is worked at chunk by chunk while the stream goes on, from the context that it began with."""
    observe(predictor, 0)
    context, found = predictor.context(), []
    requests = [
        predictor.rollouts_by_chunk(part, frames="all", context=context, at_once=4)
        for part in (CANDIDATES[:1], CANDIDATES[3:5])
    ]
    for step in range(1, 9):
        found += [
            part.frames for request in requests if (part := next(request, None)) and part.frames is not None
        ]
        observe(predictor, step)
        found.append(predictor.predict(ACTIONS))
    assert len(found) == 8 + 2
    return found


def frames_and_none(predictor: Predictor) -> list[np.ndarray]:
    observe(predictor, 0, 1)
    found = [predictor.predict(ACTIONS, frames="last")]
    for frames in ("all", "last", None):
        predictor.seed(2)
        (part,) = predictor.rollouts(CANDIDATES[:1], frames=frames)
        found += [part.uncertainty] if part.frames is None else [part.frames, part.uncertainty]
    return found


def what_was_given_out_stays(predictor: Predictor) -> list[np.ndarray]:
    observe(predictor, 0)
    found = []
    for step in range(1, 4):
        found += [chunk.frames for chunk in predictor.predict_chunks(CANDIDATES[step])]
        observe(predictor, step)
    return found


@pytest.mark.parametrize(
    "life",
    [
        stream, gaps_and_resets, schedules_and_seeds, shorter_horizons, left_before_the_end, one_inside_the_other, frames_and_none,
        what_was_given_out_stays,
    ],
)  # fmt: skip
def test_replayed_predictions_are_the_plain_ones(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, life: Life
) -> None:
    expected = life(Predictor(*load_checkpoint(tiny_checkpoint), seed=1))
    fakes = recorded_from_now_on(monkeypatch)
    predictor = Predictor(*load_checkpoint(tiny_checkpoint), seed=1)
    found = life(predictor)
    assert fakes[0].recorded
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        if one.dtype == np.uint8:
            assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
        else:
            assert np.allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 16, 19])
def test_batches_are_filled_up_or_run_in_parts(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    predictor = Predictor(*load_checkpoint(tiny_checkpoint), seed=1)
    observe(predictor, 0, 1)
    expected = predictor.predict(CANDIDATES[:count])
    recorded_from_now_on(monkeypatch)
    predictor = Predictor(*load_checkpoint(tiny_checkpoint), seed=1)
    observe(predictor, 0, 1)
    found = predictor.predict(CANDIDATES[:count])
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_nothing_is_recorded_once_all_is_warm(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = recorded_from_now_on(monkeypatch)
    predictor = Predictor(*load_checkpoint(tiny_checkpoint), seed=1, batches=[16])
    predictor.warm_up(all_batches=True)
    recorded = fakes[0].recorded
    observe(predictor, 0, 1, 3, 12)
    request = predictor.rollouts_by_chunk(
        CANDIDATES[:16], frames="last", context=predictor.context(), at_once=64
    )
    next(request)
    for step in range(13, 16):
        predictor.predict(ACTIONS)
        observe(predictor, step)
        next(request)
    for frames in ("all", "last", None):
        list(predictor.rollouts(CANDIDATES[:16], frames=frames))
        for size in predictor.part_sizes:
            list(
                predictor.rollouts_by_chunk(
                    CANDIDATES[:16], frames=frames, context=predictor.context(), at_once=size, horizon=4
                )
            )
    for rung in rungs(predictor.schedule, predictor.horizon, fixed=predictor.records):
        list(predictor.predict_chunks(ACTIONS, schedule=rung.schedule, horizon=rung.frames))
    assert fakes[0].recorded == recorded


def test_predictors_do_not_disturb_each_other(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stream(Predictor(*load_checkpoint(tiny_checkpoint), seed=1))
    recorded_from_now_on(monkeypatch)
    config, model = load_checkpoint(tiny_checkpoint)
    found: dict[int, list[np.ndarray]] = {}

    def live(number: int) -> None:
        found[number] = stream(Predictor(config, model, seed=1))

    threads = [threading.Thread(target=live, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        for one, other in zip(found[number], expected, strict=True):
            assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def test_recordings_are_bounded(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_from_now_on(monkeypatch)
    predictor = Predictor(*load_checkpoint(tiny_checkpoint), seed=1)
    observe(predictor, 0)
    monkeypatch.setattr(engine, "MOST_SHAPES", 2)
    for count in range(1, 5):
        predictor.set_schedule(preset(str(count), 2, 8))
        predictor.predict(ACTIONS)
    assert len(predictor._engine._rollouts) == 2


def test_batches_that_do_not_fit_are_left_out_with_a_word(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = recorded_from_now_on(monkeypatch)
    predictor = Predictor(*load_checkpoint(tiny_checkpoint), seed=1, batches=[16])
    observe(predictor, 0)
    record = fakes[0].record

    def with_little_memory(work, inputs, parts):
        if parts > 1 and len(inputs[-2]) > 4:
            raise torch.cuda.OutOfMemoryError("too much")
        return record(work, inputs, parts)

    monkeypatch.setattr(fakes[0], "record", with_little_memory)
    with pytest.warns(
        RuntimeWarning, match="batches of 16 rollouts do not fit into the memory of cpu: parts of 1 at most"
    ):
        predictor.warm_up(all_batches=True)
    observe(predictor, 0)
    assert predictor.predict(CANDIDATES[:3]).shape == (3, 8, 32, 48, 3)
    monkeypatch.setattr(predictor._engine, "batches", ())
    with pytest.raises(InputError, match="too little memory for a single rollout"):
        predictor.predict(CANDIDATES[:3])


def recorded_from_now_on(monkeypatch: pytest.MonkeyPatch) -> list[FakeGraphs]:
    """What predictors that are made from now on record with, each its own."""
    fakes: list[FakeGraphs] = []

    def recorder_for(_: torch.device) -> FakeGraphs:
        fakes.append(FakeGraphs())
        return fakes[-1]

    monkeypatch.setattr(graphs, "recorder_for", recorder_for)
    return fakes
