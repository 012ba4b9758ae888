# SPDX-License-Identifier: Apache-2.0
"""Fields of action messages, against a slow reading of the same words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from bag_writer import START, header, make
from hypothesis import given
from hypothesis import strategies as st

from dd_ros.data.actions import action_values, fields_for
from dd_ros.errors import InputError

NAMES = ["hip", "knee", "left_ankle", "neck.yaw", "arm-1"]
JOINTS = "sensor_msgs/msg/JointState"


@given(st.permutations(NAMES), st.lists(st.sampled_from(NAMES), min_size=1, max_size=6))
def test_joints_by_name_whatever_their_order_in_the_message(order: list[str], wanted: list[str]) -> None:
    value = {name: float(number) for number, name in enumerate(NAMES)}
    state = SimpleNamespace(name=order, position=[value[name] for name in order])
    point = SimpleNamespace(positions=state.position)
    trajectory = SimpleNamespace(joint_names=order, points=[point])
    picked = [value[name] for name in wanted]
    assert action_values(state, JOINTS, [f"position[{','.join(wanted)}]"]).tolist() == picked
    assert action_values(trajectory, "", [f"points[0].positions[{', '.join(wanted)}]"]).tolist() == picked


@given(st.integers(0, 6), st.one_of(st.none(), st.integers(-8, 8)), st.one_of(st.none(), st.integers(-8, 8)))
def test_slices_and_numbers(count: int, start: int | None, stop: int | None) -> None:
    message = SimpleNamespace(data=np.arange(count, dtype=np.float32))
    index = f"{'' if start is None else start}:{'' if stop is None else stop}"
    if stop is not None and stop > count:
        with pytest.raises(InputError, match=f"has only {count} values"):
            action_values(message, "", [f"data[{index}]"])
    else:
        assert action_values(message, "", [f"data[{index}]"]).tolist() == list(range(count))[start:stop]
    if start is not None and -count <= start < count:
        assert action_values(message, "", [f"data[{start}]"]).tolist() == [list(range(count))[start]]
    elif start is not None:
        with pytest.raises(InputError, match=f"has only {count} values"):
            action_values(message, "", [f"data[{start}]"])


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("velocity", "no field 'velocity'"),
        ("position[", "expected names with"),
        ("position[0:1:2]", "expected joint '0:1:2'"),
        ("position[toe]", "expected joint 'toe' with a value, the message has hip, knee"),
        ("position[knee]", "expected joint 'knee' with a value"),
        ("header.frame_id", "expected numbers"),
        ("time[0]", "expected several values"),
    ],
)
def test_fields_that_are_not_there(field: str, words: str) -> None:
    header = SimpleNamespace(frame_id="base")
    message = SimpleNamespace(name=["hip", "knee"], position=[1.0], header=header, time=1.0)
    with pytest.raises(InputError) as error:
        action_values(message, JOINTS, [field])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


STAMPED = "geometry_msgs/msg/TwistStamped"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("linear.x", "no field 'linear'; it has twist.linear.x, twist.linear.y, twist.linear.z, twist.angular.x, twist.angular.y, "
        "twist.angular.z; did you mean twist.linear.x?"),
        ("twist.lineer.x", "no field 'lineer'; it has twist.linear.x,"),
        ("twist.lineer.x", "did you mean twist.linear.x?"),
        ("twist.linear.w", "no field 'w'; it has twist.linear.x,"),
        ("effort[0:2]", "twist.angular.z"),
    ],
)  # fmt: skip
def test_the_fields_that_are_there_are_named_with_the_nearest(field: str, words: str) -> None:
    vector = make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    message = make(
        STAMPED, header=header(START), twist=make("geometry_msgs/msg/Twist", linear=vector, angular=vector)
    )
    with pytest.raises(InputError) as error:
        action_values(message, STAMPED, [field])
    assert words in str(error.value)
    assert ("did you mean" in str(error.value)) == ("effort" not in field)


def test_fields_of_lists_and_of_messages_without_numbers() -> None:
    point = SimpleNamespace(positions=[1.0], velocities=[])
    trajectory = SimpleNamespace(header=None, joint_names=["a"], points=[point])
    with pytest.raises(
        InputError,
        match=r"it has points\[0\].positions, points\[0\].velocities; did you mean points\[0\].positions\?",
    ):
        action_values(trajectory, "", ["positions[0]"])
    with pytest.raises(InputError, match=r"no field 'x'; it has no numbers$"):
        action_values(SimpleNamespace(data="text"), "", ["x"])
    many = SimpleNamespace(**{f"value_{number}": 0.0 for number in range(99)})
    with pytest.raises(InputError, match="value_11 and 87 more"):
        action_values(many, "", ["x"])


def test_a_joint_that_a_message_names_twice_is_not_guessed() -> None:
    message = SimpleNamespace(name=["hip", "knee", "hip"], position=[1.0, 2.0, 3.0])
    assert action_values(message, JOINTS, ["position[knee]"]).tolist() == [2.0]
    for field, order in (("position[hip]", ()), ("position", ("knee", "hip"))):
        with pytest.raises(InputError, match="expected joint 'hip' once, the message has hip, knee, hip"):
            action_values(message, JOINTS, [field], order=order)


def test_fields_mean_something_on_their_own_type_only() -> None:
    assert fields_for(JOINTS, JOINTS, ["position[0]"]) == ("position[0]",)
    assert fields_for(JOINTS, None, ["position[0]"]) == ("position[0]",)
    assert fields_for("geometry_msgs/msg/Twist", JOINTS, ["position[0]"]) == ()
