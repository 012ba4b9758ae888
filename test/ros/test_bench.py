# SPDX-License-Identifier: Apache-2.0
"""The counters that ``bench --node`` reads are those that the node publishes."""

from __future__ import annotations

import pytest

from dd_ros.errors import InputError
from dd_ros.live.bench import Counters
from dd_ros.live.problems import Problems
from dd_ros.live.statistics import Statistics
from dd_ros.ros.bench import counters
from dd_ros.ros.diagnostics import (
    LOST_IMAGES,
    OBSERVED_FRAMES,
    STEPS_SKIPPED,
    Condition,
    diagnostic_statuses,
)


@pytest.fixture
def published() -> dict[str, str]:
    """What an active node says of its predictions, having counted."""
    statistics = Statistics()
    statistics.add("observed_frames", 29)
    statistics.add("lost_images", 2)
    for _ in range(17):
        statistics.predictions.count()
    condition = Condition(
        node="/predictor", phase="active", failure="", device="cpu", checkpoint="tiny", topics={}, dropped=5
    )
    statuses = diagnostic_statuses(condition, statistics, Problems(lambda level, text: None))
    assert statuses[-1].name == "/predictor: prediction"
    return {item.key: item.value for item in statuses[-1].values}


def test_they_are_read_from_what_the_node_publishes(published: dict[str, str]) -> None:
    assert counters(published) == Counters(observed=29, dropped=5, lost=2)


def test_the_share_of_predicted_steps_is_of_those_that_were_due(published: dict[str, str]) -> None:
    assert published["predicted steps"] == "50%"  # 17 predictions of 29 frames used and 5 skipped


@pytest.mark.parametrize("key", [OBSERVED_FRAMES, STEPS_SKIPPED, LOST_IMAGES])
def test_one_that_is_absent_is_an_error(published: dict[str, str], key: str) -> None:
    del published[key]
    with pytest.raises(InputError, match=f"--node: expected '{key}' in the node's diagnostics, got .*resets"):
        counters(published)


def test_nothing_published_is_an_error() -> None:
    with pytest.raises(InputError, match="got nothing"):
        counters({})
