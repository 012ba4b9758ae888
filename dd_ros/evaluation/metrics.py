# SPDX-License-Identifier: Apache-2.0
"""Metrics on 8-bit RGB images; all take uint8 [..., H, W, 3] and give float64 [...]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BEST_PSNR = 100.0  # dB, stands for identical images
MOVING = 0.05  # share of the value range that counts as change


def squared_error(true: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Squared error per pixel and channel in units of the full range."""
    return ((true.astype(np.float32) - predicted.astype(np.float32)) / 255.0) ** 2


def decibel(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared error (range 1) -> PSNR in dB, at most BEST_PSNR."""
    return np.minimum(-10.0 * np.log10(np.maximum(error, 1e-12)), BEST_PSNR)


def psnr(true: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB per image."""
    return decibel(squared_error(true, predicted).mean(axis=(-3, -2, -1), dtype=np.float64))
