# SPDX-License-Identifier: Apache-2.0
"""What a notebook shows of frames and of a predictor."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import random_model, tiny_config

from dd_ros import Predictor, show
from dd_ros.errors import InputError
from dd_ros.evaluation.video import LABEL_HEIGHT, TILE_WIDTH

RED, BLUE = (255, 0, 0), (0, 0, 255)


def frames(*colours: tuple[int, int, int]) -> np.ndarray:
    """One frame of 64x32 of each colour."""
    return np.stack([np.full((32, 64, 3), colour, np.uint8) for colour in colours])


def test_a_notebook_gets_a_png_of_all_frames_in_order() -> None:
    strip = show(frames(RED, BLUE), step_s=0.1)
    picture = cv2.imdecode(np.frombuffer(strip._repr_png_(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(picture, strip.image)
    assert picture.shape[0] == LABEL_HEIGHT + TILE_WIDTH // 2
    middle = picture[LABEL_HEIGHT + TILE_WIDTH // 4]
    assert tuple(middle[0]) == RED
    assert tuple(middle[-1]) == BLUE
    assert (picture[:LABEL_HEIGHT] < 128).any()  # labels


def test_rollouts_get_a_row_each_and_long_ones_are_thinned() -> None:
    one = show(frames(RED))
    rollouts = show(np.stack([frames(*[RED] * 9), frames(*[BLUE] * 9)]), most=3)
    assert rollouts.image.shape[0] == 2 * one.image.shape[0]
    assert rollouts.image.shape[1] == 3 * TILE_WIDTH + 2 * 4
    assert tuple(rollouts.image[-1, -1]) == BLUE
    many = frames(RED, *[BLUE] * 8, RED)
    ends = show(many, most=2).image[-1]
    assert tuple(ends[0]) == tuple(ends[-1]) == RED


def test_a_single_image() -> None:
    assert show(frames(RED)[0]).image.shape == (LABEL_HEIGHT + TILE_WIDTH // 2, TILE_WIDTH, 3)


def test_it_is_written_by_its_ending(tmp_path: Path) -> None:
    path = show(frames(RED)).save(tmp_path / "made" / "strip.png")
    assert tuple(cv2.imread(str(path))[-1, -1, ::-1]) == RED
    with pytest.raises(InputError, match=r"strip\.nothing: cannot be written"):
        show(frames(RED)).save(tmp_path / "strip.nothing")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4, 3)), r"expected uint8 RGB .* got float64 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"got uint8 \[4, 4\]"),
        (np.zeros((2, 4, 4, 1), np.uint8), r"got uint8 \[2, 4, 4, 1\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"got uint8 \[0, 4, 4, 3\]"),
    ],
)
def test_what_are_no_frames(given: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        show(given)
    with pytest.raises(InputError, match="expected most of at least 1"):
        show(frames(RED), most=0)


def test_a_predictor_says_what_it_is() -> None:
    config = tiny_config(name="<b>tiny</b>")
    predictor = Predictor(config, random_model(config))
    said = repr(predictor)
    for text in (
        "48x32 at 10 Hz",
        "/camera/image_raw",
        "2 (x, y), /action.position[0:2]",
        "8 frames, 0.80 s",
        "2-1-1-1",
        "cpu",
    ):
        assert text in said
        assert text in predictor._repr_html_()
    assert predictor._repr_html_().count("<tr>") == len(predictor.facts())
    assert "<b>" not in predictor._repr_html_()  # a name is no markup
