# SPDX-License-Identifier: Apache-2.0
"""Joints by name whatever their order, and trajectories at their times: in bags as live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bag_writer import IMAGE, JOINTS, START, STEP, header, image, make, make_frame, write_bag
from hypothesis import given
from hypothesis import strategies as st

from dd_ros.config import ActionSpec
from dd_ros.data.action_reader import ActionReader
from dd_ros.data.actions import OtherJointsError
from dd_ros.data.bags import read_episodes
from dd_ros.data.commands import Commands
from dd_ros.data.stream_choice import choose_streams
from dd_ros.data.trained import TrainedRange
from dd_ros.errors import InputError
from dd_ros.live.clocks import Clocks
from dd_ros.live.intake import ActionIntake
from dd_ros.live.problems import Problems
from dd_ros.report import Report
from dd_ros.streams import ActionSource, StreamSpec, parse_actions

CAMERA = "/camera/image_raw"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
NAMES = ["a", "b", "c", "d"]
NOTHING = np.zeros(0)


def state(names: Sequence[str], position: Sequence[float], **more: Sequence[float]) -> Any:
    arrays = {"position": position, "velocity": (), "effort": (), **more}
    return make(
        JOINTS, header=header(0), name=list(names), **{key: np.array(v, float) for key, v in arrays.items()}
    )


def recording(path: Path, commands: Sequence[tuple[int, Any]], count: int, kind: str = JOINTS) -> Path:
    """Images at 10 Hz, and commands (ns after the first image, message)."""
    messages = [
        (CAMERA, IMAGE, START + k * STEP, image(START + k * STEP, make_frame(k))) for k in range(count)
    ]
    messages += [("/action", kind, START + after, message) for after, message in commands]
    return write_bag(path, sorted(messages, key=lambda message: message[2]))


def streams(*actions: str) -> StreamSpec:
    return StreamSpec(
        image_topic=CAMERA, actions=parse_actions(actions or ["/action"]), rate_hz=10.0, width=48, height=32
    )


def shuffled(number: int) -> list[str]:
    return [str(name) for name in np.random.default_rng(number).permutation(NAMES)]


def moving(number: int, names: Sequence[str]) -> Any:
    """Joint ``a`` is at ``number``, ``b`` at 100 more and so on."""
    return state(names, [number + 100 * NAMES.index(name) for name in names])


@given(st.permutations(NAMES), st.permutations(NAMES), st.sampled_from(["", "[1:3]", "[2]", "[-1]", "[c,a]"]))
def test_positions_mean_the_joints_of_the_first_message(
    first: list[str], later: list[str], index: str
) -> None:
    reader = ActionReader(ActionSource(topic="/action", fields=(f"position{index}",)))
    assert (
        reader.read(moving(5, first), JOINTS).values.tolist()
        == reader.read(moving(5, later), JOINTS).values.tolist()
    )
    known = ActionReader(ActionSource(topic="/action", fields=("position[1:3]",), joints=tuple(NAMES)))
    assert known.read(moving(5, later), JOINTS).values.tolist() == [[105, 205]]


def test_joints_reordered_within_and_between_bags(tmp_path: Path) -> None:
    bags = [
        recording(tmp_path / f"bag{n}", [(k * STEP - 1000, moving(k, shuffled(k + n) if k else NAMES[::1 - 2 * (n == 2)])) for k in range(9)], 9)
        for n in range(3)
    ]  # fmt: skip
    spec = choose_streams(bags, CAMERA, parse_actions(["/action"]), problems=Report())
    assert spec.actions[0].joints == tuple(NAMES)
    assert StreamSpec.model_validate(spec.model_dump()) == spec
    for bag in bags:
        problems = Report()
        (episode,) = read_episodes(bag, spec, problems)
        assert episode.actions.tolist() == [[k, k + 100, k + 200, k + 300] for k in range(9)]
        assert not problems


def two_arms(count: int, second: int = 10) -> list[tuple[int, Any]]:
    """Two publishers by turns: left and right arm, as many joints each."""
    left = [(k * STEP - 1000, state(["l1", "l2"], [k, -k])) for k in range(count)]
    right = [(k * STEP - 1000 + second, state(["r1", "r2"], [-9, -9])) for k in range(count)]
    return left + right


@pytest.mark.parametrize("second", [10, -10])
def test_two_publishers_on_one_topic_are_refused_with_the_cure(tmp_path: Path, second: int) -> None:
    bag = recording(tmp_path / "bag", two_arms(9, second), 9)
    for read in (
        lambda: read_episodes(bag, streams()),
        lambda: choose_streams([bag], CAMERA, parse_actions(["/action.position[0:2]"]), problems=Report()),
    ):
        with pytest.raises(
            InputError, match=r"bag.* /action: expected the joints .*\.position\[[lr]1,[lr]2\]"
        ):
            read()
    problems = Report()
    (episode,) = read_episodes(bag, streams("/action.position[l1,l2]"), problems)
    assert episode.actions.tolist() == [[k, -k] for k in range(9)]
    assert len(problems) == 1, "those of the other arm, in one line"


def test_messages_without_names_after_some_with_names_are_refused() -> None:
    reader = ActionReader(ActionSource(topic="/action"))
    assert reader.read(state([], [7.0]), JOINTS).values.tolist() == [[7.0]]
    reader.read(moving(0, NAMES), JOINTS)
    with pytest.raises(OtherJointsError, match="got a message without names"):
        reader.read(state([], [1, 2, 3, 4]), JOINTS)


def test_velocities_alone_are_named(tmp_path: Path) -> None:
    bag = recording(tmp_path / "bag", [(-1000, state(["a"], [], velocity=[3.0]))], 3)
    for topic in ("/action", "/action.position[0:1]"):
        with pytest.raises(InputError, match=r"velocity only: choose them, as in \.velocity"):
            read_episodes(bag, streams(topic))
    assert read_episodes(bag, streams("/action.velocity"))[0].actions.tolist() == [[3.0]] * 3


def trajectory(
    start: int, times: Sequence[float], values: Sequence[float], names: Sequence[str] = ("a", "b")
) -> Any:
    points = [
        make(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            positions=np.array([value if name == "a" else -value for name in names], float), velocities=NOTHING,
            accelerations=NOTHING, effort=NOTHING,
            time_from_start=make("builtin_interfaces/msg/Duration", sec=int(time), nanosec=round(time % 1 * 1e9)),
        )
        for time, value in zip(times, values, strict=True)
    ]  # fmt: skip
    return make(TRAJECTORY, header=header(start), joint_names=list(names), points=points)


@pytest.mark.parametrize("stamped", [False, True])
def test_points_of_a_trajectory_come_at_their_times_and_a_new_one_replaces_the_rest(
    tmp_path: Path, stamped: bool
) -> None:
    times = [0.1 * k for k in range(20)]
    plans = [
        (-2000, trajectory((START - 1000) * stamped, times, range(20))),
        (12 * STEP - 2000, trajectory((START + 12 * STEP - 1000) * stamped, times[:5], range(100, 105), ["b", "a"])),
    ]  # fmt: skip
    bag = recording(tmp_path / "bag", plans, 20, TRAJECTORY)
    (episode,) = read_episodes(bag, streams())
    expected = [*range(12), 100, 101, 102, 103, 104, 104, 104, 104]
    assert episode.actions.tolist() == [[k, -k] for k in expected]
    assert choose_streams([bag], CAMERA, parse_actions(["/action"]), problems=Report()).actions[0].dim == 2


def test_points_out_of_order_are_refused() -> None:
    reader = ActionReader(ActionSource(topic="/action"))
    with pytest.raises(InputError, match="time_from_start"):
        reader.read(trajectory(0, [0.2, 0.1], [1, 2]), TRAJECTORY)
    with pytest.raises(InputError, match="at least one point"):
        reader.read(trajectory(0, [], []), TRAJECTORY)


@pytest.fixture
def live() -> tuple[Callable[[Any, str], None], Commands, list[str]]:
    said: list[str] = []
    time = SimpleNamespace(now_ns=lambda: START, simulated=lambda: False)
    problems = Problems(lambda level, text: said.append(text))
    commands, trained = Commands([2]), ActionSpec(dim=2, mean=(0.0, 0.0), std=(10.0, 10.0))
    intake = ActionIntake(
        name="action", number=0, source=ActionSource(topic="/action"), commands=commands,
        known=TrainedRange.of(trained, [ActionSource(topic="/action")]),
        problems=problems, clocks=Clocks(time, problems),
    )  # fmt: skip
    return lambda message, kind: intake.take(message, kind, "/action"), commands, said


def test_live_commands_are_read_in_the_same_way(live: Any) -> None:
    take, commands, said = live
    take(state(["x", "y"], [1, 2]), JOINTS)
    take(state(["y", "x"], [4, 3]), JOINTS)
    assert commands.at(START).tolist() == [3, 4]
    take(state(["v", "w"], [8, 8]), JOINTS)
    assert commands.at(START).tolist() == [3, 4]
    assert any("expected the joints x, y, got v, w; say which" in text for text in said)


def test_live_trajectories_take_their_time(live: Any) -> None:
    take, commands, said = live
    take(trajectory(0, [0.0, 2.0, 4.0], [1, 2, 3]), TRAJECTORY)
    take(trajectory(START + 10 * STEP, [0.0, 0.5], [7, 8]), TRAJECTORY)
    seen = [commands.at(START + k * STEP).tolist()[0] for k in (0, 9, 10, 14, 15, 50)]
    assert seen == [1, 1, 7, 7, 8, 8]
    assert not said


@pytest.mark.parametrize("field", ["position", "position[0:2]"])
def test_many_messages_of_other_joints_in_a_row_are_another_robot(field: str) -> None:
    reader = ActionReader(ActionSource(topic="/action", fields=(field,)))
    reader.read(state(["x", "y"], [1, 2]), JOINTS)
    refused = 0
    for _ in range(60):
        try:
            reader.read(state(["v", "w"], [3, 4]), JOINTS)
        except OtherJointsError:
            refused += 1
    assert refused == 50
    assert reader.joints == ("v", "w")
