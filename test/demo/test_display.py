# SPDX-License-Identifier: Apache-2.0
"""The recorded predictive display: what was on each screen at a time, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import imageio.v2 as imageio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_streams import START, STEP, frame, message

from dd_ros.demo.display import PATIENCE_NS, Display, Screen
from dd_ros.demo.display_report import FILES, summary, write_report
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import psnr, rms

MS = 1_000_000


def brighter(number: int) -> np.ndarray:
    """A prediction of frame ``number`` that is off by one grey level."""
    return np.minimum(frame(number).astype(int) + 1, 255).astype(np.uint8)


def recorded(frames: int, *, delay: int = 2) -> Display:
    """Every frame ``delay`` steps late, and a prediction of each that is too bright and 30 ms early."""
    display = Display()
    for number in range(frames):
        now = START + number * STEP
        if number >= delay:
            display.show_stale(now - 10 * MS, now - delay * STEP, message(frame(number - delay)))
        display.show_predicted(now - 30 * MS, now, message(brighter(number)))
        display.frame(now, message(frame(number)), now_ns=now + 5 * MS)
    display.frame(START + frames * STEP, message(frame(frames)), now_ns=START + (frames + 9) * STEP)
    return display


@given(
    arrivals=st.lists(st.integers(0, 50), max_size=40),
    time=st.integers(-1, 60),
)
def test_a_screen_shows_what_arrived_last(arrivals: list[int], time: int) -> None:
    screen, shown = Screen(), None
    for number, arrival in enumerate(sorted(arrivals)):
        screen.show(arrival, 1000 + number, str(number))
        if arrival <= time:
            shown = (1000 + number, str(number))
    assert screen.at(time) == shown


def test_moments_have_what_was_on_the_screens_by_then() -> None:
    display = recorded(10, delay=3)
    # not the last frame's: nothing newer had come; the first three had no delayed frame yet
    assert [moment.time_ns for moment in display.moments] == [START + n * STEP for n in range(3, 11)]
    for number, moment in zip(range(3, 10), display.moments, strict=False):
        np.testing.assert_array_equal(moment.true, frame(number))
        np.testing.assert_array_equal(moment.stale, frame(number - 3))
        np.testing.assert_array_equal(moment.predicted, brighter(number))
        assert (moment.age_ns, moment.ahead_ns) == (3 * STEP, 0)
        stale, predicted = display.errors[number - 3]
        assert stale == pytest.approx(float(rms(moment.true, moment.stale)))
        assert predicted == pytest.approx(1.0)
    last = display.moments[-1]
    assert (last.age_ns, last.ahead_ns) == (4 * STEP, -STEP)


def test_what_arrives_after_a_frames_time_was_not_on_the_screen() -> None:
    display = Display()
    display.show_stale(START - 5, START - STEP, message(frame(0)))
    display.show_predicted(START - 5, START, message(frame(1)))
    display.frame(START, message(frame(1)), now_ns=START + 20 * MS)
    display.show_predicted(START + 1, START + STEP, message(frame(2)))  # taken in before the frame is judged
    display.frame(START + STEP, message(frame(2)), now_ns=START + PATIENCE_NS)
    (moment,) = display.moments
    np.testing.assert_array_equal(moment.predicted, frame(1))


def test_images_are_kept_of_the_newest_moments_and_scores_of_all() -> None:
    display = Display(keep=4)
    for number in range(12):
        now = START + number * STEP
        display.show_stale(now - 1, now - STEP, message(frame(number)))
        display.show_predicted(now - 1, now, message(frame(number)))
        display.frame(now, message(frame(number)), now_ns=now + PATIENCE_NS)
    assert len(display.errors) == len(display.ages_ns) == 12
    assert [moment.time_ns for moment in display.moments] == [START + n * STEP for n in range(8, 12)]


def test_the_report_has_its_files_and_says_which_screen_is_nearer(tmp_path: Path) -> None:
    display = recorded(30)
    result = write_report(display, tmp_path / "out", checkpoint="tiny", delay=0.2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == result
    moments = display.moments
    for name in ("stale", "predicted"):
        values = [psnr(moment.true, getattr(moment, name)) for moment in moments]
        assert result[name]["psnr"] == pytest.approx(np.mean(values), abs=2e-3)
    assert result["moments"] == 29
    assert result["age_ms"]["p50"] == 200.0
    assert result["nearer"] > 0.9
    assert "29 moments, camera 200 ms late" in summary(result)
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"| the predicted frame | {result['predicted']['psnr']:.2f} |" in text
    for name in ("display.png", "error.png"):
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 10
    with imageio.get_reader(tmp_path / "out" / "display.mp4") as reader:
        assert reader.get_meta_data()["fps"] == 10
        assert reader.count_frames() == 29


def test_a_recording_without_a_moment_makes_an_honest_report(tmp_path: Path) -> None:
    (tmp_path / "display.mp4").write_bytes(b"of an earlier run")
    result = write_report(Display(), tmp_path, checkpoint="tiny", delay=0.2)
    assert result["moments"] == 0
    assert result["stale"]["psnr"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
    assert "no moment" in summary(result)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: cannot be written"):
        write_report(recorded(4), tmp_path / "file" / "out", checkpoint="tiny", delay=0.2)
