# SPDX-License-Identifier: Apache-2.0
"""Logs of several robots side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_config

from dd_ros.data.bags import find_bags
from dd_ros.data.split import SplitRule
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros_training.data.clips import ClipCutter
from dd_ros_training.data.logs import Logs, read_logs, side_by_side, slots

STREAMS = tiny_config().streams
KNOWN = STREAMS.model_copy(
    update={"actions": tuple(s.model_copy(update={"dim": 2}) for s in STREAMS.actions)}
)
ROBOTS = {"arm": KNOWN, "away": KNOWN, "car": KNOWN}


def logs_of(bags: Path, cache: Path) -> Logs:
    return read_logs(
        find_bags([bags]), STREAMS, rule=SplitRule(), cache=cache, clip_frames=10, problems=Report()
    )


def test_each_robot_has_its_place_and_rests_in_those_of_the_others(robot_bags: Path, tmp_path: Path) -> None:
    own = logs_of(robot_bags, tmp_path)
    assert slots(ROBOTS) == {"arm": range(2), "away": range(2, 4), "car": range(4, 6)}
    both = side_by_side({"arm": own, "car": own}, ROBOTS, spare=3)
    assert both.action.dim == 9
    assert [episode.name for episode in both.validation] == ["arm/episode_000004", "car/episode_000004"]
    assert (
        both.training_said
        == f"4 bags, {2 * sum(map(len, own.training))} model steps, {2 * own.minutes:.1f} minutes"
    )
    cutter = ClipCutter(both.validation, length=10, action=both.action)
    alone = ClipCutter(own.validation, length=10, action=own.action)
    expected = alone.actions(0)
    for number, first in ((0, 0), (1, 4)):
        actions = cutter.actions(number)
        np.testing.assert_allclose(actions[:, first : first + 2], expected, atol=1e-6)
        assert (np.abs(np.delete(actions, [first, first + 1], axis=1)) < 1e-6).all()
        part = both.validation[number].part(3, 13)
        clip = part.clip(2, 7)
        assert np.array_equal(clip.frames, own.validation[0].frames(5, 10))
        assert np.array_equal(part.frames(2, 7), clip.frames)
        np.testing.assert_allclose((clip.actions - cutter.mean) / cutter.std, actions[5:10], atol=1e-6)


def test_another_number_of_values_is_refused(robot_bags: Path, tmp_path: Path) -> None:
    three = KNOWN.model_copy(update={"actions": (KNOWN.actions[0].model_copy(update={"dim": 3}),)})
    with pytest.raises(InputError, match="arm: expected 3 action values, got 2"):
        side_by_side({"arm": logs_of(robot_bags, tmp_path)}, {"arm": three})
