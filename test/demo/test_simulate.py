# SPDX-License-Identifier: Apache-2.0
"""Bags of the simulated robot, read back by the reader that training uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.demo.pusht import Robot, Sweeper
from dd_ros.demo.simulate import FIRST_STAMP_NS, STEP_NS, STREAMS, main, write_episode
from dd_ros.errors import InputError

STEPS = 25


def test_a_bag_gives_back_pictures_and_the_commands_that_led_to_them(tmp_path: Path) -> None:
    write_episode(tmp_path / "bag", Robot(7), STEPS)
    (episode,) = read_episodes(tmp_path / "bag", STREAMS)
    assert len(episode) == STEPS
    np.testing.assert_array_equal(episode.stamps, FIRST_STAMP_NS + STEP_NS * np.arange(STEPS))
    robot = Robot(7)
    command = robot.world.pusher
    for frame, action in zip(episode.frames, episode.actions, strict=True):
        np.testing.assert_array_equal(frame, robot.world.image())
        np.testing.assert_allclose(action, command, rtol=1e-6)
        command = robot.step()


def test_a_bag_of_sweeps_gives_back_pictures_and_the_commands_that_led_to_them(tmp_path: Path) -> None:
    write_episode(tmp_path / "bag", Sweeper(7), STEPS)
    (episode,) = read_episodes(tmp_path / "bag", STREAMS)
    assert len(episode) == STEPS
    sweeper = Sweeper(7)
    command = sweeper.world.pusher
    for frame, action in zip(episode.frames, episode.actions, strict=True):
        np.testing.assert_array_equal(frame, sweeper.world.image())
        np.testing.assert_allclose(action, command, rtol=1e-6)
        command = sweeper.step()


def test_the_generator_writes_numbered_bags_of_different_episodes(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--episodes", "2", "--steps", "12", "--seed", "3"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    bags = find_bags([tmp_path])
    assert [bag.name for bag in bags] == ["episode_000000", "episode_000001"]
    first, second = (read_episodes(bag, STREAMS)[0] for bag in bags)
    assert not np.array_equal(first.frames, second.frames)


def test_the_generator_writes_sweeps_when_asked(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--episodes", "1", "--steps", "12", "--seed", "3", "--sweeps"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (swept,) = read_episodes(tmp_path / "episode_000000", STREAMS)
    assert np.array_equal(swept.frames[0], Sweeper(3).world.image())


def test_an_existing_bag_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        write_episode(tmp_path, Robot(0), 2)
