# SPDX-License-Identifier: Apache-2.0
"""Candidates are commands: where commands act later than they are sent, so do these."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest
from dd_ros_msgs.msg import ActionSequence
from tiny import random_model, tiny_config

from dd_ros import Predictor
from dd_ros.checkpoint import save_checkpoint
from dd_ros.errors import InputError
from dd_ros.ros.messages import header_at
from dd_ros.ros.rollouts import candidate_actions

STEP = 100_000_000
NOW = 1_700_000_000_000_000_000


@pytest.fixture(scope="module", params=[0.0, 0.2, -0.1])
def predictor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    streams = tiny_config().streams.model_copy(update={"action_lag_s": request.param})
    config = tiny_config(streams=streams)
    folder = Path(tmp_path_factory.mktemp("checkpoints")) / "late"
    save_checkpoint(folder, config, random_model(config), card="")
    return Predictor.load(folder, "cpu")


def candidate(stamp: int, count: int = 10) -> ActionSequence:
    """Commands (1, 1), (2, 2), ..., the first at ``stamp``; 0 is no time."""
    values = np.arange(1.0, count + 1).repeat(2)
    message = ActionSequence(count=count, dim=2, data=array("f", values.astype(np.float32)))
    message.header = header_at(stamp, "")
    return message


def test_commands_act_a_lag_after_they_are_sent(predictor: Predictor) -> None:
    lag = predictor.config.streams.action_lag_ns
    for stamp in (0, NOW + STEP - lag):
        actions = candidate_actions(candidate(stamp), predictor, NOW, name="candidate")
        assert actions[:, 0].tolist() == list(range(1, 9)), "one for each step ahead"
    earlier = candidate_actions(candidate(NOW - lag), predictor, NOW, name="candidate")
    assert earlier[:, 0].tolist() == list(range(2, 10))


def test_those_that_act_too_late_are_refused(predictor: Predictor) -> None:
    lag = predictor.config.streams.action_lag_ns
    with pytest.raises(InputError, match="got a sequence that begins later"):
        candidate_actions(candidate(NOW + 2 * STEP - lag), predictor, NOW, name="candidate")
    with pytest.raises(InputError, match="got one that is over"):
        candidate_actions(candidate(NOW - 9 * STEP - lag), predictor, NOW, name="candidate")
