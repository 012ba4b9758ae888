# SPDX-License-Identifier: Apache-2.0
"""Commands unlike those of training are named by field, value and distance; what no network can hold is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dd_ros.config import ActionSpec
from dd_ros.data.trained import FAR, TrainedRange, field_labels
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource

SPEC = ActionSpec(dim=3, mean=(0.5, -1.0, 0.0), std=(0.1, 2.0, 1e-3))
ARM = ActionSource(topic="/arm", fields=("position[4:6]",))
BASE = ActionSource(topic="/base", fields=("linear.x",))


@pytest.fixture
def known() -> TrainedRange:
    return TrainedRange.of(SPEC, (ARM, BASE))


def test_commands_like_those_of_training_are_not_worth_a_word(known: TrainedRange) -> None:
    edge = np.array(SPEC.mean) + 0.999 * FAR * np.array(SPEC.std) * [1, -1, 1]
    assert known.far(np.stack([np.array(SPEC.mean), edge]), "plan") == ""


def test_the_farthest_value_is_named(known: TrainedRange) -> None:
    found = known.far(np.array([[0.5, -1.0, 0.0], [0.5, 80.0, 0.1]]), "plan")
    assert "got linear.x = 0.1, 100 deviations from their mean 0" in found
    assert "got position[5] = 80, 40.5 deviations from their mean -1" in known.part(0, 2).far(
        np.array([0.5, 80.0]), "a"
    )
    assert "got linear.x = -1, 1e+03 deviations" in known.part(2, 1).far(np.array([-1.0]), "a")


def test_what_float32_cannot_hold_once_normalised_is_refused(known: TrainedRange) -> None:
    with pytest.raises(InputError, match=r"candidates\[2\]: .*fit float32.*got linear\.x = 1e\+37"):
        known.far(np.array([0.5, 0.0, 1e37]), "candidates[2]")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.5, 0.0], "expected 3 action values, got 2"),
        ([0.0, np.nan, 0.0], "got NaN"),
        ([0.0, 0.0, 1e300], "1e\\+300"),
    ],
)
def test_what_is_no_command_is_refused(known: TrainedRange, values: list[float], words: str) -> None:
    with pytest.raises(InputError, match=f"action: .*{words}"):
        known.far(np.array(values), "action")


@pytest.mark.parametrize(
    ("names", "sources", "label"),
    [
        (("a", "b", "c"), (ARM, BASE), "c"),
        ((), (ActionSource(topic="/arm", fields=("position[hip,knee, toe]",)),), "position[toe]"),
        ((), (ActionSource(topic="/arm", fields=("position",)),), "value 2"),
    ],
)
def test_names_of_values(names: tuple[str, ...], sources: tuple[ActionSource, ...], label: str) -> None:
    known = TrainedRange.of(SPEC.model_copy(update={"names": names}), sources)
    assert f"got {label} = 1," in known.far(np.array([0.5, -1.0, 1.0]), "plan")


def test_labels_of_fields() -> None:
    fields = ("position[:2]", "position[a.b,c]", "data[3]", "twist.linear.x")
    source = ActionSource(topic="/arm", fields=fields)
    assert field_labels(source) == (
        "position[0]", "position[1]", "position[a.b]", "position[c]", "data[3]", "twist.linear.x",
    )  # fmt: skip
