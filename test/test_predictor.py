# SPDX-License-Identifier: Apache-2.0
"""The predictor's promises: from the first frame on, any size, gaps, resets, candidates, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dd_ros import Predictor
from dd_ros.checkpoint import load_checkpoint
from dd_ros.data.trained import FAR
from dd_ros.device import native_dtype
from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.predictions import MOST_UNCERTAIN

STEP = 100_000_000  # ns, 10 Hz
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)
ACTIONS = RNG.normal(size=(8, 2))
NOW = [0.1, -0.2]


@pytest.fixture
def predictor(tiny_checkpoint: Path) -> Predictor:
    return Predictor.load(tiny_checkpoint, device="cpu", seed=1)


def prediction(predictor: Predictor) -> np.ndarray:
    predictor.seed(1)
    return predictor.predict(ACTIONS)


def test_predicts_from_the_first_frame_on(predictor: Predictor) -> None:
    assert predictor.observe(IMAGES[0], 0, NOW)
    frames = predictor.predict(ACTIONS)
    assert frames.shape == (8, 32, 48, 3)
    assert frames.dtype == np.uint8


@pytest.mark.parametrize("shape", [(32, 48, 3), (480, 640, 3), (7, 5, 3), (1080, 1920, 3)])
def test_any_image_size(predictor: Predictor, shape: tuple[int, int, int]) -> None:
    predictor.observe(np.full(shape, 77, np.uint8), 0, NOW)
    assert predictor.observed is not None
    assert predictor.observed.shape == (32, 48, 3)
    assert (predictor.observed == 77).all()


def test_chunks_put_together_are_the_prediction(predictor: Predictor) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    whole = prediction(predictor)
    predictor.seed(1)
    chunks = list(predictor.predict_chunks(ACTIONS))
    assert [chunk.first_step for chunk in chunks] == [1, 3, 5, 7]
    assert [(chunk.index, chunk.count) for chunk in chunks] == [(i, 4) for i in range(4)]
    assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), whole)
    assert all(np.isfinite(chunk.uncertainty).all() and (chunk.uncertainty > 0).all() for chunk in chunks)


@pytest.mark.parametrize("frames", [2, 6, 8])
def test_a_shorter_horizon_is_the_beginning_of_the_whole(predictor: Predictor, frames: int) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    whole = prediction(predictor)
    predictor.seed(1)
    chunks = list(predictor.predict_chunks(ACTIONS, horizon=frames))
    assert [chunk.count for chunk in chunks] == [frames // 2] * (frames // 2)
    assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), whole[:frames])
    for wanted, shown in (("all", whole[:frames]), ("last", whole[frames - 1 : frames])):
        predictor.seed(1)
        parts = predictor.rollouts_by_chunk(
            ACTIONS[None], frames=wanted, context=predictor.context(), at_once=1, horizon=frames
        )
        *between, part = parts
        assert between == [None] * (frames // 2 - 1)
        assert np.array_equal(part.frames[0], shown)
        assert part.uncertainty.shape == (1, frames)


def test_a_schedule_for_one_call_is_what_setting_it_gives(predictor: Predictor) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    usual, other = predictor.schedule, preset("1", 2, 8)
    predictor.seed(1)
    once = np.concatenate([chunk.frames for chunk in predictor.predict_chunks(ACTIONS, schedule=other)])
    assert predictor.schedule == usual
    predictor.set_schedule(other)
    assert np.array_equal(once, prediction(predictor))


def test_parts_are_as_large_as_is_asked_for_before_each(predictor: Predictor) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    candidates, sizes = RNG.normal(size=(7, 8, 2)), iter((1, 4, 9))
    predictor.seed(1)
    parts = [
        part
        for part in predictor.rollouts_by_chunk(
            candidates, frames=None, context=predictor.context(), at_once=lambda: next(sizes)
        )
        if part
    ]
    assert [len(part.uncertainty) for part in parts] == [1, 4, 2]
    predictor.seed(1)
    (whole,) = predictor.rollouts(candidates, frames=None)
    assert np.allclose(np.concatenate([part.uncertainty for part in parts]), whole.uncertainty, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizon": 3}, "3 frames do not divide into chunks of 2"),
        ({"horizon": 10}, "a horizon of 1 to 8 frames"),
        ({"horizon": 0}, "a horizon of 1 to 8 frames"),
        ({"schedule": preset("1", 4, 8)}, "expected chunks of 2 frames"),
    ],
)
def test_a_horizon_or_schedule_that_does_not_fit_is_refused(
    predictor: Predictor, changes: dict, words: str
) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    with pytest.raises(InputError, match=words):
        list(predictor.predict_chunks(ACTIONS, **changes))


def test_a_prediction_that_nobody_takes_to_its_end_leaves_no_trace(
    tiny_checkpoint: Path, two_threads: None
) -> None:
    left, whole = (Predictor.load(tiny_checkpoint, device="cpu", seed=1) for _ in range(2))
    for step in range(3):
        for predictor in (left, whole):
            predictor.observe(IMAGES[step], step * STEP, NOW)
        abandoned = left.predict_chunks(ACTIONS)
        next(abandoned)  # the second chunk is under way now
        assert np.array_equal(prediction(left), prediction(whole)), "beside the one that is left"
        del abandoned
        assert np.array_equal(prediction(left), prediction(whole)), "after it"


def test_candidates_equal_single_predictions(tiny_checkpoint: Path) -> None:
    predictor = Predictor(*load_checkpoint(tiny_checkpoint), seed=1)  # float32: bfloat16 rounds in any order
    predictor.observe(IMAGES[0], 0, NOW)
    single = prediction(predictor).astype(int)
    predictor.seed(1)
    both = predictor.predict(np.stack([ACTIONS, -ACTIONS])).astype(int)
    assert np.abs(both[0] - single).max() <= 1  # other summation order
    assert np.abs(both[1] - single).max() > 1


def test_the_native_number_format_changes_images_little(tiny_checkpoint: Path) -> None:
    exact, native = (
        Predictor(*load_checkpoint(tiny_checkpoint)),
        Predictor.load(tiny_checkpoint, device="cpu"),
    )
    assert native.dtype == native_dtype(torch.device("cpu"))
    for predictor in (exact, native):
        predictor.observe(IMAGES[0], 0, NOW)
    difference = np.abs(prediction(exact).astype(int) - prediction(native).astype(int))
    assert difference.mean() < 1.0


def test_images_between_two_steps_are_ignored(predictor: Predictor) -> None:
    assert predictor.observe(IMAGES[0], 0, NOW)
    assert not predictor.observe(IMAGES[1], STEP // 2, NOW)
    assert predictor.stamp_ns == 0
    assert predictor.observe(IMAGES[2], STEP, NOW)


def test_one_missed_step_repeats_the_frame_before(predictor: Predictor, tiny_checkpoint: Path) -> None:
    for stamp, index in ((0, 0), (STEP, 1), (3 * STEP, 2)):
        predictor.observe(IMAGES[index], stamp, NOW)
    held = Predictor.load(tiny_checkpoint, device="cpu")
    for stamp, index in ((0, 0), (STEP, 1), (2 * STEP, 1), (3 * STEP, 2)):
        held.observe(IMAGES[index], stamp, NOW)
    assert np.array_equal(prediction(predictor), prediction(held))


@pytest.mark.parametrize("stamp", [9 * STEP, -20 * STEP])
def test_a_gap_or_a_reset_starts_anew(predictor: Predictor, tiny_checkpoint: Path, stamp: int) -> None:
    for index in range(3):
        predictor.observe(IMAGES[index], index * STEP, NOW)
    assert predictor.observe(IMAGES[4], stamp, NOW)
    fresh = Predictor.load(tiny_checkpoint, device="cpu")
    fresh.observe(IMAGES[4], 0, NOW)
    assert np.array_equal(prediction(predictor), prediction(fresh))


def test_a_numbered_step_is_what_its_stamp_says(tiny_checkpoint: Path, predictor: Predictor) -> None:
    """Whoever numbers the steps himself gets what ``observe`` makes of the same stamps; numbers only grow."""
    numbered = Predictor.load(tiny_checkpoint, device="cpu")
    for step in (0, 1, 3, 4, 9, 10):  # one missed, then a gap
        predictor.observe(IMAGES[step % 6], step * STEP, NOW)
        numbered.observe_step(IMAGES[step % 6], step * STEP, NOW, step=step)
    assert np.array_equal(prediction(predictor), prediction(numbered))
    with pytest.raises(InputError, match="expected a number above 10, got 10"):
        numbered.observe_step(IMAGES[0], 11 * STEP, NOW, step=10)
    numbered.reset()
    numbered.observe_step(IMAGES[0], 0, NOW, step=3)


CANDIDATES = np.random.default_rng(3).normal(size=(7, 8, 2))


def test_only_the_frames_that_are_asked_for_are_decoded(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    predictor.seed(1)
    every = predictor.predict(CANDIDATES)
    predictor.seed(1)
    (whole,) = predictor.rollouts(CANDIDATES)
    assert whole.frames is not None
    assert np.array_equal(whole.frames, every)
    decoded: list[int] = []
    decode = predictor.model.autoencoder.decode
    monkeypatch.setattr(
        predictor.model.autoencoder, "decode", lambda *given: decoded.append(len(given[0])) or decode(*given)
    )
    predictor.seed(1)
    assert np.array_equal(predictor.predict(CANDIDATES, frames="last"), every[:, -1])
    assert decoded == [7]
    predictor.seed(1)
    assert np.array_equal(predictor.predict(CANDIDATES[2], frames="last"), every[2, -1])
    predictor.seed(1)
    (nothing,) = predictor.rollouts(CANDIDATES, frames=None)
    assert nothing.frames is None
    assert np.array_equal(nothing.uncertainty, whole.uncertainty)
    assert decoded == [7, 1]


def test_parts_of_many_rollouts_are_the_whole_and_keep_their_context(tiny_checkpoint: Path) -> None:
    predictor = Predictor(
        *load_checkpoint(tiny_checkpoint)
    )  # float32: bfloat16 rounds by the size of a batch
    predictor.observe(IMAGES[0], 0, NOW)
    predictor.seed(1)
    whole = predictor.predict(CANDIDATES).astype(int)
    context = predictor.context()
    predictor.seed(1)
    parts = []
    for step, part in enumerate(predictor.rollouts(CANDIDATES, context=context, at_once=3), 1):
        parts.append(part.frames)
        predictor.observe(IMAGES[step], step * STEP, NOW)  # life goes on between two parts
        predictor.predict(ACTIONS)
    assert [len(part) for part in parts if part is not None] == [3, 3, 1]
    assert np.abs(np.concatenate(parts) - whole).max() <= 1
    assert context.stamp_ns == 0
    assert predictor.stamp_ns == 3 * STEP


def test_the_callers_model_stays_as_it_was(tiny_checkpoint: Path) -> None:
    """Only ``load`` lays weights out for predictions, of a model that nobody else has."""
    config, model = load_checkpoint(tiny_checkpoint)
    model.train()
    before = {
        name: (value.dtype, value.stride(), value.clone()) for name, value in model.state_dict().items()
    }
    predictor = Predictor(config, model, dtype=torch.bfloat16)
    predictor.warm_up()
    assert model.training
    for name, value in model.state_dict().items():
        dtype, stride, old = before[name]
        assert (value.dtype, value.stride()) == (dtype, stride), name
        assert torch.equal(value, old), name


def test_another_schedule_on_the_same_weights(predictor: Predictor) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    usual = prediction(predictor)
    predictor.set_schedule(preset("1", 2, 8))
    assert not np.array_equal(prediction(predictor), usual)
    teacher = predictor.with_schedule(preset("teacher", 2, 8))
    teacher.observe(IMAGES[0], 0, NOW)
    assert teacher.predict(ACTIONS).shape == usual.shape
    with pytest.raises(InputError, match="chunks of 2 frames, got 8"):
        predictor.set_schedule(preset("teacher", 2, 8))


@pytest.mark.parametrize(
    ("image", "action", "message"),
    [
        (IMAGES[0].astype(np.float32), NOW, "expected uint8"),
        (IMAGES[0][..., 0], NOW, "expected uint8"),
        (IMAGES[0], [0.0], r"expected shape \[2\], got \[1\]"),
        (IMAGES[0], [0.0, float("nan")], "NaN or infinity"),
    ],
)
def test_bad_observations_say_what_came_and_change_nothing(
    predictor: Predictor, image, action, message: str
) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    before = prediction(predictor)
    with pytest.raises(InputError, match=message):
        predictor.observe(image, STEP, action)
    assert predictor.stamp_ns == 0
    assert np.array_equal(prediction(predictor), before)


def test_bad_predictions_say_what_came(predictor: Predictor) -> None:
    with pytest.raises(InputError, match="nothing observed yet"):
        predictor.predict(ACTIONS)
    predictor.observe(IMAGES[0], 0, NOW)
    with pytest.raises(InputError, match=r"expected shape \[8, 2\], got \[7, 2\]"):
        predictor.predict(ACTIONS[:7])
    with pytest.raises(InputError, match="NaN or infinity"):
        predictor.predict(ACTIONS * np.inf)
    for wrong in (ACTIONS, CANDIDATES[:0]):
        with pytest.raises(InputError, match=r"expected shape \[N, 8, 2\] with N of 1 or more"):
            next(predictor.rollouts(wrong))


def test_actions_unlike_those_of_training_are_not_called_certain(predictor: Predictor) -> None:
    """The tiny checkpoint has mean 0 and deviation 1."""

    def uncertainty(scale: float, from_step: int = 0) -> np.ndarray:
        actions = np.clip(ACTIONS, -2.0, 2.0)
        actions[from_step, 1] = -scale
        predictor.seed(1)
        return np.concatenate([chunk.uncertainty for chunk in predictor.predict_chunks(actions)])

    predictor.observe(IMAGES[0], 0, NOW)
    usual, twice, thousand = (uncertainty(scale) for scale in (FAR, 2 * FAR, 1000.0))
    assert (twice >= 1.0).all()
    assert np.allclose(thousand, np.log2(1000.0 / FAR), rtol=1e-3)
    assert (usual < 2.0).all()
    late = uncertainty(1000.0, from_step=5)
    assert (late[:5] < 2.0).all(), "frames before the odd action are as certain as any"
    assert (late[5:] > 6.0).all()
    for huge in (1e20, 3e38):
        assert np.isfinite(uncertainty(huge)).all()
        assert (uncertainty(huge) == MOST_UNCERTAIN).all()


def test_an_observed_action_unlike_training_makes_what_follows_uncertain(predictor: Predictor) -> None:
    predictor.observe(IMAGES[0], 0, [0.0, 80.0])
    (part,) = predictor.rollouts(ACTIONS[None], frames=None)
    assert (part.uncertainty >= 3.0).all()
    predictor.observe(IMAGES[1], STEP, NOW)
    (part,) = predictor.rollouts(ACTIONS[None], frames=None)
    assert (part.uncertainty < 3.0).all()


@pytest.mark.parametrize("value", [1e39, float("nan"), float("-inf")])
def test_actions_that_no_float32_holds_are_refused(predictor: Predictor, value: float) -> None:
    predictor.observe(IMAGES[0], 0, NOW)
    with pytest.raises(InputError, match="infinity in float32"):
        predictor.predict(np.full((8, 2), value))
