# SPDX-License-Identifier: Apache-2.0
"""Long rollouts on own output."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import randomised, tiny_config

from dd_ros import Predictor
from dd_ros.checkpoint import Model
from dd_ros.errors import InputError
from dd_ros.evaluation.drift import brightness, drift, on_own_output, saturation, sharpness
from dd_ros.streams import Episode

CONFIG = tiny_config()
HORIZON, SEEN = CONFIG.horizon, CONFIG.context_frames


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(CONFIG, randomised(Model(CONFIG)))


def episode(length: int) -> Episode:
    rng = np.random.default_rng(0)
    size = (length, CONFIG.streams.height, CONFIG.streams.width, 3)
    frames = rng.integers(0, 256, size, np.uint8)
    actions = rng.normal(size=(length, CONFIG.action.dim)).astype(np.float32)
    return Episode(frames, actions, np.arange(length, dtype=np.int64), "long")


def test_the_model_sees_nothing_but_its_own_output(predictor: Predictor) -> None:
    first, second = episode(SEEN + 3 * HORIZON), episode(SEEN + 3 * HORIZON)
    second.frames[SEEN:] = 0
    predictor.seed(1)
    one = on_own_output(predictor, first, 3 * HORIZON)
    predictor.seed(1)
    assert np.array_equal(one, on_own_output(predictor, second, 3 * HORIZON))
    assert len(one) == 3 * HORIZON


def test_figures(predictor: Predictor, tmp_path: Path) -> None:
    strip = tmp_path / "strip.png"
    figures = drift(predictor, [episode(5), episode(SEEN + 3 * HORIZON + 1)], 2 * HORIZON, strip)
    first = cv2.imread(str(strip))[..., ::-1][: 2 * CONFIG.streams.height, : 2 * CONFIG.streams.width]
    assert np.array_equal(first[::2, ::2], episode(SEEN + 1).frames[SEEN])
    assert figures["episodes"] == 1
    assert figures["segments"][0]["from"] == 1
    assert set(figures["segments"][0]) == {"from", "psnr", "brightness", "saturation", "sharpness"}
    chunks = HORIZON // CONFIG.schedule.chunk_frames
    assert [len(values) for values in figures["recovery"].values()] == [chunks, chunks]


def test_what_cannot_be_measured_is_named(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"expected an episode of .* steps, the longest has 5"):
        drift(predictor, [episode(5)], 2 * HORIZON)
    with pytest.raises(InputError, match=f"expected a multiple of {HORIZON} steps, got {HORIZON + 1}"):
        drift(predictor, [episode(5)], HORIZON + 1)
    with pytest.raises(InputError, match=f"long: expected {SEEN + 1 + 2 * HORIZON} steps, got"):
        drift(predictor, [episode(SEEN + HORIZON)], HORIZON)


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
