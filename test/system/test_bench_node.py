# SPDX-License-Identifier: Apache-2.0
"""``bench --node``: node and camera as real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dd_ros_msgs.msg import PredictedVideo

from dd_ros.benchmark.node import bench_node, figures
from dd_ros.errors import InputError
from dd_ros.resources import read_config
from dd_ros.ros.messages import to_time


def message(stamp: int, chunk: int, late: list[bool]) -> PredictedVideo:
    video = PredictedVideo(chunk=chunk, chunks=2, late=late)
    video.header.stamp = to_time(stamp)
    return video


def test_figures_of_known_arrivals(tiny_checkpoint: Path):
    second = 1_000_000_000
    chunks = [
        (second + 30_000_000, message(second, 0, [False, False])),
        (second + 90_000_000, message(second, 1, [True, False])),
        (2 * second + 50_000_000, message(2 * second, 0, [True, True])),
        (2 * second + 99_000_000, message(2 * second, 1, [False, False])),
    ]
    before = {"frames dropped": 3, "lost images": 0, "observed frames": 9}
    after = {"frames dropped": 5, "lost images": 1, "observed frames": 29}
    result = figures(chunks, before, after, read_config(tiny_checkpoint), 2.0)
    assert result["age_ms"]["p50"] == pytest.approx(40.0)
    assert result["age_ms"]["max"] == pytest.approx(50.0)
    assert result["age_last_chunk_ms"]["p50"] == pytest.approx(94.5)
    assert (result["missed_deadlines"], result["late_frames"]) == (1, 3)
    assert (result["dropped_frames"], result["published"]) == (3, 4)
    assert (result["node"]["predictions"], result["node"]["observed_frames"]) == (2, 20)


def test_nothing_received_is_said(tiny_checkpoint: Path):
    with pytest.raises(InputError, match="no whole prediction within 2 s"):
        figures([], {}, {}, read_config(tiny_checkpoint), 2.0)


def test_the_real_node_is_measured(tiny_checkpoint: Path):
    result = bench_node(tiny_checkpoint, read_config(tiny_checkpoint), "cpu", seconds=2.0)
    assert set(result["age_ms"]) == {"p50", "p95", "p99", "max"}
    assert 0.0 < result["age_ms"]["p50"] <= result["age_ms"]["max"]
    assert result["published"] > 0
    assert result["missed_deadlines"] >= 0
    assert result["dropped_frames"] >= 0
    assert result["node"]["predictions"] > 0
    json.dumps(result)


def test_a_node_that_does_not_start_is_told_with_its_last_words(tiny_checkpoint: Path):
    with pytest.raises(InputError, match=r"the node ended too early; .*device"):
        bench_node(tiny_checkpoint, read_config(tiny_checkpoint), "toaster", seconds=1.0)
