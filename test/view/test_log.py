# SPDX-License-Identifier: Apache-2.0
"""What a recording holds of a run whose predictions change their kind."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rrd import read

from dd_ros.view.log import ViewLog
from dd_ros.view.seen import Predicted
from dd_ros.view.sinks import Sink, opened

pytestmark = pytest.mark.skipif(find_spec("rerun") is None, reason="needs rerun-sdk (extra view)")
STEP, START = 100_000_000, 10**18


def chunk(step: int, *, horizon: int, width: int = 48) -> Predicted:
    """A whole prediction made at model step ``step``."""
    return Predicted(
        stamp_ns=START + step * STEP, step_ns=STEP, horizon=horizon, first_step=1,
        frames=np.full((horizon, 32, width, 3), step, np.uint8), uncertainty=np.full(horizon, 0.1, np.float32),
        actions=np.zeros((horizon, 2), np.float32),
    )  # fmt: skip


def test_a_horizon_that_is_cut_for_a_while_leaves_the_leads_as_they_are(tmp_path: Path) -> None:
    save = tmp_path / "x.rrd"
    with opened(Sink(save=save)) as recording:
        log = ViewLog(recording)
        for step, horizon in enumerate((8, 8, 4, 4, 8)):
            log.predicted(chunk(step, horizon=horizon))
            log.camera(START + step * STEP, np.full((32, 48, 3), step, np.uint8))
    found = {name: [(row.target_ns - START) // STEP for row in rows] for name, rows in read(save).items()}
    assert {name: steps for name, steps in found.items() if name.startswith("predicted")} == {
        "predicted/lead_0.2s": [2, 3, 4, 5, 6],
        "predicted/lead_0.4s": [4, 5, 6, 7, 8],
        "predicted/lead_0.8s": [8, 9, 12],
    }
    assert found["error/lead_0.2s"] == [2, 3, 4]


def test_another_model_has_its_own_size_and_leads(tmp_path: Path) -> None:
    save = tmp_path / "x.rrd"
    with opened(Sink(save=save)) as recording:
        log = ViewLog(recording, leads=(0.3,))
        for step in range(4):
            log.predicted(chunk(step, horizon=8))
            log.camera(START + step * STEP, np.zeros((32, 48, 3), np.uint8))
        log.predicted(chunk(4, horizon=2, width=24))
        assert log.size == (24, 32)
        log.camera(START + 6 * STEP, np.zeros((32, 24, 3), np.uint8))
    found = read(save)
    assert len(found["error/lead_0.3s"]) == 1
    assert [row.value.shape for row in found["error/lead_0.2s"]] == [(32, 24, 3)]


def test_what_the_node_says_is_written_when_it_changes(tmp_path: Path) -> None:
    save = tmp_path / "x.rrd"
    with opened(Sink(save=save)) as recording:
        log = ViewLog(recording, live=True)
        log.counts({"lost images": 1})  # before anything was seen there is no time to put it at
        for level, text in ((0, "ok"), (0, "ok"), (2, "expected images"), (2, "expected images"), (0, "ok")):
            log.words("image", level, text)
    found = read(save)
    assert [row.value for row in found["diagnostics/image"]] == [
        "image: ok",
        "image: expected images",
        "image: ok",
    ]
    assert "missed/lost_images" not in found
