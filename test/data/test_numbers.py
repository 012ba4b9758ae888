# SPDX-License-Identifier: Apache-2.0
"""Recorded numbers beside images and actions, out of real bags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_writer import JOINTS, SPEC, START, STEP, joints, robot_messages, write_bag

from dd_ros.data.bags import read_episodes
from dd_ros.data.numbers import beside, for_people, names_of
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource

POSE = ActionSource(topic="/pose", type=JOINTS, fields=("position[1:2]", "position[0:1]"), dim=2)


def pose_messages(count: int) -> list:
    """Where the robot is at each image: (10 + k, 20 + k)."""
    return [
        ("/pose", JOINTS, START + k * STEP, joints(START + k * STEP, (10.0 + k, 20.0 + k)))
        for k in range(count)
    ]


def test_numbers_of_another_topic_follow_the_action(tmp_path: Path) -> None:
    messages = sorted(robot_messages(10) + pose_messages(10), key=lambda message: message[2])
    found = beside(SPEC, [POSE], action_dim=2)
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), found.streams)
    steps = np.arange(10.0)
    assert np.allclose(episode.actions[:, list(found.actions)], np.stack([0.1 * steps, -0.1 * steps], axis=1))
    assert np.allclose(episode.actions[:, list(found.numbers)], np.stack([20 + steps, 10 + steps], axis=1))


def test_one_topic_may_give_both(tmp_path: Path) -> None:
    source = ActionSource(topic="/action", type=JOINTS, fields=("position[1:2]",), dim=1)
    found = beside(SPEC, [source, POSE], action_dim=2)
    messages = sorted(robot_messages(10) + pose_messages(10), key=lambda message: message[2])
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), found.streams)
    steps = np.arange(10.0)
    assert np.allclose(episode.actions[:, list(found.actions)], np.stack([0.1 * steps, -0.1 * steps], axis=1))
    wanted = np.stack([-0.1 * steps, 20 + steps, 10 + steps], axis=1)
    assert np.allclose(episode.actions[:, list(found.numbers)], wanted)


def test_numbers_have_no_lag(tmp_path: Path) -> None:
    source = ActionSource(topic="/action", type=JOINTS, fields=("position[1:2]",), dim=1)
    found = beside(SPEC.model_copy(update={"action_lag_s": 0.2}), [source, POSE], action_dim=2)
    messages = sorted(robot_messages(10) + pose_messages(10), key=lambda message: message[2])
    (episode,) = read_episodes(write_bag(tmp_path / "bag", messages), found.streams)
    sent, seen = np.arange(8.0), np.arange(2.0, 10.0)
    assert np.allclose(episode.actions[:, list(found.actions)], np.stack([0.1 * sent, -0.1 * sent], axis=1))
    wanted = np.stack([-0.1 * seen, 20 + seen, 10 + seen], axis=1)
    assert np.allclose(episode.actions[:, list(found.numbers)], wanted)


def test_which_values_are_actions_must_be_known() -> None:
    streams = SPEC.model_copy(update={"actions": (ActionSource(topic="/a"), ActionSource(topic="/b"))})
    with pytest.raises(InputError, match="/a: expected to know how many values are actions"):
        beside(streams, [POSE], action_dim=4)


def test_names_are_short_where_they_differ() -> None:
    other = ActionSource(topic="/other", fields=("position[a,b]", "position[1:2]"), dim=3)
    assert names_of([POSE, other]) == (
        "/pose.position[1]", "position[0]", "position[a]", "position[b]", "/other.position[1]",
    )  # fmt: skip
    assert names_of([ActionSource(topic="/raw", dim=2)]) == ("value[0]", "value[1]")


def test_people_read_the_joint_alone_where_a_field_names_one() -> None:
    assert for_people(["position[elbow]", "position[3]", "twist.linear.x"]) == (
        "elbow",
        "position[3]",
        "twist.linear.x",
    )
    same = ("position[elbow]", "velocity[elbow]", "/b.position[elbow]", "position[0:2]")
    assert for_people(same) == same
    assert for_people([]) == ()
