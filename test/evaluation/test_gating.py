# SPDX-License-Identifier: Apache-2.0
"""The gate between prediction and image: as the plainest loop has it, and fitted where the answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from dd_ros import Predictor
from dd_ros.evaluation.gating import Moments, around_each, fitted, gate_of, groups_of, psnr, row_of
from dd_ros.gate import LEVELS, REACH, Gate
from dd_ros.model.gate import gated

CELL = 2 * REACH + 1
RNG = np.random.default_rng(0)
RAMP = tuple(np.linspace(0.0, 1.0, len(LEVELS)))


def gate(*rows: tuple[float, ...]) -> Gate:
    return Gate(shares=rows, windows=1, episodes=1, gain=0.0)


def plain_share(size: float, row: NDArray[np.float32]) -> float:
    """By interpolation over the logarithm."""
    return float(np.interp(np.log2(max(size, 1e-9)), np.log2(LEVELS), row))


def test_a_cell_shows_the_share_of_its_size() -> None:
    last = RNG.uniform(-0.5, 0.0, (1, 3, 2 * CELL, 3 * CELL)).astype(np.float32)
    rows = RNG.uniform(0, 1, (2, len(LEVELS))).astype(np.float32)
    for size in (0.1, 0.25, 3.0, 5.7, 64.0, 100.0):
        change = np.full((4, 2, 3, 2 * CELL, 3 * CELL), size / 127.5, np.float32)
        found = gated(*map(torch.from_numpy, (last + change, last, rows))).numpy()
        for step, row in enumerate(rows):
            wanted = last + plain_share(size, row) * change[:, step]
            np.testing.assert_allclose(found[:, step], wanted, atol=1e-5)


def test_the_share_is_that_of_the_size_around_each_pixel() -> None:
    """By the plainest loop, at edges and corners too."""
    height, width = 14, 17
    last = RNG.uniform(-0.3, 0.0, (1, 3, height, width)).astype(np.float32)
    pixels = last + RNG.uniform(0, 0.3, last.shape).astype(np.float32) * (RNG.random((height, width)) < 0.2)
    row = np.array(RAMP, np.float32)
    found = gated(*map(torch.from_numpy, (pixels[None].astype(np.float32), last, row[None])))[0, 0].numpy()
    change = (pixels - last)[0]
    for y in range(height):
        for x in range(width):
            near = change[:, max(0, y - REACH) : y + REACH + 1, max(0, x - REACH) : x + REACH + 1]
            share = plain_share(127.5 * float(np.sqrt(np.square(near).mean())), row)
            np.testing.assert_allclose(found[:, y, x], last[0, :, y, x] + share * change[:, y, x], atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.floats(0.01, 2.0), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_what_is_shown_lies_between_the_last_frame_and_the_prediction(
    rollouts: int, frames: int, cells: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    last = rng.uniform(-1, 1, (1, 3, CELL, cells * CELL)).astype(np.float32)
    pixels = last + scale * rng.normal(size=(rollouts, frames, *last.shape[1:])).astype(np.float32)
    rows = rng.uniform(0, 1, (frames, len(LEVELS))).astype(np.float32)
    found = gated(*map(torch.from_numpy, (pixels, last, rows))).numpy()
    assert (found >= np.minimum(last, pixels) - 1e-5).all()
    assert (found <= np.maximum(last, pixels) + 1e-5).all()


def test_sums_are_the_error_of_what_is_shown() -> None:
    shape = (2 * CELL, 3 * CELL, 3)
    last = RNG.integers(60, 90, shape).astype(np.uint8)
    moved = RNG.integers(0, 40, shape) * (RNG.random((*shape[:2], 1)) < 0.3)
    predicted, true = (last + moved).astype(np.uint8), (last + RNG.integers(0, 30, shape)).astype(np.uint8)
    row = np.array(RAMP)
    still, gain, square = row_of(predicted, true, last)
    planes = [
        torch.from_numpy(image.astype(np.float32)).movedim(-1, 0)[None] / 127.5 - 1
        for image in (predicted, last)
    ]
    shares = torch.from_numpy(row.astype(np.float32))[None]
    shown = gated(planes[0][None], planes[1], shares)[0, 0].movedim(0, -1).numpy()
    assert still == pytest.approx(np.square(true.astype(float) - last).mean())
    error = still - 2 * row @ gain + row @ square @ row
    assert error == pytest.approx(np.square(true - 127.5 * (shown + 1)).mean(), rel=1e-4)


def made_up(windows: int, shares: NDArray[np.float64], noise: float, seed: int = 0) -> Moments:
    """Predictions of which just ``shares`` [K, levels] come true."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(windows):
        steps = []
        for row in shares:
            last = np.full((6 * CELL, 8 * CELL, 3), 100, np.uint8)
            sizes = np.exp2(rng.integers(0, len(LEVELS) - 2, (6, 8))).repeat(CELL, 0).repeat(CELL, 1)
            predicted = last + sizes.astype(np.uint8)[..., None]
            around = np.sqrt(around_each(np.square(predicted.astype(float) - last).mean(-1)))
            share = np.interp(np.log2(around), np.log2(LEVELS), row)
            true = last + share[..., None] * sizes[..., None] + rng.normal(0, noise, last.shape)
            steps.append(row_of(predicted, np.clip(true.round(), 0, 255).astype(np.uint8), last))
        rows.append([np.stack(part) for part in zip(*steps, strict=True)])
    return Moments(*(np.stack(part) for part in zip(*rows, strict=True)))


def test_the_shares_that_came_true_are_found() -> None:
    true = np.tile([0.0, 0.0, 0.0, 0.1, 0.3, 0.6, 0.9, 0.9, 0.9], (6, 1))
    found = fitted(made_up(12, true, noise=1.0))
    np.testing.assert_allclose(found[:, 3:8], true[:, 3:8], atol=0.06)


def test_no_shares_do_better() -> None:
    summed = made_up(6, np.tile(np.array(RAMP), (3, 1)), noise=6.0)
    best = fitted(summed)
    reached = psnr(summed.errors(best)).mean()
    for _ in range(200):
        other = np.clip(best + RNG.normal(0, 0.1, best.shape), 0, 1)
        assert psnr(summed.errors(other)).mean() < reached + 0.02


def test_noise_is_not_shown() -> None:
    """Changes that never come: the last frame is all that is left, and no step is worse than it."""
    summed = made_up(10, np.zeros((4, len(LEVELS))), noise=0.5)
    found = gate_of(summed, np.arange(10) // 2)
    shares = np.array(found.shares)
    assert shares[:, 2:8].max() < 0.02
    assert (psnr(summed.errors(shares)) - psnr(summed.still)).mean(axis=0).min() > -0.01
    assert found.gain > 3.0


def test_what_comes_true_is_shown_whole() -> None:
    found = gate_of(made_up(10, np.ones((4, len(LEVELS))), noise=0.5), np.arange(10) // 2)
    assert np.array(found.shares)[:, 2:8].min() > 0.97
    assert found.gain == pytest.approx(0.0, abs=0.02)


def test_episodes_are_left_out_or_stretches_of_a_single_one() -> None:
    np.testing.assert_array_equal(groups_of(np.array([3, 3, 5])), [3, 3, 5])
    np.testing.assert_array_equal(groups_of(np.zeros(8, int)), [0, 0, 1, 1, 2, 2, 3, 3])


def test_rows_go_on_beyond_the_fit() -> None:
    found = gate(RAMP, tuple(reversed(RAMP))).rows(4)
    np.testing.assert_allclose(found, [RAMP, RAMP[::-1], RAMP[::-1], RAMP[::-1]], rtol=1e-6)


@pytest.mark.parametrize("rows", [[], [RAMP[:-1]], [(*RAMP[:-1], 1.5)], [(*RAMP[:-1], np.nan)]])
def test_a_gate_that_fits_nothing_is_refused(rows: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValidationError):
        Gate(shares=tuple(rows), windows=1, episodes=1, gain=0.0)


def test_a_predictor_shows_what_its_gate_lets_through(tiny_checkpoint: Path) -> None:
    plain = Predictor.load(tiny_checkpoint, "cpu")
    k, actions = plain.horizon, RNG.normal(size=(3, plain.horizon, plain.action_dim))
    image = RNG.integers(0, 255, (plain.height, plain.width, 3)).astype(np.uint8)
    ramps = tuple((step / (2 * k),) * (len(LEVELS) - 1) + (0.9 - step / (2 * k),) for step in range(k))
    closed, ramp = gate((0.0,) * len(LEVELS)), gate(*ramps)
    shown = {}
    for name, some in (
        ("none", None),
        ("open", gate((1.0,) * len(LEVELS))),
        ("closed", closed),
        ("ramp", ramp),
    ):
        predictor = plain.with_gate(some)
        predictor.seed(1)
        predictor.observe(image, 0, [0.0] * plain.action_dim)
        shown[name] = predictor.predict(actions)
        predictor.seed(1)
        chunks = [chunk.frames for chunk in predictor.predict_chunks(actions)]
        np.testing.assert_array_equal(np.concatenate(chunks, axis=1), shown[name])
        predictor.seed(1)
        np.testing.assert_array_equal(predictor.predict(actions, frames="last"), shown[name][:, -1])
    assert np.abs(shown["open"].astype(int) - shown["none"]).max() <= 1
    assert (shown["closed"] == image).all()
    pixels = torch.from_numpy(shown["none"]).movedim(-1, -3).float() / 127.5 - 1
    last = torch.from_numpy(image[None]).movedim(-1, -3).float() / 127.5 - 1
    wanted = gated(pixels, last, torch.from_numpy(ramp.rows(k))).movedim(-3, -1).numpy()
    assert np.abs((wanted + 1) * 127.5 - shown["ramp"]).max() <= 2.0
    assert np.abs(shown["ramp"].astype(int) - shown["none"]).max() > 3
    longer = plain.with_gate(ramp).with_horizon(2 * k)
    longer.observe(image, 0, [0.0] * plain.action_dim)
    assert longer.predict(np.concatenate([actions, actions], axis=1)).shape[1] == 2 * k
