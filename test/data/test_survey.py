# SPDX-License-Identifier: Apache-2.0
"""What a look at bags tells before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import IMAGE, JOINTS, SPEC, START, STEP, image, joints, make_frame, robot_messages, write_bag

from dd_ros.data.stream_choice import choose_topics, describe_streams, model_size, with_lag
from dd_ros.data.survey import BagInfo, inspect_bag, typical_rate
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import parse_actions

CAMERA, ACTION = "/camera/image_raw", parse_actions(["/action"])
Messages = list[tuple[str, str, int, Any]]


def look(path: Path, messages: Messages) -> BagInfo:
    return inspect_bag(write_bag(path, messages))


def commands(messages: Messages, *values: tuple[float, ...]) -> Messages:
    """The recording with other commands: ``values``, over and over."""
    found, number = [], 0
    for topic, kind, received, message in messages:
        if kind == JOINTS:
            message, number = joints(received, values[number % len(values)]), number + 1
        found.append((topic, kind, received, message))
    return found


def test_topics(tmp_path: Path) -> None:
    info = look(tmp_path / "bag", robot_messages(11))
    action, camera = info.topics
    assert (camera.name, camera.count, dict(camera.sizes)) == (CAMERA, 11, {(48, 32): 11})
    assert camera.rate == pytest.approx(10.0)
    assert camera.gap == pytest.approx(0.1)
    assert camera.stamps == action.stamps == "header"
    assert action.detail == "action, 2 values: 0..1, -1..0"
    assert (action.low.tolist(), action.high.tolist()) == ([0.0, -1.0], [1.0, 0.0])
    assert not [*info.problems, *camera.problems, *action.problems]


def test_commands_that_teach_nothing_or_change(tmp_path: Path) -> None:
    constant = look(tmp_path / "constant", commands(robot_messages(9), (1.0, 2.0))).topic("/action")
    assert list(constant.problems) == [
        "constant: all 9 commands are the same, a model cannot learn from them"
    ]
    changing = look(tmp_path / "changing", commands(robot_messages(9), (1.0, 2.0), (2.0, 2.0), (1.0,)))
    (problem,) = changing.topic("/action").problems
    assert "the number of values changes: 2 (6 messages), 1 (3 messages)" in problem
    late = [m for m in robot_messages(60) if m[1] == IMAGE or not 20 < (m[2] - START) / STEP < 50]
    assert any(
        "silent for 3.1 s" in problem for problem in look(tmp_path / "late", late).topic("/action").problems
    )


def test_stamps(tmp_path: Path) -> None:
    messages = robot_messages(20)
    for _, kind, _, message in messages:
        message.header.stamp.sec = 7 if kind == IMAGE else 0  # a camera driver whose clock stands still
        message.header.stamp.nanosec = 5 if kind == IMAGE else 0
    info = look(tmp_path / "bag", messages)
    assert {topic.stamps for topic in info.topics} == {"received"}
    assert info.topic(CAMERA).rate == pytest.approx(10.0)
    twice = [m for message in robot_messages(9) for m in (message, message)]
    assert list(look(tmp_path / "twice", twice).topic(CAMERA).problems) == [
        "messages repeat a time stamp (9 times)"
    ]


def test_rates_of_header_stamps_not_of_arrival(tmp_path: Path) -> None:
    """A recorder that stalls and a clock of whole milliseconds do not change what the camera does."""
    messages: Messages = []
    for number in range(60):
        stamp = START + number * 1000 // 30 * 1_000_000
        received = START + (number // 20) * 1_900_000_000 + number * 1_000_000
        messages.append(("/action", JOINTS, received, joints(stamp - 1000, (number, 0))))
        messages.append((CAMERA, IMAGE, received, image(stamp, make_frame(number))))
    info = look(tmp_path / "bag", messages)
    assert info.topic(CAMERA).rate == pytest.approx(30.0, rel=1e-3)
    assert describe_streams([info], CAMERA, ACTION, problems=Report()).rate_hz == pytest.approx(
        15.0, rel=1e-3
    )


@pytest.mark.parametrize(
    ("gaps", "rate"), [([0.1] * 8 + [5.0], 10.0), ([0.02, 0.04] * 9, 1 / 0.03), ([0.1] * 9 + [0.2], 10.0)]
)
def test_typical_rate(gaps: list[float], rate: float) -> None:
    assert typical_rate(np.array(gaps)) == pytest.approx(rate)


def test_bags_that_differ_are_named_and_the_rest_is_described(tmp_path: Path) -> None:
    usual = [look(tmp_path / f"usual{k}", robot_messages(9)) for k in range(3)]
    slow = [(t, k, START + 2 * (r - START), m) for t, k, r, m in robot_messages(9)]
    for _, _, received, message in slow:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(received, 10**9)
    odd = {
        "slow": (slow, "images come at 5.00 Hz, usual is 10.00 Hz"),
        "large": (robot_messages(9, width=96, height=48), "images are 96x48, usual is 48x32"),
        "wide": (commands(robot_messages(9), (1, 2, 3), (3, 2, 1)), "expected 2 action values as usual, got 3"),
        "blind": ([m for m in robot_messages(9) if m[1] != IMAGE], f"no messages of topic {CAMERA}; it holds /action"),
        "still": (robot_messages(1), "expected several images at different times, got 1"),
    }  # fmt: skip
    infos = usual + [look(tmp_path / name, messages) for name, (messages, _) in odd.items()]
    problems = Report()
    spec = describe_streams(infos, CAMERA, ACTION, problems=problems)
    assert spec.rate_hz == 10.0
    assert (spec.width, spec.height) == model_size(48, 32)
    assert (spec.actions[0].type, spec.actions[0].fields, spec.actions[0].dim) == (JOINTS, ("position",), 2)
    for name, (_, text) in odd.items():
        assert sum(str(tmp_path / name) in problem and text in problem for problem in problems) == 1, problems
    assert len(problems) == len(odd)


def test_what_cannot_be_described(tmp_path: Path) -> None:
    infos = [look(tmp_path / "bag", robot_messages(9))]
    for camera, action, text in (
        ("/nope", "/action", "no messages of topic /nope; it holds /action, /camera/image_raw"),
        ("/action", CAMERA, "/action: expected images, got sensor_msgs/msg/JointState"),
        (CAMERA, "/action.effort", "/action: expected actions"),
    ):
        sources = parse_actions([action])
        with pytest.raises(InputError, match=text):
            describe_streams([inspect_bag(tmp_path / "bag", sources)], camera, sources, problems=Report())
    two = look(tmp_path / "two", [*robot_messages(3), ("/arm", JOINTS, START, joints(START, (1.0, 2.0)))])
    with pytest.raises(InputError, match="--action-topic: expected one topic of commands"):
        choose_topics([two], None, ())
    assert choose_topics(infos, None, ()) == (CAMERA, ACTION)


def test_a_lag_is_in_seconds_or_steps() -> None:
    streams = SPEC
    assert with_lag(streams, lag=None, lead=None) == streams
    assert with_lag(streams, lag=0.25, lead=None).action_lag_ns == 250_000_000
    assert with_lag(streams, lag=None, lead=3).action_lag_ns == -300_000_000
    with pytest.raises(InputError, match="--action-lag and --action-lead: expected one of them, got both"):
        with_lag(streams, lag=0.1, lead=1)
    with pytest.raises(InputError, match="--action-lag: expected 2 s at most, got 3 s"):
        with_lag(streams, lag=-3.0, lead=None)
    with pytest.raises(InputError, match=r"--action-lead: expected 2 s at most, got 2\.1 s"):
        with_lag(streams, lag=None, lead=21)
    with pytest.raises(InputError, match="--action-lag: expected 2 s at most, got nan s"):
        with_lag(streams, lag=float("nan"), lead=None)
