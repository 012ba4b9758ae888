# SPDX-License-Identifier: Apache-2.0
"""A robot nobody has trained on: its bags are looked at and read without a word about it in the code."""

from __future__ import annotations

from pathlib import Path

import camera_car
import cv2
import numpy as np
import pytest
from bag_writer import START, write_bag
from click.testing import CliRunner

from dd_ros.cli import main
from dd_ros.data.bags import read_episodes
from dd_ros.data.stream_choice import describe_streams
from dd_ros.data.survey import inspect_bag
from dd_ros.report import Report
from dd_ros.streams import parse_actions

FIELDS = f"{camera_car.ACTION_TOPIC}.twist.linear.x,twist.angular.z"


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("car")
    for seed in range(2):
        write_bag(folder / f"drive_{seed}", camera_car.drive(12.0, seed), "sqlite3")
    return folder


def test_the_image_moves_with_the_commands(bags: Path) -> None:
    """An image, moved as commanded, is nearly the next one: what a model is to learn."""
    sources = parse_actions([FIELDS])
    spec = describe_streams(
        [inspect_bag(bags / "drive_0", sources)], camera_car.IMAGE_TOPIC, sources, problems=Report()
    )
    whole = spec.model_copy(update={"width": camera_car.WIDTH, "height": camera_car.HEIGHT})
    (episode,) = read_episodes(bags / "drive_0", whole)
    inner = (slice(20, -20), slice(20, -20))
    moved, copied = [], []
    for number, (speed, turn) in enumerate(episode.actions[:-1].astype(float)):
        last, after = episode.frames[number], episode.frames[number + 1].astype(float)
        pose = camera_car.Pose().driven(speed, turn, 1.0 / spec.rate_hz)
        guess = cv2.warpAffine(last, camera_car.placed(pose), last.shape[1::-1], flags=camera_car.WARP)
        moved.append(np.abs(guess - after)[inner].mean())
        copied.append(np.abs(last - after)[inner].mean())
    assert np.mean(moved) < 0.3 * np.mean(copied)


def test_streams_and_episodes(bags: Path) -> None:
    sources, problems = parse_actions([FIELDS]), Report()
    infos = [inspect_bag(bag, sources) for bag in sorted(bags.iterdir())]
    spec = describe_streams(infos, camera_car.IMAGE_TOPIC, sources, problems=problems)
    (source,) = spec.actions
    assert (source.type, source.dim) == (camera_car.TWIST, 2)
    assert (spec.rate_hz, spec.width, spec.height) == (10.0, 128, 96)
    (episode,) = read_episodes(infos[0].path, spec, problems)
    wanted = camera_car.commands(12.0, 0)
    assert np.allclose(episode.actions, wanted, atol=1e-6)
    assert episode.stamps.tolist() == [START + k * 100_000_000 for k in range(120)]
    assert not problems


def test_inspect_says_what_training_would_use(bags: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(bags), "--action-topic", FIELDS])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    (row,) = [line for line in lines if "drive_" in line]
    assert "2: drive_" in row, "both are alike"
    assert "usable: 2 episodes, 24.0 s" in lines
    (use,) = [line for line in lines if line.startswith("training would use")]
    assert "/car/camera/compressed as 128x96 at 10 Hz" in use
    assert f"{FIELDS} (2 values), hold" in use


def test_a_drive_with_everything_wrong_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    """A pause, a clock that was reset, a message twice, images that do not decode, NaN as a command."""
    found = camera_car.drive(10.0)
    images = [message for topic, *_, message in found if topic == camera_car.IMAGE_TOPIC]
    twists = [message for topic, *_, message in found if topic == camera_car.ACTION_TOPIC]
    for message in images[40:43]:
        message.data = message.data[:20]
    twists[30].twist.linear.x = float("nan")
    found = [m for m in found if not 6.0 <= (m[2] - START) / 1e9 < 9.0 or m[0] != camera_car.IMAGE_TOPIC]
    found += [(topic, kind, received + 11 * 10**9, m) for topic, kind, received, m in found[:100]]
    bag = write_bag(tmp_path / "drive", [*found, found[-1]], "sqlite3")
    result = CliRunner().invoke(main, ["inspect", str(bag), "--action-topic", FIELDS])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    expected = [
        (camera_car.IMAGE_TOPIC, "that do not decode (4 times)"),
        (camera_car.ACTION_TOPIC, "expected finite action values, got NaN or infinity (2 times)"),
        (camera_car.IMAGE_TOPIC, "the clock goes back by a second or more"),
        (camera_car.IMAGE_TOPIC, "messages repeat a time stamp"),
    ]
    for words in expected:
        assert sum(all(word in line for word in (str(bag), *words)) for line in lines) == 1, result.stdout
    (usable,) = [line for line in lines if line.startswith("usable: ")]
    assert usable.startswith("usable: 5 episodes")
