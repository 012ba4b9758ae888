# SPDX-License-Identifier: Apache-2.0
"""Bags whose clocks are apart: what is read is what was commanded, by one clock for rate and cuts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import IMAGE, JOINTS, START, STEP, image, joints, make, make_frame, write_bag

from dd_ros.commands.inspecting import clock_lines
from dd_ros.data.bags import read_episodes
from dd_ros.data.stream_choice import choose_streams
from dd_ros.data.survey import inspect_bag
from dd_ros.report import Report
from dd_ros.streams import parse_actions

CAMERA = "/camera/image_raw"
SECOND = 1_000_000_000
COUNT = 150
BARE = "std_msgs/msg/Float64MultiArray"


def bare(value: float) -> Any:
    layout = make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    return make(BARE, layout=layout, data=np.array([float(value)]))


def recording(
    path: Path,
    camera: Callable[[int], int],
    received: Callable[[int], int],
    action: Callable[[int], int] | None,
) -> Path:
    """Command k comes 5 ms before image k.

    Args:
        camera, action: header stamps from the number; without, commands have no header.
        received: receive time of the image; ``None`` of the command follow.
    """
    messages: list[tuple[str, str, int, Any]] = []
    for k in range(COUNT):
        at = received(k) - 5_000_000 if received(k) else 0
        command = bare(k) if action is None else joints(action(k), (k, 0.0))
        messages.append(("/action", BARE if action is None else JOINTS, at, command))
        messages.append((CAMERA, IMAGE, received(k), image(camera(k), make_frame(k))))
    return write_bag(path, messages)


def steady(k: int) -> int:
    return START + k * STEP


def slower(factor: float) -> Callable[[int], int]:
    return lambda k: START + round(k * STEP / factor) + (k % 7) * 5_000_000


# name -> header stamps of the camera, receive times, header stamps of the commands, Hz, what is said.
CASES: dict[str, tuple[Any, Any, Any, float, str]] = {
    **{
        f"simulation at {factor} of real time": (
            lambda k: 5 * SECOND + k * STEP, slower(factor), None, 10.0 * factor, "another clock",
        )
        for factor in (0.333, 0.5, 0.8, 0.95)
    },
    "simulation, all stamped": (
        lambda k: 5 * SECOND + k * STEP, slower(0.5), lambda k: 5 * SECOND + k * STEP - 5_000_000, 10.0, "",
    ),
    "camera ahead of receipt": (lambda k: steady(k) + 900_000_000, steady, None, 10.0, "ahead of receipt"),
    "camera ahead, commands stamped": (
        lambda k: steady(k) + 900_000_000, steady, lambda k: steady(k) - 5_000_000, 10.0, "different clocks",
    ),
    "camera's laptop 30 s behind": (
        lambda k: steady(k) - 30 * SECOND, steady, lambda k: steady(k) - 5_000_000, 10.0, "different clocks",
    ),
    "camera's laptop 30 s behind, bare commands": (lambda k: steady(k) - 30 * SECOND, steady, None, 10.0, "another clock"),
    "robot 20 s ahead, all stamped by it": (
        lambda k: steady(k) + 20 * SECOND, steady, lambda k: steady(k) + 20 * SECOND - 5_000_000, 10.0, "",
    ),
    "camera drifts": (lambda k: START + round(k * STEP * 0.97), steady, None, 10.0, "drifting by -3%"),
    "camera drifts, commands stamped": (
        lambda k: START + round(k * STEP * 0.97), steady, lambda k: steady(k) - 5_000_000, 10.0, "drifting by -3%",
    ),
    "camera jumps by three minutes": (
        lambda k: steady(k) + 180 * SECOND * (k >= 70), steady, None, 10.0, "jumping by 180.0 s",
    ),
    "slow camera link": (steady, lambda k: steady(k) + 5_000_000 + 30_000_000 * (k % 3), None, 10.0, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_image_has_its_command_and_rate_and_cuts_are_of_one_clock(tmp_path: Path, name: str) -> None:
    camera, received, action, rate, said = CASES[name]
    bag = recording(tmp_path / "bag", camera, received, action)
    problems = Report()
    spec = choose_streams([bag], CAMERA, parse_actions(["/action"]), problems=problems, all_fields=True)
    assert spec.rate_hz == pytest.approx(rate, rel=0.01)
    episodes = read_episodes(bag, spec, problems)
    assert len(episodes) == 1
    if name != "slow camera link":  # there the recorder saw commands late, and nobody can know
        assert np.array_equal(episodes[0].actions[:, 0], np.arange(COUNT))
    assert bool(said) == bool(problems), problems.lines()
    assert said in " ".join(problems)


def test_time_zero_is_no_time(tmp_path: Path) -> None:
    """A recorder that follows a simulation's clock, started before the simulation."""
    begin = 12 * SECOND
    bag = recording(
        tmp_path / "bag", lambda k: begin + k * STEP, lambda k: begin + k * STEP if k >= 15 else 0, None
    )
    (episode,) = read_episodes(
        bag, choose_streams([bag], CAMERA, parse_actions(["/action"]), problems=Report())
    )
    assert episode.actions[:, 0].tolist() == list(range(15, COUNT))


def test_inspect_says_which_clock_is_used_and_what_the_other_would_change(tmp_path: Path) -> None:
    camera, received, action, *_ = CASES["camera ahead of receipt"]
    bag = recording(tmp_path / "bag", camera, received, action)
    spec = choose_streams([bag], CAMERA, parse_actions(["/action"]), problems=Report())
    (line,) = clock_lines([inspect_bag(bag)], spec)
    assert f"{CAMERA} receive times (header 0.900 s ahead of receipt); /action receive times" in line
    assert "header stamps would change the command of 99.3% of images" in line
    whole = recording(tmp_path / "whole", steady, steady, steady)
    (line,) = clock_lines([inspect_bag(whole)], spec)
    assert "header stamps (header 0.000 s behind receipt)" in line
