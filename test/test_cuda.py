# SPDX-License-Identifier: Apache-2.0
"""Predictions on a CUDA device: as on the CPU, the same each time, and no more memory the longer it runs.

``pytest -m cuda`` runs these; elsewhere they are skipped. ``cuda_paths.PATHS`` has the ways of asking for frames.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cuda_paths
import numpy as np
import pytest
import torch
from cuda_paths import PATHS, actions, difference, load, observe, of_chunks, same
from numpy.typing import NDArray

from dd_ros import Predictor, graphs
from dd_ros.rollouts import RolloutMaker

DEVICE = "cuda"
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
CHECKPOINTS = ("g1_pick", "pusht")
# Number format: largest mean and largest single difference from the CPU in float32, in grey levels, and of uncertainty.
FORMATS = {torch.float32: (0.1, 3, 0.02), torch.bfloat16: (0.5, 8, 0.1)}
TICKS, FEWEST_TICKS, LONGEST = 10_000, 2_000, 90.0  # of a stream; the latter in seconds


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise as a CPU draws it from the predictor's seed: a CUDA device draws other numbers."""
    drawn: Callable[..., torch.Tensor] = RolloutMaker._noise

    def noise(maker: RolloutMaker) -> torch.Tensor:
        like = drawn(maker)
        seed = maker._generator.initial_seed()
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)

    monkeypatch.setattr(RolloutMaker, "_noise", noise)


@cache
def on_cpu(checkpoint: str, path: str) -> cuda_paths.Found:
    """What the CPU gives in float32; asked for with ``same_noise``."""
    return PATHS[path](load(checkpoint, "cpu", torch.float32))


@cache
def on_device(checkpoint: str, dtype: torch.dtype) -> Predictor:
    """One predictor for all tests, as one process has."""
    return load(checkpoint, DEVICE, dtype)


@pytest.fixture(params=CHECKPOINTS)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    return on_device(request.param, torch.bfloat16)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", FORMATS, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_as_on_the_cpu(
    same_noise: None, record_property: Callable[..., None], checkpoint: str, dtype: torch.dtype, path: str
) -> None:
    predictor = on_device(checkpoint, dtype)
    assert (predictor.device.type, predictor.dtype) == (DEVICE, dtype)
    found = difference(PATHS[path](predictor), on_cpu(checkpoint, path))
    record_property("difference", str(found))
    mean, most, uncertainty = FORMATS[dtype]
    if path == "longer":  # each chunk rests on the one before: beyond what training covers differences grow
        mean, most, uncertainty = 4 * mean, 255, 4 * uncertainty
    assert found["mean"] < mean, found
    assert found["max"] <= most, found
    assert found["uncertainty"] < uncertainty, found


class Eager:
    """A ``graphs.Recorder`` that runs work as it is, in the shapes that would be recorded."""

    replays = True

    def record(self, work: graphs.Work, inputs: Sequence[torch.Tensor], parts: int) -> graphs.Work:
        return work

    def fetch(self, tensor: torch.Tensor) -> Callable[[], NDArray]:
        copy = tensor.cpu().numpy()
        return lambda: copy


@pytest.mark.parametrize("path", PATHS)
def test_graphs_give_what_they_were_recorded_of(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """To the bit."""
    replayed = PATHS[path](predictor)
    monkeypatch.setattr(graphs, "recorder_for", lambda device: Eager())
    assert same(PATHS[path](Predictor.load(predictor.config.name, DEVICE)), replayed)


@pytest.mark.timeout(600)
def test_no_growth_over_many_ticks(tiny_checkpoint: Path, record_property: Callable[..., None]) -> None:
    predictor = Predictor.load(tiny_checkpoint, DEVICE)
    images, _ = cuda_paths.inputs(predictor.width, predictor.height, predictor.horizon, predictor.action_dim)

    def ticks(first: int, count: int) -> None:
        for tick in range(first, first + count):
            predictor.observe(images[tick % 8], tick * predictor.step_ns, predictor.config.action.mean)
            predictor.predict(actions(predictor)[0])
            if tick % 50 == 0:
                predictor.predict(actions(predictor))
                list(predictor.rollouts(actions(predictor), frames=None, context=predictor.context()))
            if tick % 1000 == 999:
                predictor.reset()

    def memory() -> tuple[int, int]:
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()

    start, done = time.monotonic(), 200
    ticks(0, done)
    before, host = memory(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while done < TICKS and (done < FEWEST_TICKS or time.monotonic() - start < LONGEST):
        ticks(done, 200)
        done += 200
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - host
    record_property("ticks", done)
    record_property("memory", f"{before} before, {memory()} after, host grown by {grown} KiB")
    allocated, reserved = memory()
    assert allocated == before[0]
    assert reserved <= before[1] + 2**25
    assert grown < 64 * 1024


@pytest.mark.parametrize("path", PATHS)
def test_the_same_again(predictor: Predictor, path: str) -> None:
    """To the bit, whatever was asked for in between."""
    first = PATHS[path](predictor)
    for other in ("single", "several", "schedules"):
        PATHS[other](predictor)
    assert same(PATHS[path](predictor), first)


@pytest.mark.parametrize("path", ["single", "chunks", "rollouts"])
def test_the_same_by_a_new_predictor(predictor: Predictor, path: str) -> None:
    assert same(PATHS[path](Predictor.load(predictor.config.name, DEVICE)), PATHS[path](predictor))


def test_another_seed_gives_other_frames(predictor: Predictor) -> None:
    observe(predictor)
    first = predictor.predict(actions(predictor)[0])
    second = predictor.predict(actions(predictor)[0])
    assert not np.array_equal(first, second)
    predictor.seed(0)
    assert np.array_equal(predictor.predict(actions(predictor)[0]), first)
    predictor.seed(1)
    assert not np.array_equal(predictor.predict(actions(predictor)[0]), first)


def test_parts_are_those_of_the_whole(predictor: Predictor) -> None:
    whole = PATHS["single"](predictor)[0][0]
    assert whole is not None
    parts = PATHS["chunks"](predictor)
    assert np.array_equal(np.concatenate([frames for frames, _ in parts if frames is not None]), whole)
    candidates, (last_of_each, last) = PATHS["several"](predictor)[0][0], PATHS["last"](predictor)
    assert candidates is not None
    for part, found in (
        (last_of_each, candidates[:, -1]),
        (last, whole[-1]),
    ):  # decoded alone: in another order
        assert difference([part], [(found, None)])["max"] <= FORMATS[torch.bfloat16][1]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
@pytest.mark.parametrize("dtype", FORMATS, ids=["float32", "bfloat16"])
def test_candidates_are_single_predictions(checkpoint: str, dtype: torch.dtype) -> None:
    predictor = on_device(checkpoint, dtype)
    together = PATHS["several"](predictor)[0][0]
    assert together is not None
    mean, most, _ = FORMATS[dtype]
    for one, plan in zip(together, actions(predictor), strict=True):
        observe(predictor)
        found = difference([(one, None)], [(predictor.predict(plan), None)])
        assert found["mean"] < mean, found
        assert found["max"] <= most, found


def test_what_was_given_stays_as_it_was(predictor: Predictor) -> None:
    """Frames, uncertainty and the observed frame belong to whoever has them, not to the device's next run."""
    observe(predictor)
    given = [
        *of_chunks(predictor.predict_chunks(actions(predictor))),
        (predictor.predict(actions(predictor)[0]), None),
    ]
    observed = predictor.observed
    assert observed is not None
    copies = [tuple(None if part is None else part.copy() for part in pair) for pair in given]
    seen = observed.copy()
    observe(predictor, 4, first=3)
    for _ in range(3):
        predictor.predict(-actions(predictor))
        predictor.predict(-actions(predictor)[0])
    assert same(given, copies)  # type: ignore[arg-type]
    assert np.array_equal(observed, seen)


def test_a_prediction_left_before_its_end_leaves_no_trace(predictor: Predictor) -> None:
    expected = PATHS["single"](predictor)
    observe(predictor)
    next(predictor.predict_chunks(-actions(predictor)[0]))
    next(
        iter(
            predictor.rollouts_by_chunk(
                actions(predictor), frames="all", context=predictor.context(), at_once=2
            )
        )
    )
    predictor.seed(0)
    assert same([(predictor.predict(actions(predictor)[0]), None)], expected)


@pytest.mark.parametrize("path", ["long_stream", "chunks", "rollouts_by_chunk", "kept_context"])
def test_two_predictors_do_not_disturb_each_other(path: str) -> None:
    """Each takes turns with the other: one steps along its path while the other predicts between any two calls."""
    one, other = (Predictor.load(name, DEVICE) for name in CHECKPOINTS)
    expected = [PATHS[path](one), PATHS["single"](other)]
    observe(other)

    class Interleaved(Predictor):
        def observe(self, *given: object) -> bool:  # type: ignore[override]
            other.predict(actions(other)[0])
            return super().observe(*given)  # type: ignore[arg-type]

        def predict(self, *given: object, **how: object) -> np.ndarray:  # type: ignore[override]
            other.predict(actions(other))
            return super().predict(*given, **how)  # type: ignore[arg-type]

    one.__class__ = Interleaved
    assert same(PATHS[path](one), expected[0])
    assert same(PATHS["single"](other), expected[1])


def test_two_threads_with_a_predictor_each() -> None:
    """Both made, warmed and used at once, as graphs may be captured while the other thread works."""
    expected = {name: PATHS["long_stream"](Predictor.load(name, DEVICE)) for name in CHECKPOINTS}

    def work(name: str) -> list[cuda_paths.Found]:
        predictor = Predictor.load(name, DEVICE)
        predictor.warm_up()
        return [PATHS[path](predictor) for path in ("several", "schedules", *["long_stream"] * 5)]

    with ThreadPoolExecutor(len(CHECKPOINTS)) as pool:
        found = dict(zip(CHECKPOINTS, pool.map(work, CHECKPOINTS), strict=True))
    for name in CHECKPOINTS:
        for stream in found[name][2:]:  # other kernels may be chosen where two streams run: not to the bit
            gap = difference(stream, expected[name])
            assert gap["mean"] < FORMATS[torch.bfloat16][0], gap
            assert gap["max"] <= FORMATS[torch.bfloat16][1], gap
