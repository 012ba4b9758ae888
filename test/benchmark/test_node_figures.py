# SPDX-License-Identifier: Apache-2.0
"""Figures of ``bench --node`` from known arrivals, without ROS; the real node is measured in test/system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dd_ros.benchmark.node import bench_node, figures
from dd_ros.errors import InputError
from dd_ros.live.bench import Arrival, Counters

SECOND, MS = 1_000_000_000, 1_000_000
NONE = Counters(observed=0, dropped=0, lost=0)


def test_figures_of_known_arrivals() -> None:
    arrivals = [
        Arrival(SECOND + 30 * MS, SECOND, 0, 2, (False, False)),
        Arrival(SECOND + 90 * MS, SECOND, 1, 2, (True, False)),
        Arrival(2 * SECOND + 50 * MS, 2 * SECOND, 0, 2, (True, True)),
        Arrival(2 * SECOND + 99 * MS, 2 * SECOND, 1, 2, (False, False)),
    ]
    before = Counters(observed=9, dropped=3, lost=0)
    after = Counters(observed=29, dropped=5, lost=1)
    result = figures(arrivals, before=before, after=after, camera_hz=10.0, seconds=2.0)
    assert result["age_ms"]["p50"] == pytest.approx(40.0)
    assert result["age_ms"]["max"] == pytest.approx(50.0)
    assert result["age_last_chunk_ms"]["p50"] == pytest.approx(94.5)
    assert (result["missed_deadlines"], result["late_frames"]) == (1, 3)
    assert (result["dropped_frames"], result["published"]) == (3, 4)
    node = result["node"]
    assert (node["predictions"], node["observed_frames"], node["camera_hz"]) == (2, 20, 10.0)
    assert (node["overwritten_frames"], node["lost_images"]) == (2, 1)


def test_nothing_received_is_said() -> None:
    with pytest.raises(InputError, match="no whole prediction within 2 s"):
        figures([], before=NONE, after=NONE, camera_hz=10.0, seconds=2.0)


def test_without_ros_it_says_what_to_do(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)  # an import of it fails, as where it is not installed
    monkeypatch.delitem(sys.modules, "dd_ros.ros.bench", raising=False)
    with pytest.raises(
        InputError, match=r"--node: no ROS 2 environment \(.*rclpy.*\); run make setup or source"
    ):
        bench_node(tiny_checkpoint, "cpu")
