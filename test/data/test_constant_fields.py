# SPDX-License-Identifier: Apache-2.0
"""Values that never change are left out of the action, unless they are named; out of real bags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import JOINTS, START, STEP, joints, make, robot_messages, write_bag
from hypothesis import given
from hypothesis import strategies as st

from dd_ros.data.bags import read_episodes
from dd_ros.data.constant_fields import values_of
from dd_ros.data.stream_choice import choose_streams
from dd_ros.report import Report
from dd_ros.streams import ActionSource, StreamSpec, parse_actions

TWIST = "geometry_msgs/msg/Twist"
SIX = "linear.x,linear.y,linear.z,angular.x,angular.y,angular.z"


def twist(speed: float, turn: float) -> Any:
    def vector(x: float, z: float) -> Any:
        return make("geometry_msgs/msg/Vector3", x=x, y=0.0, z=z)

    return make(TWIST, linear=vector(speed, 0.0), angular=vector(0.0, turn))


def driving(folder: Path, speeds: list[float], turns: list[float]) -> Path:
    """A bag with a camera, a twist and the position of three joints, the second of which never moves."""
    camera = [message for message in robot_messages(len(speeds)) if message[1] != JOINTS]
    messages = [
        message
        for k, (speed, turn) in enumerate(zip(speeds, turns, strict=True))
        for message in (
            ("/cmd_vel", TWIST, START + k * STEP - 1, twist(speed, turn)),
            ("/joints", JOINTS, START + k * STEP - 1, joints(START + k * STEP - 1, (speed, 2.0, turn))),
        )
    ]
    for _, kind, _, message in messages:
        if kind == JOINTS:
            message.name = []
    return write_bag(folder, sorted(camera + messages, key=lambda message: message[2]))


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """In one the speed changes, in the other the turn."""
    folder, ramp = tmp_path_factory.mktemp("bags"), [0.1 * k for k in range(9)]
    return [driving(folder / "a", ramp, [0.5] * 9), driving(folder / "b", [0.0] * 9, ramp)]


def chosen(bags: list[Path], *topics: str, **options: Any) -> tuple[StreamSpec, list[str]]:
    problems = Report()
    streams = choose_streams(bags, "/camera/image_raw", parse_actions(topics), problems=problems, **options)
    return streams, list(problems)


def test_of_a_twist_two_values_are_left(bags: list[Path]) -> None:
    streams, said = chosen(bags, "/cmd_vel")
    (source,) = streams.actions
    assert (source.fields, source.dim) == (("linear.x", "angular.z"), 2)
    assert said == [
        "/cmd_vel: never changes in linear.y, linear.z, angular.x, angular.y, left out; "
        f"to keep that, name all its fields: {SIX}"
    ]
    (episode,) = read_episodes(bags[0], streams)
    assert np.allclose(episode.actions, [[0.1 * k, 0.5] for k in range(9)])


def test_fields_that_are_named_stay(bags: list[Path]) -> None:
    streams, said = chosen(bags, f"/cmd_vel.{SIX}")
    assert (streams.actions[0].dim, said) == (6, [])
    assert chosen(bags, "/cmd_vel", all_fields=True)[0].actions[0].dim == 6
    assert chosen(bags, "/joints.position[1]")[0].actions[0].fields == ("position[1]",)


@pytest.mark.parametrize(
    "topic", ["/joints", "/joints.position", "/joints.position[0:3]", "/joints.position[:3]"]
)
def test_of_parts_of_arrays_single_values_are_left(bags: list[Path], topic: str) -> None:
    streams, said = chosen(bags, topic)
    assert streams.actions[0].fields == ("position[0]", "position[2]")
    assert "to keep that, name all its fields: position[0],position[1],position[2]" in said[0]
    (episode,) = read_episodes(bags[1], streams)
    assert np.allclose(episode.actions, [[0.0, 0.1 * k] for k in range(9)])


def test_a_topic_that_never_changes_is_left_out_beside_another(bags: list[Path]) -> None:
    streams, said = chosen(bags, "/cmd_vel.linear.x,angular.z", "/joints.position[1:2]")
    assert streams.action_topics == ("/cmd_vel",)
    assert said == ["/joints: never changes, left out; to keep it, name its fields: position[1]"]
    both, _ = chosen(bags, "/cmd_vel", "/joints.position[1]")
    assert both.action_topics == ("/cmd_vel", "/joints")


def test_commands_that_all_never_change_stay_and_that_is_said(bags: list[Path], tmp_path: Path) -> None:
    streams, said = chosen([driving(tmp_path / "still", [1.0] * 9, [2.0] * 9)], "/cmd_vel")
    assert streams.actions[0].dim == 6
    assert said == [
        "/cmd_vel: commands never change; training goes on; they can say nothing about the motion"
    ]


@given(st.integers(1, 9), st.integers(0, 9), st.booleans())
def test_values_are_as_many_as_the_source_has(count: int, first: int, named: bool) -> None:
    fields = ("velocity[a,b]", f"position[{first}:{first + count}]", "linear.x")
    source = ActionSource(topic="/t", fields=fields, dim=count + 3)
    values = values_of(source, source if named else ActionSource(topic="/t"))
    assert len(values) == source.dim
    assert [value.field for value in values[2:-1]] == [f"position[{first + k}]" for k in range(count)]
    assert [value.named for value in values] == [True, True, *[False] * count, named]
    assert values_of(source.model_copy(update={"dim": count + 4}), source) == []
