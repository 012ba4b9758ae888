# SPDX-License-Identifier: Apache-2.0
"""Batch sizes follow the memory there is."""

from __future__ import annotations

import pytest

from dd_ros_training.device import clips_within


@pytest.mark.parametrize(
    ("gigabytes", "pixels", "clips"),
    [(2, 128 * 96, 8), (12, 128 * 96, 24), (12, 64 * 64, 64), (80, 128 * 96, 64)],
)
def test_batches_fit_the_memory(gigabytes: int, pixels: int, clips: int) -> None:
    assert clips_within(gigabytes * 10**9, pixels) == clips
