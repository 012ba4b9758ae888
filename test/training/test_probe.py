# SPDX-License-Identifier: Apache-2.0
"""What commands say about motion is measured: how much, at which lag, and that they say nothing where they say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_writer import write_bag
from camera_car import ACTION_TOPIC, COMMAND_DELAY, IMAGE_TOPIC, drive, twist
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dd_ros.data.stream_choice import choose_streams
from dd_ros.report import Report
from dd_ros.settings import read_yaml, write_yaml
from dd_ros.streams import ActionSource, StreamSpec, parse_actions
from dd_ros_training.motion import HEIGHT, WIDTH, motion, pieces_of
from dd_ros_training.probe import FARTHEST, Probe, probed, shifts_of, suggested_lag

RATE = 10.0
SIZE = 64, 48  # of images


class Shown:
    """Model steps with images, as training has them."""

    def __init__(self, images: NDArray[np.uint8], actions: NDArray[np.float32]):
        self.images, self.actions, self.name = images, actions, "shown"

    def __len__(self) -> int:
        return len(self.images)

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self.images[start:stop]


def spec(dim: int = 2, lag: float = 0.0) -> StreamSpec:
    source = ActionSource(topic="/action", dim=dim)
    return StreamSpec(
        image_topic="/i", actions=(source,), rate_hz=RATE, width=64, height=48, action_lag_s=lag
    )


def smooth(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """A command that changes its value now and then, within -1 to 1."""
    return np.repeat(rng.uniform(-1.0, 1.0, steps // 5 + 1), 5)[:steps]


def panning(seconds: float, *, late: int = 0, seed: int = 0, speed: float = 4.0, light: float = 1.0) -> Shown:
    """A camera that pans over a panorama as commanded ``late`` steps before, by ``speed`` pixels a step at most.

    There is a second command, which does nothing.
    """
    rng, steps = np.random.default_rng(seed), round(seconds * RATE)
    turn = smooth(rng, steps)
    done = np.concatenate([np.zeros(late), turn[: steps - late]]) if late >= 0 else np.roll(turn, late)
    place = np.cumsum(speed * done)
    panorama = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE[1], 4000)).astype(np.float32), (0, 0), 4.0)
    panorama = light * (panorama - panorama.min()) * (255.0 / np.ptp(panorama))
    columns = (place[:, None] + np.arange(SIZE[0])).round().astype(int) % 4000
    grey = panorama[:, columns].transpose(1, 0, 2)
    grey = np.clip(grey + rng.normal(0.0, 2.0, grey.shape), 0, 255).astype(np.uint8)
    actions = np.stack([turn, smooth(rng, steps)], axis=1).astype(np.float32)
    return Shown(grey[..., None].repeat(3, axis=-1), actions)


def with_actions(shown: Shown, actions: NDArray) -> Shown:
    return Shown(shown.images, np.asarray(actions, np.float32))


def lines(episodes: Sequence[Shown], streams: StreamSpec | None = None) -> str:
    return "\n".join(probed(episodes, streams or spec()).remarks())


@pytest.mark.parametrize("late", [-2, 0, 2, 4])
def test_the_lag_is_found(late: int) -> None:
    found = probed([panning(90.0, late=late)], spec())
    assert found.best > 0.5
    assert not found.silent
    assert found.suggested == (pytest.approx(0.1 * late) if late else None)
    if late:
        assert f"--action-lag {0.1 * late:.2g}" in "\n".join(found.remarks())
        assert found.best > 1.5 * max(found.share, 0.0)


def test_what_the_commands_say_is_what_they_say_where_they_were_read() -> None:
    late, shown = 2, panning(90.0, late=2)
    read = with_actions(shown, np.concatenate([shown.actions[:1]] * late + [shown.actions[:-late]]))
    found = probed([read], spec(lag=0.1 * late))
    assert found.suggested is None
    assert found.share == found.best > 0.5
    assert found.lag == pytest.approx(0.2)


def test_a_minute_is_enough_and_so_are_short_episodes() -> None:
    assert probed([panning(55.0, late=2)], spec()).suggested == pytest.approx(0.2)
    short = [panning(6.0, late=2, seed=seed) for seed in range(12)]
    assert probed(short, spec()).suggested == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["permuted", "of another time", "noise", "many"])
def test_commands_that_say_nothing_are_said_to(seed: int, kind: str) -> None:
    shown, rng = panning(120.0, seed=seed), np.random.default_rng(seed)
    actions = {
        "permuted": rng.permutation(shown.actions),
        "of another time": np.roll(shown.actions, 333, axis=0),
        "noise": rng.normal(size=shown.actions.shape),
        "many": np.stack([smooth(rng, len(shown)) for _ in range(20)], axis=1),
    }[kind]
    found = probed([with_actions(shown, actions)], spec(actions.shape[1]))
    assert found.silent
    assert found.suggested is None
    assert "no link is seen between the commands and the motion" in "\n".join(found.remarks())


def test_constant_commands_are_said_to_be() -> None:
    shown = panning(30.0)
    found = probed([with_actions(shown, np.ones_like(shown.actions))], spec())
    assert found.constant
    assert found.remarks() == [
        "the commands are constant: predictions will be of motion that nobody commands"
    ]


def test_where_nothing_moves_nothing_is_said_of_commands() -> None:
    rng = np.random.default_rng(0)
    still = panning(40.0)
    still.images[:] = still.images[0]
    still.images += rng.integers(0, 3, still.images.shape, dtype=np.uint8)
    found = probed([still], spec())
    assert (found.still, found.shaky, found.shares) == (True, False, ())
    (said,) = found.remarks()
    assert said.startswith("nothing moves in the images")


def test_night() -> None:
    dark = probed([panning(40.0, light=0.1)], spec())
    assert dark.dark
    assert dark.remarks()[0].startswith("the images are dark")
    assert not probed([panning(40.0, light=0.6)], spec()).dark


def test_a_camera_that_shakes() -> None:
    rng = np.random.default_rng(1)
    assert not probed([panning(60.0)], spec()).shaky
    for speed in (0.0, 0.5):
        shown = panning(60.0, speed=speed)
        assert not probed([shown], spec()).shaky
        shown.images[:] = np.stack([np.roll(image, rng.integers(-2, 3), axis=1) for image in shown.images])
        assert "the camera shakes" in lines([shown])


def test_too_little_to_tell_is_no_verdict_and_no_failure() -> None:
    for episodes in ([], [panning(1.0)], [panning(9.0)]):
        found = probed(episodes, spec())
        assert (found.shares, found.silent, found.suggested) == ((), False, None)
    assert lines([]) == ""


def test_slow_models_have_no_lag_to_try() -> None:
    slow = spec().model_copy(update={"rate_hz": 1.0})
    assert shifts_of(slow) == [0]
    assert probed([panning(60.0)], slow).suggested is None


@given(st.floats(0.5, 60.0), st.floats(-2.0, 2.0))
def test_the_lags_that_are_tried(rate: float, lag: float) -> None:
    streams = spec().model_copy(update={"rate_hz": rate, "action_lag_s": lag})
    shifts = shifts_of(streams)
    assert 0 in shifts
    assert shifts == sorted(set(shifts))
    assert all(abs(lag + shift / rate) <= FARTHEST + 0.26 / rate for shift in shifts if shift)


@pytest.mark.parametrize(("right", "down"), [(1.0, 0.0), (0.0, -0.5), (-0.7, 0.4)])
def test_shifts_are_in_pixels(right: float, down: float) -> None:
    image = cv2.GaussianBlur(
        np.random.default_rng(3).uniform(0, 255, (80, 80)).astype(np.float32), (0, 0), 3.0
    )
    moved = cv2.warpAffine(image, np.array([[1, 0, right], [0, 1, down]], float), (80, 80))
    part = slice(20, 20 + HEIGHT), slice(20, 20 + WIDTH)
    found = motion(np.stack([image[part], moved[part]]))
    assert found.whole[0, :2] == pytest.approx([right, down], abs=0.2)
    cells = found.cells[0].reshape(2, -1)
    assert np.median(cells, axis=1) == pytest.approx([right, down], abs=0.3)


def test_pieces_are_spread_over_all() -> None:
    episodes = [panning(40.0, seed=seed) for seed in range(5)]
    pieces = pieces_of(episodes, rate_hz=RATE, steps=1000, least=20)
    assert [len(piece.grey) for piece in pieces] == [100] * 10
    assert not pieces_of([panning(1.0)], rate_hz=RATE, steps=1000, least=20)


def test_it_can_be_kept(tmp_path) -> None:
    found = probed([panning(60.0, late=1)], spec())
    write_yaml(tmp_path / "probe.yaml", found)
    assert read_yaml(tmp_path / "probe.yaml", Probe) == found


def test_a_lag_is_suggested_of_bags(tmp_path: Path) -> None:
    """A car whose commands act 0.3 s after their stamps, which is seen within the next step of 0.1 s, and one that does at once."""
    for late, wanted in ((300_000_000, 0.35), (0, None)):
        bags = []
        for number in range(3):
            messages = [
                (
                    topic,
                    kind,
                    time,
                    twist(time - COMMAND_DELAY - late, *driven(message))
                    if topic == ACTION_TOPIC
                    else message,
                )
                for topic, kind, time, message in drive(40.0, number)
            ]
            bags.append(tmp_path / f"late_{late}" / f"drive_{number:06d}")
            write_bag(bags[-1], messages, "sqlite3")
        sources, problems = parse_actions([f"{ACTION_TOPIC}.twist.linear.x,twist.angular.z"]), Report()
        streams = choose_streams(bags, IMAGE_TOPIC, sources, problems=problems)
        found = suggested_lag(bags, streams, cache=tmp_path / f"index_{late}")
        assert found == (pytest.approx(wanted, abs=0.06) if wanted else 0.0)


def driven(message: Any) -> tuple[float, float]:
    """Speed and turn of a command."""
    return message.twist.linear.x, message.twist.angular.z
