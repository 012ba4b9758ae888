# SPDX-License-Identifier: Apache-2.0
"""Every way of asking a predictor for frames, as functions of a predictor: tests compare what they give on two of them.

Each starts from a reset and a seed of its own, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dd_ros import Predictor
from dd_ros.checkpoint import load_checkpoint
from dd_ros.device import prepare_for_inference
from dd_ros.diffusion.schedule import preset
from dd_ros.predictions import Chunk, Rollouts

Images = NDArray[np.uint8]
Found = list[tuple[Images | None, NDArray[np.float32] | None]]  # frames and uncertainty, whichever there is
Path = Callable[[Predictor], Found]
CANDIDATES = 3


def load(checkpoint: str, device: str, dtype: torch.dtype) -> Predictor:
    """As ``Predictor.load``, with matrix products in ``dtype``."""
    config, model = load_checkpoint(checkpoint)
    return Predictor(config, prepare_for_inference(model.to(device), dtype), dtype=dtype)


@cache
def inputs(width: int, height: int, horizon: int, dim: int) -> tuple[Images, NDArray[np.float32]]:
    """Smooth images [8, H, W, 3] that move, and normalised actions [CANDIDATES, horizon, dim] within training's range."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / 16.0
    phases = rng.uniform(0.0, 6.0, 3)
    images = [
        np.stack(
            [127.5 + 100.0 * np.sin(x + 0.2 * step + phase) * np.cos(y - phase) for phase in phases], axis=-1
        )
        for step in range(8)
    ]
    return np.array(images).round().astype(np.uint8), rng.normal(size=(CANDIDATES, horizon, dim)).astype(
        np.float32
    )


def observe(predictor: Predictor, count: int = 3, first: int = 0) -> None:
    """Observe ``count`` images, from step ``first`` on; from a reset, with seed 0, where that is the beginning."""
    if not first:
        predictor.reset()
        predictor.seed(0)
    images, _ = inputs(predictor.width, predictor.height, predictor.horizon, predictor.action_dim)
    for step in range(first, first + count):
        predictor.observe(images[step % len(images)], step * predictor.step_ns, predictor.config.action.mean)


def actions(predictor: Predictor) -> NDArray[np.float32]:
    """[CANDIDATES, horizon, A], raw."""
    _, normal = inputs(predictor.width, predictor.height, predictor.horizon, predictor.action_dim)
    mean, std = predictor.config.action.mean, predictor.config.action.std
    return (np.asarray(mean) + np.asarray(std) * normal).astype(np.float32)


def of_chunks(chunks: Iterator[Chunk]) -> Found:
    return [(chunk.frames, chunk.uncertainty) for chunk in chunks]


def of_rollouts(parts: Iterator[Rollouts | None]) -> Found:
    return [(part.frames, part.uncertainty) for part in parts if part is not None]


def single(predictor: Predictor) -> Found:
    observe(predictor)
    return [(predictor.predict(actions(predictor)[0]), None)]


def several(predictor: Predictor) -> Found:
    observe(predictor)
    return [(predictor.predict(actions(predictor)), None)]


def last(predictor: Predictor) -> Found:
    found: Found = []
    for plans in (actions(predictor), actions(predictor)[0]):
        observe(predictor)
        found.append((predictor.predict(plans, frames="last"), None))
    return found


def chunks(predictor: Predictor) -> Found:
    observe(predictor)
    return of_chunks(predictor.predict_chunks(actions(predictor)[0]))


def chunks_of_several(predictor: Predictor) -> Found:
    observe(predictor)
    return of_chunks(predictor.predict_chunks(actions(predictor)))


def rollouts(predictor: Predictor) -> Found:
    """All frames, the last, none; in parts of two and at once."""
    found: Found = []
    for frames in ("all", "last", None):
        observe(predictor)
        found += of_rollouts(predictor.rollouts(actions(predictor), frames=frames, at_once=2))  # type: ignore[arg-type]
        found += of_rollouts(predictor.rollouts(actions(predictor), frames=frames))  # type: ignore[arg-type]
    return found


def rollouts_by_chunk(predictor: Predictor) -> Found:
    """With an observation and a prediction of something else between two chunks."""
    found: Found = []
    for frames in ("all", "last", None):
        observe(predictor)
        parts = predictor.rollouts_by_chunk(
            actions(predictor), frames=frames, context=predictor.context(), at_once=2  # type: ignore[arg-type]
        )  # fmt: skip
        for step, part in enumerate(parts, start=3):
            if part is None:
                observe(predictor, 1, first=step)
                predictor.predict(-actions(predictor)[0])
            else:
                found.append((part.frames, part.uncertainty))
    return found


def kept_context(predictor: Predictor) -> Found:
    """A rollout from what had been observed before more was."""
    observe(predictor)
    context = predictor.context()
    observe(predictor, 4, first=3)
    predictor.predict(actions(predictor))
    predictor.seed(0)
    return of_rollouts(predictor.rollouts(actions(predictor), context=context))


def schedules(predictor: Predictor) -> Found:
    """Other denoising steps for a while, then the first ones again."""
    ours = predictor.schedule
    found: Found = []
    for name in ("one_step", "4-3-2-2", "uniform4_clean_context", "uniform2"):
        predictor.set_schedule(preset(name, predictor.chunk_frames, predictor.horizon))
        observe(predictor)
        found += of_chunks(predictor.predict_chunks(actions(predictor)[0]))
    predictor.set_schedule(ours)
    return found + single(predictor)


def teacher(predictor: Predictor) -> Found:
    """All frames at once, guided."""
    return single(predictor.with_schedule(preset("teacher", predictor.chunk_frames, predictor.horizon)))


def longer(predictor: Predictor) -> Found:
    """A rollout beyond what training covers."""
    return chunks(predictor.with_horizon(2 * predictor.horizon))


def long_stream(predictor: Predictor) -> Found:
    """Predictions along a stream: the first frame on, a missed step, a gap that starts anew."""
    found: Found = []
    predictor.reset()
    predictor.seed(0)
    for first, count in ((0, 1), (1, 1), (2, 4), (7, 2), (40, 1), (41, 3)):
        images, _ = inputs(predictor.width, predictor.height, predictor.horizon, predictor.action_dim)
        for step in range(first, first + count):
            predictor.observe(images[step % 8], step * predictor.step_ns, predictor.config.action.mean)
        found.append((predictor.predict(actions(predictor)[0]), None))
    return found


PATHS: dict[str, Path] = {
    path.__name__: path
    for path in (
        single, several, last, chunks, chunks_of_several, rollouts, rollouts_by_chunk, kept_context, schedules, teacher,
        longer, long_stream,
    )
}  # fmt: skip


def same(a: Found, b: Found) -> bool:
    """Whether two are equal to the bit."""
    return len(a) == len(b) and all(
        (x is None) == (y is None) and (x is None or np.array_equal(x, y))
        for one, other in zip(a, b, strict=True)
        for x, y in zip(one, other, strict=True)
    )


def difference(a: Found, b: Found) -> dict[str, Any]:
    """Mean and largest difference of frames in grey levels, and largest of uncertainty."""
    pairs = list(zip(a, b, strict=True))
    frames = [
        np.abs(x.astype(int) - y.astype(int)) for (x, _), (y, _) in pairs if x is not None and y is not None
    ]
    sure = [np.abs(x - y).max() for (_, x), (_, y) in pairs if x is not None and y is not None]
    return {
        "mean": float(np.mean([part.mean() for part in frames])),
        "max": int(max(part.max() for part in frames)),
        "uncertainty": float(max(sure, default=0.0)),
    }
