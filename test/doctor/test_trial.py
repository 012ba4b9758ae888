# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of a predictor that really ran: its checkpoint, its speed, its idle threads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dd_ros.doctor.finding import Finding, Level
from dd_ros.doctor.trial import findings, trial

PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
FIGURES = {
    "checkpoint": "tiny", "size": "48x32", "fps": 10.0, "device": "cpu", "prediction_ms": 50.0, "idle_share": 0.001,
    "threads": 2, "policy": "PASSIVE", "memory": 1 << 20, "lag": "",
}  # fmt: skip


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}


def test_a_predictor_that_rests_when_it_is_idle(tiny_checkpoint: Path) -> None:
    found = by_name(trial(tiny_checkpoint, PLAIN | {"OMP_NUM_THREADS": "2"}))
    assert list(found) == ["checkpoint", "speed", "threads", "memory"]
    assert found["checkpoint"].text == "tiny loads and predicts, 48x32 at 10 Hz"
    assert found["threads"].level is Level.OK, found["threads"].line
    assert "OMP_WAIT_POLICY=PASSIVE, 2 threads" in found["threads"].text


def test_threads_that_spin_are_named_with_the_cure(tiny_checkpoint: Path) -> None:
    spinning = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "ACTIVE"}
    found = by_name(trial(tiny_checkpoint, PLAIN | spinning))["threads"]
    assert found.level is Level.WARN, found.line
    assert "OMP_WAIT_POLICY=ACTIVE" in found.text
    assert "unset OMP_WAIT_POLICY" in found.cure


@pytest.mark.parametrize(
    ("took", "level"), [(99.0, Level.OK), (101.0, Level.WARN)], ids=["keeps up", "too slow"]
)
def test_speed(took: float, level: Level) -> None:
    found = by_name(findings(FIGURES | {"prediction_ms": took}))["speed"]
    assert found.level is level
    assert ("fewer denoising steps" in found.cure) == (level is Level.WARN)


def test_a_checkpoint_that_is_missing_or_damaged(tiny_checkpoint: Path, tmp_path: Path) -> None:
    [missing] = trial("nowhere", PLAIN)
    assert missing.level is Level.FAIL
    assert missing.text.startswith("checkpoint 'nowhere': no folder")
    damaged = shutil.copytree(tiny_checkpoint, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"no weights")
    [found] = trial(damaged, PLAIN)
    assert (found.level, "model.safetensors: damaged" in found.text) == (Level.FAIL, True)
    assert "train it again" in found.cure


def test_a_predictor_that_cannot_even_start(tiny_checkpoint: Path) -> None:
    [found] = trial(tiny_checkpoint, PLAIN | {"PYTHONPATH": "", "PYTHONHOME": "/nowhere"})
    assert found.level is Level.FAIL
    assert "ended with status" in found.text
