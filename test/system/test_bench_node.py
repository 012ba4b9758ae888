# SPDX-License-Identifier: Apache-2.0
"""``bench --node``: node and camera as real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dd_ros.benchmark.node import bench_node
from dd_ros.errors import InputError


def test_the_real_node_is_measured(tiny_checkpoint: Path) -> None:
    result = bench_node(tiny_checkpoint, "cpu", seconds=2.0)
    assert set(result["age_ms"]) == {"p50", "p95", "p99", "max"}
    assert 0.0 < result["age_ms"]["p50"] <= result["age_ms"]["max"]
    assert result["published"] > 0
    assert result["missed_deadlines"] >= 0
    assert result["dropped_frames"] >= 0
    assert result["node"]["predictions"] > 0
    assert result["node"]["observed_frames"] > 0
    json.dumps(result)


def test_a_node_that_does_not_start_is_told_with_its_last_words(tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"the node ended too early; .*device"):
        bench_node(tiny_checkpoint, "toaster", seconds=1.0)
