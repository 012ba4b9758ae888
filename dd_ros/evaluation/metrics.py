# SPDX-License-Identifier: Apache-2.0
"""Metrics on 8-bit RGB images: they take uint8 [..., H, W, 3] and give float64 [...]."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BEST_PSNR = (
    60.0  # dB; beyond it errors are below the rounding to 8 bits (59 dB), so it stands for "identical"
)
MOVING = 0.05  # share of the value range beyond which a pixel counts as changed
SSIM_WINDOW = 7  # pixels, as in scikit-image
RESAMPLES = 2000  # of the bootstrap

Images = NDArray[np.uint8]
Values = NDArray[np.float64]


def squared_error(true: Images, predicted: Images) -> NDArray[np.float32]:
    """Squared error per pixel and channel in units of the full range, float32 [..., H, W, 3]."""
    return ((true.astype(np.float32) - predicted.astype(np.float32)) / 255.0) ** 2


def decibel(error: Values) -> Values:
    """Mean squared error (range 1) -> PSNR in dB, at most BEST_PSNR."""
    return np.minimum(-10.0 * np.log10(np.maximum(error, 1e-12)), BEST_PSNR)


def psnr(true: Images, predicted: Images) -> Values:
    """Peak signal-to-noise ratio per image in dB."""
    return decibel(squared_error(true, predicted).mean(axis=(-3, -2, -1), dtype=np.float64))


def rms(true: Images, predicted: Images) -> Values:
    """Root of the mean squared error per image, in grey levels of 255."""
    return 255.0 * np.sqrt(squared_error(true, predicted).mean(axis=(-3, -2, -1), dtype=np.float64))


def moving_pixels(true: Images, last: Images) -> NDArray[np.bool_]:
    """Pixels [..., H, W] with a channel that differs by more than 5% of the range between the images."""
    return np.any(np.abs(true.astype(np.int16) - last.astype(np.int16)) > MOVING * 255.0, axis=-1)


def psnr_moving(true: Images, predicted: Images, last: Images) -> Values:
    """PSNR in dB on pixels that move between ``last``, the last observed frame, and ``true``.

    ``last`` is [H, W, 3] or broadcasts to ``true``. NaN for images without such pixels.
    """
    moving = moving_pixels(true, last)
    count = moving.sum(axis=(-2, -1))
    total = (squared_error(true, predicted).mean(axis=-1) * moving).sum(axis=(-2, -1), dtype=np.float64)
    return np.where(count > 0, decibel(total / np.maximum(count, 1)), np.nan)


def ssim(true: Images, predicted: Images) -> Values:
    """Structural similarity per image, mean over channels; scikit-image's default (7x7 uniform window).

    Raises:
        ValueError: images smaller than the window.
    """
    height, width = true.shape[-3:-1]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(f"ssim: expected images of at least {SSIM_WINDOW} pixels, got {width}x{height}")
    lead = true.shape[:-3]
    values = [_ssim(a, b) for a, b in zip(_flat(true), _flat(predicted), strict=True)]
    return np.array(values, np.float64).reshape(lead)


def _flat(images: Images) -> Images:
    return images.reshape(-1, *images.shape[-3:])


def _ssim(true: Images, predicted: Images) -> float:
    """SSIM of two images [H, W, 3], window sums by box filters over all channels at once."""
    x, y = true.astype(np.float64), predicted.astype(np.float64)
    mean_x, mean_y = _box(x), _box(y)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # covariances of a sample, as scikit-image has them
    variance_x = sample * (_box(x * x) - mean_x**2)
    variance_y = sample * (_box(y * y) - mean_y**2)
    covariance = sample * (_box(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    border = SSIM_WINDOW // 2
    return float(similarity[border:-border, border:-border].mean())


def _box(x: Values) -> Values:
    return np.asarray(cv2.blur(x, (SSIM_WINDOW, SSIM_WINDOW)))


def bootstrap_interval(
    values: Values, groups: NDArray[np.int64], *, seed: int = 0, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """95% interval of the mean of ``values`` over whole groups drawn with replacement.

    Windows of one episode are alike; drawing episodes, not windows, keeps the interval honest.

    Args:
        values: [W, K], one row per window.
        groups: [W], the group (episode) of each window.
        seed: of the drawing.
        resamples: how many times to draw.

    Returns:
        [K, 2], lower and upper end.
    """
    _, group = np.unique(groups, return_inverse=True)
    count = group.max() + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, group, values)
    sizes = np.bincount(group, minlength=count)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    means = (times @ sums) / (times @ sizes)[:, None]
    return np.percentile(means, (2.5, 97.5), axis=0).T


def best_fraction(own: Values, others: Values) -> float:
    """Fraction of windows where ``own`` [W] is strictly above every row of ``others`` [M, W]."""
    return float((own > others).all(axis=0).mean())


def mean_known(values: Values) -> Values:
    """Mean over the first dimension, leaving out NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def jsonable(values: Values | np.float64) -> Any:
    """Lists of floats with four digits; NaN becomes null."""
    array = np.asarray(values, np.float64)
    if array.ndim:
        return [jsonable(value) for value in array]
    return None if np.isnan(array) else round(float(array), 4)
