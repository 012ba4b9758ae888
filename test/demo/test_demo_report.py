# SPDX-License-Identifier: Apache-2.0
"""The report of a live run: its figures, and that every file is there."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import imageio.v2 as imageio
import numpy as np
import pytest
from image_streams import CHUNKS, HORIZON, START, STEP, frame, live, message, pieces

from dd_ros.demo.recording import Recording
from dd_ros.demo.report import FILES, figures, percentiles, summary, video, write_report
from dd_ros.errors import InputError
from dd_ros.evaluation.video import LABEL_HEIGHT, TILE_WIDTH


def test_all_files_are_written_and_agree(tmp_path: Path) -> None:
    recording = live(30)
    result = write_report(recording, tmp_path / "out", checkpoint="tiny", node={"device": "cpu"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == result
    assert result["predictions"] == result["complete_predictions"] == 30
    assert result["seconds"] == pytest.approx(2.9)
    assert result["node"] == {"device": "cpu"}
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"| first chunk | {20.0:.1f} |" in text
    assert f"| {0.1:.2f} | {result['psnr']['model'][0]:.2f} |" in text
    for name in ("filmstrip.png", "psnr.png"):
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 10
    with imageio.get_reader(tmp_path / "out" / "demo.mp4") as reader:
        assert reader.get_meta_data()["fps"] == 10
        assert reader.count_frames() == 30


def test_psnr_is_the_mean_over_the_frames_that_came() -> None:
    recording = live(20, lost=(9,))
    recording.finish()
    quality = figures(recording, "tiny")["psnr"]
    model, copy = np.array(recording.model_psnr), np.array(recording.copy_psnr)
    assert quality["steps"] == list(range(1, HORIZON + 1))
    assert quality["count"] == list(np.isfinite(model).sum(axis=0))
    np.testing.assert_allclose(quality["model"], np.nanmean(model, axis=0), atol=1e-3)
    np.testing.assert_allclose(quality["copy_last"], np.nanmean(copy, axis=0), atol=1e-3)
    np.testing.assert_allclose(quality["gain"], np.nanmean(model - copy, axis=0), atol=1e-3)
    assert quality["above_copy_last_from_step_2"] == bool(np.nanmean(model - copy, axis=0)[1:].min() > 0)


def test_shorter_predictions_count_for_the_leads_they_have(tmp_path: Path) -> None:
    recording = Recording()
    for number in range(20):
        recording.frame(START + number * STEP, message(frame(number)))
        for piece in pieces(number, chunks=1 if number % 2 else CHUNKS):
            recording.piece(piece)
    result = write_report(recording, tmp_path, checkpoint="tiny", node={})
    assert (result["predictions"], result["shorter_predictions"]) == (20, 10)
    assert result["psnr"]["count"] == [19, 18, 17, 8, 8, 7]
    assert "; 10 of them shorter, as time was short." in (tmp_path / "report.md").read_text()
    assert len(list(video(recording))) == 20


def test_percentiles() -> None:
    ages = [1_000_000 * n for n in range(1, 102)]
    assert percentiles(ages) == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 101.0}
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None, "max": None}


def test_the_video_shows_what_had_been_predicted_for_each_time() -> None:
    recording = live(30)
    images = list(video(recording))
    assert len(images) == 30
    scale = -(-TILE_WIDTH // 24)
    width = 24 * scale

    def cell(number: int, column: int) -> np.ndarray:
        left = column * (width + 4)
        return images[number][LABEL_HEIGHT::scale, left : left + width : scale]

    np.testing.assert_array_equal(cell(20, 0), frame(20))
    for column, lead in enumerate(recording.leads(), start=1):
        np.testing.assert_array_equal(cell(20, column), frame(20) + np.uint8(2 + lead))
    assert (cell(20, 4) == 2 * (2 + HORIZON)).all()
    assert (cell(2, 3) == 128).all()  # nothing had been predicted for this time so far ahead


def test_an_empty_recording_makes_an_honest_report(tmp_path: Path) -> None:
    (tmp_path / "demo.mp4").write_bytes(b"of an earlier run")
    result = write_report(Recording(), tmp_path, checkpoint="", node={})
    assert result["predictions"] == 0
    assert "0 predictions" in summary(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_predictions_without_any_frame_to_compare_with(tmp_path: Path) -> None:
    recording = Recording()
    for number in range(3):
        for piece in pieces(number):
            recording.piece(piece)
    result = write_report(recording, tmp_path, checkpoint="tiny", node={})
    assert result["psnr"]["model"] == [None] * HORIZON
    assert result["psnr"]["above_copy_last_from_step_2"] is False


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(live(3), tmp_path / "file", checkpoint="tiny", node={})


def test_stamps_of_the_fixture_are_one_step_apart() -> None:
    assert np.diff([piece.stamp_ns for n in range(3) for piece in pieces(n)[:1]]).tolist() == [STEP, STEP]
    assert pieces(0)[0].stamp_ns == START
