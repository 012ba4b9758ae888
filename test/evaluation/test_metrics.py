# SPDX-License-Identifier: Apache-2.0
"""Metrics against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dd_ros.evaluation.metrics import (
    BEST_PSNR,
    best_fraction,
    bootstrap_interval,
    psnr,
    psnr_moving,
    ssim,
)


@pytest.fixture
def pairs() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """True and predicted images [2, 3, 20, 28, 3], ever more noisy."""
    rng = np.random.default_rng(1)
    smooth = np.kron(rng.integers(0, 256, (2, 3, 5, 7, 3)), np.ones((4, 4, 1)))
    noise = rng.normal(size=smooth.shape) * np.arange(1, 7).reshape(2, 3, 1, 1, 1) * 5
    return smooth.astype(np.uint8), np.clip(smooth + noise, 0, 255).astype(np.uint8)


def test_psnr_and_ssim_agree_with_scikit_image(pairs):
    true, predicted = pairs
    for place in np.ndindex(2, 3):
        a, b = true[place], predicted[place]
        assert psnr(true, predicted)[place] == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-4)
        reference = structural_similarity(a, b, channel_axis=2, data_range=255)
        assert ssim(true, predicted)[place] == pytest.approx(reference, abs=1e-9)


def test_identical_images_have_the_best_values(pairs):
    true, _ = pairs
    assert (psnr(true, true) == BEST_PSNR).all()
    np.testing.assert_allclose(ssim(true, true), 1.0)


def test_psnr_moving_counts_only_pixels_that_change(pairs):
    true, predicted = pairs
    last = true[0, 0].copy()
    last[:10] = predicted[1, 2][:10]
    values = psnr_moving(true[0], predicted[0], last)
    for value, image, guess in zip(values, true[0], predicted[0], strict=True):
        errors = [
            ((int(image[y, x, c]) - int(guess[y, x, c])) / 255) ** 2
            for y in range(20)
            for x in range(28)
            if any(abs(int(image[y, x, k]) - int(last[y, x, k])) > 0.05 * 255 for k in range(3))
            for c in range(3)
        ]
        assert value == pytest.approx(-10 * math.log10(sum(errors) / len(errors)), abs=1e-4)


def test_psnr_moving_is_nan_where_nothing_moves(pairs):
    true, predicted = pairs
    still = np.stack([true[0, 0]] * 2)
    assert np.isnan(psnr_moving(still, predicted[0, :2], true[0, 0])).all()
    almost = np.clip(true[0, 0].astype(int) + 12, 0, 255).astype(np.uint8)  # 12 of 255 is below 5%
    assert np.isnan(psnr_moving(almost, predicted[0, 0], true[0, 0]))


def test_ssim_refuses_images_below_its_window():
    tiny = np.zeros((6, 20, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 7 pixels, got 20x6"):
        ssim(tiny, tiny)


def test_bootstrap_draws_whole_episodes():
    """Equal windows within an episode add no certainty: many copies give the interval of one each."""
    rng = np.random.default_rng(0)
    episodes = rng.normal(3.0, 1.0, (20, 4))
    single = bootstrap_interval(episodes, np.arange(20), seed=5)
    copies = bootstrap_interval(episodes.repeat(50, axis=0), np.arange(20).repeat(50), seed=5)
    np.testing.assert_allclose(copies, single)
    mean = episodes.mean(axis=0)
    assert (single[:, 0] < mean).all()
    assert (single[:, 1] > mean).all()
    expected = 2 * 1.96 * episodes.std(axis=0) / math.sqrt(20)
    np.testing.assert_allclose(single[:, 1] - single[:, 0], expected, rtol=0.15)


def test_bootstrap_agrees_with_a_loop_for_episodes_of_different_length():
    values, groups = np.array([[0.0], [1.0], [1.0], [5.0]]), np.array([7, 9, 9, 4])
    rng = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        drawn = rng.choice([7, 9, 4], 3)
        means.append(np.concatenate([values[groups == group, 0] for group in drawn]).mean())
    np.testing.assert_allclose(
        bootstrap_interval(values, groups, resamples=4000)[0], np.percentile(means, (2.5, 97.5)), atol=1e-9
    )


def test_best_fraction_wants_to_be_strictly_best():
    own = np.array([3.0, 2.0, 1.0, 5.0])
    others = np.array([[1.0, 2.0, 0.0, 6.0], [2.0, 1.0, 0.5, 1.0]])
    assert best_fraction(own, others) == 0.5
