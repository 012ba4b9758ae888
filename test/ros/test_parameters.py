# SPDX-License-Identifier: Apache-2.0
"""Parameters are written once; everything else about them follows."""

from __future__ import annotations

import random
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from dd_ros.live.settings import PredictorParameters, violation
from dd_ros.ros.parameters import as_table, as_yaml

ROOT = Path(__file__).resolve().parents[2]
REMAKE = "python -m dd_ros.ros.parameters yaml > config/predictor.yaml"


def test_the_parameter_file_is_the_one_made_from_the_dataclass() -> None:
    written = (ROOT / "config" / "predictor.yaml").read_text()
    assert written == as_yaml(PredictorParameters, "predictor"), f"run: {REMAKE}"
    values = yaml.safe_load(written)["/**/predictor"]["ros__parameters"]
    assert PredictorParameters(**values) == PredictorParameters()


def test_the_table_names_every_parameter() -> None:
    table = as_table(PredictorParameters)
    assert all(f"| `{item.name}` |" in table for item in fields(PredictorParameters))


@pytest.mark.parametrize("item", fields(PredictorParameters), ids=lambda item: item.name)
def test_every_parameter_is_described_and_its_default_allowed(item) -> None:
    details = item.metadata
    assert details["description"].endswith(".")
    assert not details["choices"] or item.default in details["choices"]
    if details["limits"]:
        low, high = details["limits"]
        for value in item.default if isinstance(item.default, tuple) else (item.default,):
            assert type(low) is type(value)
            assert low <= value <= high


def test_choices() -> None:
    assert violation(PredictorParameters, "device", "cpu") is None
    assert violation(PredictorParameters, "device", "tpu") == (
        "parameter device: expected auto or cpu or cuda, got 'tpu'"
    )


def test_each_number_of_a_list_is_within_its_limits() -> None:
    assert violation(PredictorParameters, "rollout_batches", [1, 4096]) is None
    reason = violation(PredictorParameters, "rollout_batches", [16, 0])
    assert reason == "parameter rollout_batches: expected numbers from 1 to 4096, got 0"


def test_a_value_of_any_kind_is_allowed_or_refused_in_words() -> None:
    chance, values = (
        random.Random(0),
        [None, True, "", "x" * 1000, b"x", [], [1], [1.0, float("nan")], ["a"], {}],
    )
    single = [item.name for item in fields(PredictorParameters) if not isinstance(item.default, tuple)]
    for _ in range(10_000):
        name = chance.choice([*single, "other", ""])
        number = chance.choice(
            [float("nan"), float("inf"), -1e300, 1e-300, 2**63, chance.uniform(-1e6, 1e6), -1, 0]
        )
        reason = violation(PredictorParameters, name, chance.choice([*values, number, number]))
        assert reason is None or "expected" in reason, reason
