# SPDX-License-Identifier: Apache-2.0
"""Long rollouts on own output."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import random_model, tiny_config

from dd_ros import Predictor
from dd_ros.data.steps import Episode
from dd_ros.errors import InputError
from dd_ros.evaluation.drift import after_real_frames, brightness, drift, predicted, saturation, sharpness
from dd_ros.evaluation.metrics import psnr

CONFIG = tiny_config()
HORIZON, SEEN = CONFIG.horizon, CONFIG.context_frames


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(CONFIG, random_model(CONFIG))


def episode(length: int) -> Episode:
    rng = np.random.default_rng(0)
    size = (length, CONFIG.streams.height, CONFIG.streams.width, 3)
    frames = rng.integers(0, 256, size, np.uint8)
    actions = rng.normal(size=(length, CONFIG.action.dim)).astype(np.float32)
    return Episode(frames, actions, np.arange(length, dtype=np.int64), "long")


def test_the_model_sees_nothing_but_its_own_output(predictor: Predictor) -> None:
    long = predictor.with_horizon(3 * HORIZON)
    first, second = episode(SEEN + 3 * HORIZON), episode(SEEN + 3 * HORIZON)
    second.frames[SEEN:] = 0
    one, other = (predicted(long, clip, start=SEEN, seen=SEEN) for clip in (first, second))
    assert np.array_equal(one, other)
    assert len(one) == 3 * HORIZON


def test_figures(predictor: Predictor, tmp_path: Path) -> None:
    strip = tmp_path / "strip.png"
    figures = drift(predictor, [episode(5), episode(SEEN + 3 * HORIZON + 1)], steps=2 * HORIZON, strip=strip)
    first = cv2.imread(str(strip))[..., ::-1][: 2 * CONFIG.streams.height, : 2 * CONFIG.streams.width]
    assert np.array_equal(first[::2, ::2], episode(SEEN + 1).frames[SEEN])
    assert figures["episodes"] == 1
    assert figures["spans"][0]["from"] == 1
    assert set(figures["spans"][0]) == {"from", "psnr", "brightness", "saturation", "sharpness"}
    chunks = HORIZON // CONFIG.schedule.chunk_frames
    assert [len(values) for values in figures["recovery"].values()] == [chunks, chunks]


def test_after_one_real_frame(predictor: Predictor) -> None:
    """What is judged is what follows a frame that comes after a long gap, or that is the first one."""
    clip = episode(SEEN + 2 * HORIZON)
    one, all_seen = after_real_frames(predictor, clip)[1]
    start = SEEN + HORIZON
    predictor.seed(start)
    predictor.observe(clip.frames[0], -100 * predictor.step_ns, clip.actions[0])
    predictor.observe(clip.frames[start - 1], 0, clip.actions[start - 1])
    found = psnr(clip.frames[start:], predictor.predict(clip.actions[start:]))
    assert np.allclose(one, found.reshape(-1, CONFIG.schedule.chunk_frames).mean(axis=1))
    assert not np.allclose(one, all_seen)


def test_what_cannot_be_measured_is_named(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"expected an episode of .* steps, the longest has 5"):
        drift(predictor, [episode(5)], steps=2 * HORIZON)
    with pytest.raises(InputError, match=f"{HORIZON + 1} frames do not divide into chunks of"):
        drift(predictor, [episode(5)], steps=HORIZON + 1)


def test_measures() -> None:
    grey = np.full((2, 8, 8, 3), 100, np.uint8)
    red = grey.copy()
    red[..., 0] = 200
    assert np.allclose(brightness(grey), 100)
    assert np.allclose(saturation(grey), 0)
    assert np.allclose(saturation(red), 100)
    assert np.allclose(sharpness(grey), 0)
    board = np.repeat(
        (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, ..., None], 3, axis=-1
    )
    assert sharpness(board)[0] > 1e4
