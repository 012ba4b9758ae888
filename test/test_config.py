# SPDX-License-Identifier: Apache-2.0
"""Action sources: how they are written, read, and replaced by others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny import tiny_config

from dd_ros.config import CheckpointConfig
from dd_ros.described import lagging
from dd_ros.errors import InputError
from dd_ros.settings import merged, read_yaml, write_yaml
from dd_ros.streams import ActionSource, StreamSpec, parse_actions

ARM = ActionSource(topic="/arm", type="sensor_msgs/msg/JointState", fields=("position[0:2]",), dim=2)
GRIPPER = ActionSource(topic="/gripper", type="std_msgs/msg/Float64MultiArray", fields=("data",), dim=1)
SPEC = StreamSpec(image_topic="/image", actions=(ARM, GRIPPER), rate_hz=10.0, width=32, height=32)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["/cmd_vel"], [("/cmd_vel", ())]),
        (["/arm.position[0:7]", "gripper"], [("/arm", ("position[0:7]",)), ("gripper", ())]),
        (["/cmd_vel.linear.x,angular.z"], [("/cmd_vel", ("linear.x", "angular.z"))]),
        (["action[0:7]", "observation.state"], [("action[0:7]", ()), ("observation", ("state",))]),
        (
            ["/arm.position[left_hip,right_hip],velocity[3]"],
            [("/arm", ("position[left_hip,right_hip]", "velocity[3]"))],
        ),
        (
            ["/cmd_vel.linear.x", "/arm", "/cmd_vel.angular.z"],
            [("/cmd_vel", ("linear.x", "angular.z")), ("/arm", ())],
        ),
    ],
)
def test_sources_as_on_the_command_line(texts: list[str], wanted: list[tuple[str, tuple[str, ...]]]) -> None:
    sources = parse_actions(texts)
    assert [(source.topic, source.fields) for source in sources] == wanted
    assert parse_actions([str(source) for source in sources]) == sources


@pytest.mark.parametrize(
    "texts",
    [[], [""], [".position"], ["/arm."], ["/arm.a,,b"], ["/a b"], ["/arm", "/arm"], ["/arm.x", "/arm"]],
)
def test_sources_that_cannot_be_read(texts: list[str]) -> None:
    with pytest.raises(InputError, match="action topic: expected"):
        parse_actions(texts)


def test_other_topics_keep_what_is_not_said() -> None:
    assert SPEC.with_topics() == SPEC
    moved = SPEC.with_topics("/head", ["/left_arm", "/hand.data[1]"])
    assert moved.image_topic == "/head"
    assert moved.actions == (
        ARM.model_copy(update={"topic": "/left_arm"}),
        ActionSource(topic="/hand", fields=("data[1]",), dim=1),
    )
    assert SPEC.with_topics(actions=["/all"]).actions == (ActionSource(topic="/all"),)
    assert moved.topics == ("/head", "/left_arm", "/hand")


def test_several_topics_need_their_dimensions_and_names_of_their_own(tmp_path: Path) -> None:
    for actions in ([ARM, ARM], [ARM, GRIPPER.model_copy(update={"dim": None})], []):
        with pytest.raises(ValidationError):
            StreamSpec(**dict(SPEC) | {"actions": actions})
    with pytest.raises(ValidationError, match="give 3 values, expected 2 together"):
        tiny_config(streams=SPEC.model_copy(update={"width": 48}))
    write_yaml(tmp_path / "streams.yaml", SPEC)
    assert read_yaml(tmp_path / "streams.yaml", StreamSpec) == SPEC


def test_files_on_top_replace_entries_at_any_depth(tmp_path: Path) -> None:
    write_yaml(tmp_path / "streams.yaml", SPEC)
    (tmp_path / "wider.yaml").write_text("width: 640\nheight: 480\n")
    (tmp_path / "slower.yaml").write_text("rate_hz: 2.0\nheight: 320\n")
    read = read_yaml(
        tmp_path / "streams.yaml", StreamSpec, [tmp_path / "wider.yaml", tmp_path / "slower.yaml"]
    )
    assert read == SPEC.model_copy(update={"width": 640, "height": 320, "rate_hz": 2.0})
    assert merged({"a": {"b": 1, "c": {"d": 2}}, "e": [1]}, {"a": {"c": {"f": 3}}, "e": [2]}) == {
        "a": {"b": 1, "c": {"d": 2, "f": 3}}, "e": [2],
    }  # fmt: skip
    assert merged({"a": {"b": 1}}, {"a": None}) == {"a": None}


def test_a_wrong_entry_on_top_names_the_files(tmp_path: Path) -> None:
    write_yaml(tmp_path / "streams.yaml", SPEC)
    (tmp_path / "typo.yaml").write_text("widht: 640\n")
    with pytest.raises(InputError, match=r"streams\.yaml with .*typo\.yaml: widht: "):
        read_yaml(tmp_path / "streams.yaml", StreamSpec, [tmp_path / "typo.yaml"])


def test_a_checkpoint_without_a_lag_has_none(tmp_path: Path) -> None:
    entries = tiny_config().model_dump(mode="json")
    del entries["streams"]["action_lag_s"], entries["streams"]["measured"]
    assert CheckpointConfig.model_validate(entries) == tiny_config()
    late = SPEC.model_copy(update={"action_lag_s": 0.15})
    write_yaml(tmp_path / "late.yaml", late)
    assert read_yaml(tmp_path / "late.yaml", StreamSpec).action_lag_ns == 150_000_000
    with pytest.raises(ValidationError, match="less than or equal to 2"):
        StreamSpec.model_validate(SPEC.model_dump() | {"action_lag_s": 2.5})


def test_a_lag_is_shown() -> None:
    assert lagging(SPEC) == ""
    assert (
        lagging(SPEC.model_copy(update={"action_lag_s": 0.15}))
        == ", commands in force 0.15 s after their stamps"
    )
    assert (
        lagging(SPEC.model_copy(update={"action_lag_s": -0.1}))
        == ", commands in force 0.1 s before their stamps"
    )
