# SPDX-License-Identifier: Apache-2.0
"""Batch sizes follow the memory there is."""

from __future__ import annotations

import pytest

from dd_ros_training.device import clips_within, free_and_total_ram, memory_for_frames, training_device


@pytest.mark.parametrize(
    ("gigabytes", "pixels", "clips"),
    [(2, 128 * 96, 8), (12, 128 * 96, 24), (12, 64 * 64, 64), (80, 128 * 96, 64)],
)
def test_batches_fit_the_memory(gigabytes: int, pixels: int, clips: int) -> None:
    assert clips_within(gigabytes * 10**9, pixels) == clips


def test_frames_take_their_share_of_what_is_there() -> None:
    """Of RAM on a CPU, shared by the processes, and never more than half of what is free."""
    free, total = free_and_total_ram()
    assert 0 < free <= total
    cpu = training_device("cpu")
    assert memory_for_frames(cpu, 0.0) == 0
    assert memory_for_frames(cpu, 0.01) == pytest.approx(0.01 * total, rel=0.01)
    assert memory_for_frames(cpu, 0.01, 2) == pytest.approx(0.005 * total, rel=0.01)
    assert memory_for_frames(cpu, 1.0) < 0.6 * total
