# SPDX-License-Identifier: Apache-2.0
"""Bags of the simulated robot, read back by the reader that training uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.demo.pusht import HardPusher, Robot
from dd_ros.demo.simulate import (
    FIRST_STAMP_NS,
    STATE_NAMES,
    STATE_TOPIC,
    STATE_TYPE,
    STEP_NS,
    STREAMS,
    main,
    write_episode,
)
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource

STEPS = 25


def test_a_bag_gives_back_images_and_the_commands_that_led_to_them(tmp_path: Path) -> None:
    write_episode(tmp_path / "bag", Robot(7), steps=STEPS)
    (episode,) = read_episodes(tmp_path / "bag", STREAMS)
    assert len(episode) == STEPS
    np.testing.assert_array_equal(episode.stamps, FIRST_STAMP_NS + STEP_NS * np.arange(STEPS))
    robot = Robot(7)
    command = robot.world.pusher
    for frame, action in zip(episode.frames, episode.actions, strict=True):
        np.testing.assert_array_equal(frame, robot.world.image())
        np.testing.assert_allclose(action, command, rtol=1e-6)
        command = robot.step()


def test_a_bag_of_hard_pushes_gives_back_images_and_the_commands_that_led_to_them(tmp_path: Path) -> None:
    write_episode(tmp_path / "bag", HardPusher(7), steps=STEPS)
    (episode,) = read_episodes(tmp_path / "bag", STREAMS)
    assert len(episode) == STEPS
    pusher = HardPusher(7)
    command = pusher.world.pusher
    for frame, action in zip(episode.frames, episode.actions, strict=True):
        np.testing.assert_array_equal(frame, pusher.world.image())
        np.testing.assert_allclose(action, command, rtol=1e-6)
        command = pusher.step()


def test_the_generator_writes_numbered_bags_of_different_episodes(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--episodes", "2", "--steps", "12", "--seed", "3"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    bags = find_bags([tmp_path])
    assert [bag.name for bag in bags] == ["episode_000000", "episode_000001"]
    first, second = (read_episodes(bag, STREAMS)[0] for bag in bags)
    assert not np.array_equal(first.frames, second.frames)


def test_the_generator_writes_hard_pushes_when_asked(tmp_path: Path) -> None:
    arguments = [
        "--out",
        str(tmp_path),
        "--episodes",
        "1",
        "--steps",
        "12",
        "--seed",
        "3",
        "--behaviour",
        "hard-pushes",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (pushed,) = read_episodes(tmp_path / "episode_000000", STREAMS)
    assert np.array_equal(pushed.frames[0], HardPusher(3).world.image())


def test_true_states_come_with_the_stamps_of_the_images_when_asked(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--episodes", "1", "--steps", "12", "--seed", "3", "--state"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    fields = (f"position[0:{len(STATE_NAMES)}]", "velocity[0:2]")
    source = ActionSource(topic=STATE_TOPIC, type=STATE_TYPE, fields=fields, dim=len(STATE_NAMES) + 2)
    with_state = STREAMS.model_copy(update={"actions": (source,)})
    (episode,) = read_episodes(tmp_path / "episode_000000", with_state)
    robot = Robot(3)
    for values in episode.actions:
        places, angle, velocity = np.split(robot.world.state, [4, 5])
        expected = [*places, *np.cos(angle), *np.sin(angle), *velocity]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
        robot.step()
    assert len(episode) == 12
    assert np.abs(episode.actions[:, -2:]).max() > 10


def test_an_existing_bag_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        write_episode(tmp_path, Robot(0), steps=2)
