# SPDX-License-Identifier: Apache-2.0
"""A short soak: the node comes back from every fault with the right frames, and the report says so."""

from __future__ import annotations

import json
from pathlib import Path

from dd_ros.benchmark.soak import soak


def test_the_node_comes_back_from_faults_and_the_report_says_how(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    faults = ["garbage images", "node killed", "bad plans", "stamps back"]
    result = soak(tiny_checkpoint, seconds=12.0, out=tmp_path, faults=faults)
    report = (tmp_path / "soak.md").read_text()
    assert result["failed_phases"] == 0, report
    written = json.loads((tmp_path / "soak.json").read_text())
    assert written["phases"][0]["fault"] == "start"
    assert all(phase["checked"] >= 12 and phase["recovery"] is not None for phase in written["phases"])
    assert written["samples"]
    assert "| start | 1 |" in report
