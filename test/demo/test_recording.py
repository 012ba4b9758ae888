# SPDX-License-Identifier: Apache-2.0
"""Scores of a live run against the plainest way to compute them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from image_streams import CHUNK_FRAMES, CHUNKS, HORIZON, START, STEP, frame, live, message, pieces, predicted

from dd_ros.demo.recording import PATIENCE_NS, Recording, Timeline
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import psnr


def test_psnr_at_every_lead_is_that_of_the_frame_that_came() -> None:
    count = 20
    recording = live(count)
    recording.finish()
    assert len(recording.model_psnr) == count - 1  # the last one has no future yet
    for number, (model, copy) in enumerate(zip(recording.model_psnr, recording.copy_psnr, strict=True)):
        for k in range(HORIZON):
            target = number + k + 1
            if target < count:
                np.testing.assert_allclose(model[k], psnr(frame(target), predicted(number)[k]), rtol=1e-6)
                np.testing.assert_allclose(copy[k], psnr(frame(target), frame(number)), rtol=1e-6)
            else:
                assert np.isnan(model[k])
                assert np.isnan(copy[k])


def test_scores_do_not_depend_on_whether_frame_or_prediction_comes_first() -> None:
    early, late = live(20), Recording()
    late.frame(START, message(frame(0)))
    for number in range(20):
        if number + 3 < 20:
            late.frame(START + (number + 3) * STEP, message(frame(number + 3)))
        if number == 0:
            for ahead in (1, 2):
                late.frame(START + ahead * STEP, message(frame(ahead)))
        for piece in pieces(number):
            late.piece(piece)
    for recording in (early, late):
        recording.finish()
    np.testing.assert_array_equal(early.model_psnr, late.model_psnr)


def test_ages_misses_and_steps_without_prediction() -> None:
    recording = live(12, skip=(3, 4, 8))
    for piece in pieces(12, age_ms=200.0, late=4):
        recording.frame(piece.stamp_ns, message(frame(12)))
        recording.piece(piece)
    assert recording.predictions == 10
    assert recording.unpredicted_steps == 3
    assert recording.first_chunk_ages == [20_000_000] * 9 + [200_000_000]
    assert recording.horizon_ages == [40_000_000] * 9 + [400_000_000]
    assert recording.missed_chunks == 1
    assert recording.late_frames == 4


def test_frames_between_two_steps_do_not_count_as_steps() -> None:
    recording = Recording()
    for number in range(30):
        recording.frame(START + number * STEP // 3, message(frame(number // 3)))
        if number % 3 == 0:
            for piece in pieces(number // 3):
                recording.piece(piece)
    assert recording.camera_frames == 30
    assert recording.unpredicted_steps == 0


def test_a_lost_chunk_and_a_lost_frame() -> None:
    recording = live(20, skip=(5,), lost=(9,))
    recording.piece(pieces(5)[0])
    for number in range(20, 60):
        recording.frame(START + number * STEP, message(frame(number)))
    recording.finish()
    assert recording.incomplete == 1
    assert len(recording.model_psnr) == 18  # neither from step 5, nor from step 9 that nobody saw
    missing = [int(np.isnan(row).sum()) for row in recording.model_psnr]
    assert sum(missing) == HORIZON - 1  # frame 9 as a target, but for the prediction from step 5


def test_predictions_under_way_at_either_end_are_no_losses() -> None:
    recording = Recording()
    recording.piece(pieces(0)[1])
    assert recording.predictions == 0
    recording.frame(START + STEP, message(frame(1)))
    for piece in [*pieces(1), pieces(2)[0]]:
        recording.piece(piece)
    recording.finish()
    assert recording.incomplete == 0
    assert recording.predictions == 2


def test_the_moment_with_the_largest_motion_is_kept() -> None:
    recording = live(20)
    recording.finish()
    assert recording.best is not None
    np.testing.assert_array_equal(recording.best.observed, frame(0))  # motion slows down
    np.testing.assert_array_equal(recording.best.real[-1], frame(HORIZON))
    np.testing.assert_array_equal(recording.best.predicted, predicted(0))


def test_a_moment_of_which_every_frame_came_is_preferred() -> None:
    recording = live(HORIZON + 1, lost=(2,))
    recording.finish()
    assert recording.best is not None
    assert recording.best.missing == 1
    np.testing.assert_array_equal(recording.best.real[1], np.full_like(frame(0), 128))
    complete = live(2 * HORIZON, lost=(2,))
    complete.finish()
    assert complete.best is not None
    assert complete.best.missing == 0
    np.testing.assert_array_equal(complete.best.observed, frame(3))


def test_frames_of_any_size_are_compared_at_the_size_of_the_prediction() -> None:
    recording = Recording()
    large = frame(0).repeat(2, axis=0).repeat(2, axis=1)
    recording.frame(START, message(large))  # before the first prediction tells the size
    for piece in pieces(0):
        recording.piece(piece)
    recording.frame(START + STEP, message(large))
    assert recording.size == (24, 16)
    for stamp in (START, START + STEP):
        kept = recording.frames.near(stamp, 0)
        assert kept is not None
        np.testing.assert_array_equal(kept, frame(0))


def test_a_frame_that_does_not_decode_is_refused_at_once() -> None:
    recording, dark = Recording(), message(frame(0))
    dark.data = dark.data[:10]
    for _ in range(2):  # before the first prediction, and after it
        with pytest.raises(InputError, match="image data: expected 1152 bytes"):
            recording.frame(START, dark)
        for piece in pieces(0):
            recording.piece(piece)
    assert not recording.camera_frames


def test_a_skipped_step_shows_the_prediction_nearest_to_the_wanted_lead() -> None:
    recording = live(30, skip=(10,))
    full = recording.shown[HORIZON]
    exact = full.near(START + 17 * STEP, 0)
    assert exact is not None
    assert exact.lead == HORIZON
    other = full.near(START + 16 * STEP, 0)  # would have been predicted from step 10
    assert other is not None
    assert other.lead == HORIZON - 1
    np.testing.assert_array_equal(other.frame, predicted(11)[HORIZON - 2])


def mixed(count: int, short: Callable[[int], bool]) -> Recording:
    """A recording of ``count`` frames, with only the first chunk predicted from some."""
    recording = Recording()
    for number in range(count):
        recording.frame(START + number * STEP, message(frame(number)))
        for piece in pieces(number, chunks=1 if short(number) else CHUNKS):
            recording.piece(piece)
    return recording


@pytest.mark.parametrize(
    "short", [lambda n: n < 4, lambda n: n >= 10, lambda n: n % 3 == 1], ids=["at first", "later", "in turn"]
)
def test_predictions_of_any_length_are_scored_each_as_far_as_it_goes(short: Callable[[int], bool]) -> None:
    recording = mixed(30, short)
    recording.finish()
    assert recording.horizon == HORIZON
    assert recording.incomplete == 0
    assert recording.lengths == Counter(CHUNK_FRAMES if short(n) else HORIZON for n in range(30))
    wanted = [
        [
            psnr(frame(number + k + 1), predicted(number)[k]) if number + k + 1 < 30 else np.nan
            for k in range(CHUNK_FRAMES if short(number) else HORIZON)
        ]
        for number in range(29)  # the last one has no future
    ]
    for model, row in zip(sorted(map(list, recording.model_psnr)), sorted(wanted), strict=True):
        np.testing.assert_allclose(model, row, rtol=1e-6)
    assert recording.best is not None
    assert len(recording.best.predicted) == HORIZON


def test_a_longer_prediction_brings_its_lead_to_the_video() -> None:
    recording = mixed(30, lambda n: n < 10)
    assert tuple(recording.shown) == recording.leads() == (1, 3, 6)
    early, late = (recording.shown[3].near(START + n * STEP, 0) for n in (8, 20))
    assert early is not None
    assert late is not None
    assert (early.lead, late.lead) == (3, 3)
    assert recording.shown[HORIZON].near(START + 8 * STEP, 0) is None
    full = recording.shown[HORIZON].near(START + 20 * STEP, 0)
    assert full is not None
    assert full.lead == HORIZON


def test_memory_is_bounded() -> None:
    recording = Recording(keep_seconds=1.0)
    for number in range(300):
        recording.frame(START + number * STEP, message(frame(number)))
        for piece in pieces(number):
            recording.piece(piece)
    kept = (1e9 + 2 * PATIENCE_NS) / STEP + HORIZON + 2
    assert len(recording.frames.stamps) <= kept
    assert all(len(timeline.stamps) <= kept + HORIZON for timeline in recording.shown.values())
    assert len(recording._open) <= HORIZON + 2
    assert recording.predictions == 300


def test_a_clock_that_goes_back_starts_the_images_anew() -> None:
    recording = live(60)
    for number in range(20):
        recording.frame(START + number * STEP, message(frame(number)))
        for piece in pieces(number):
            recording.piece(piece)
    recording.finish()
    assert recording.restarts == 1
    assert len(recording.frames.stamps) == 20
    assert len(recording.model_psnr) >= 60 - HORIZON - 1 + 19


def test_a_copy_is_finished_without_touching_the_original() -> None:
    recording = live(20)
    copy = recording.copy()
    copy.finish()
    open_ones = len(recording._open)
    assert open_ones
    assert len(copy.model_psnr) == 19 > len(recording.model_psnr)
    recording.frame(START + 20 * STEP, message(frame(20)))
    assert len(copy.frames.stamps) == 20


def test_timeline_finds_the_nearest() -> None:
    line: Timeline[str] = Timeline()
    for stamp in (30, 10, 20):
        line.add(stamp, str(stamp))
    assert [line.near(stamp, 4) for stamp in (5, 6, 14, 15, 24, 33, 40)] == [
        None,
        "10",
        "10",
        None,
        "20",
        "30",
        None,
    ]
    line.drop_before(20)
    assert line.stamps == [20, 30]
    assert line.near(10, 1) is None


def test_chunks_per_prediction_are_as_made() -> None:
    assert live(3).chunks == 3 * CHUNKS
