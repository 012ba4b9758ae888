# SPDX-License-Identifier: Apache-2.0
"""Where the node takes its action from: the checkpoint's sources, or those of the parameter."""

from __future__ import annotations

import pytest
from tiny import tiny_config

from dd_ros.config import CheckpointConfig
from dd_ros.errors import InputError
from dd_ros.ros.inputs import action_sources
from dd_ros.streams import ActionSource

ARM = ActionSource(topic="/arm", fields=("position[0]",), dim=1)
HAND = ActionSource(topic="/hand", fields=("data",), dim=1)


@pytest.fixture
def config() -> CheckpointConfig:
    whole = tiny_config()
    return whole.model_copy(update={"streams": whole.streams.model_copy(update={"actions": (ARM, HAND)})})


def test_the_checkpoints_own(config: CheckpointConfig) -> None:
    assert action_sources("", config) == (ARM, HAND)
    (source,) = action_sources("", tiny_config())
    assert (source.topic, source.dim) == ("/action", 2)


def test_others_take_their_place(config: CheckpointConfig) -> None:
    left, gripper = action_sources("/left /gripper.data[3]", config)
    assert left == ActionSource(topic="/left", fields=("position[0]",), dim=1)
    assert gripper == ActionSource(topic="/gripper", fields=("data[3]",), dim=1)
    assert action_sources("/all.data[0:2]", config) == (
        ActionSource(topic="/all", fields=("data[0:2]",), dim=2),
    )


@pytest.mark.parametrize("chosen", ["/a /b /c", "/a.", "/a /a"])
def test_what_does_not_fit(config: CheckpointConfig, chosen: str) -> None:
    with pytest.raises(InputError, match=r"action.topic: expected"):
        action_sources(chosen, config)
