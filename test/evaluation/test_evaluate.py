# SPDX-License-Identifier: Apache-2.0
"""``evaluate`` on real bags with a real, untrained checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import IMAGE, JOINTS, START, STEP, image, joints, write_bag
from tiny import tiny_config

from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.config import ActionSpec
from dd_ros.data.bags import read_episodes
from dd_ros.errors import InputError
from dd_ros.evaluation.baselines import copy_last, optical_flow
from dd_ros.evaluation.evaluate import evaluate
from dd_ros.evaluation.metrics import psnr
from dd_ros.evaluation.plots import mosaic
from dd_ros.evaluation.scores import ACTIONS, Scores, figures, predict
from dd_ros.evaluation.windows import Window, clip_of, make_windows, shuffled_actions
from dd_ros.predictor import Predictor
from dd_ros.resources import read_config

HORIZON = 8
STRIDE = 5  # frames between windows
PREDICTORS = {"model", "copy_last", "optical_flow"}


def walk(steps: int, seed: int) -> Iterator[tuple[str, str, int, Any]]:
    """Messages of a square that walks over a fixed texture; its velocities are the actions."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 256, (32, 48, 3), np.uint8)
    velocity = rng.uniform(-2, 2, (steps, 2)).repeat(4, axis=0)[:steps]
    place = np.clip(np.cumsum(velocity, axis=0) + np.array([12, 20]), 0, (24, 40)).astype(int)
    for index, (row, column) in enumerate(place):
        stamp = START + index * STEP
        frame = background.copy()
        frame[row : row + 8, column : column + 8] = (250, 30, 30)
        yield "/action", JOINTS, stamp, joints(stamp, velocity[index])
        yield "/camera/image_raw", IMAGE, stamp, image(stamp, frame)


@pytest.fixture(scope="module")
def tiny_bags(tmp_path_factory) -> Path:
    """Folder of two bags of 24 and 20 steps that fit the tiny checkpoint."""
    folder = tmp_path_factory.mktemp("bags")
    for seed, steps in enumerate((24, 20)):
        write_bag(folder / f"walk_{seed}", walk(steps, seed))
    return folder


@pytest.fixture(scope="module")
def result(tiny_checkpoint, tiny_bags, tmp_path_factory):
    """What an evaluation returns, what it wrote, and its images."""
    folder = tmp_path_factory.mktemp("evaluation")
    returned = evaluate(
        tiny_checkpoint,
        [tiny_bags],
        folder / "new" / "e.json",
        plots=folder / "plots",
        stride=STRIDE,
        device="cpu",
        seed=4,
    )
    return returned, json.loads((folder / "new" / "e.json").read_text()), folder / "plots"


def test_json_has_the_promised_names_and_shapes(result):
    returned, written, _ = result
    assert returned == written
    assert written["fps"] == 10.0
    assert written["steps"] == list(range(1, HORIZON + 1))
    assert written["episodes"] == 2
    assert written["windows"] == len(range(1, 16, STRIDE)) + len(range(1, 12, STRIDE))
    assert set(written["predictors"]) == PREDICTORS
    for metrics in written["predictors"].values():
        assert set(metrics) == {"psnr", "ssim", "psnr_moving", "features"}
        assert all(len(values) == HORIZON for values in metrics.values())
    assert len(written["skill_psnr"]) == HORIZON
    assert all(low <= high for low, high in written["skill_psnr_ci95"])
    assert len(written["skill_psnr_ci95"]) == HORIZON
    assert {"true", "zero", "shuffled", "true_best_fraction"} <= set(written["actions"])
    assert all(len(written["actions"][name]) == HORIZON for name in ("true", "zero", "shuffled"))
    assert 0.0 <= written["actions"]["true_best_fraction"] <= 1.0
    assert written["device"] == "cpu"
    assert written["seed"] == 4


def test_what_a_delayed_camera_shows_is_copy_last_at_the_delay(result):
    shown, predictors = result[1]["display"], result[1]["predictors"]
    assert shown["delay_ms"] == [100.0, 200.0, 300.0, 400.0, 500.0]
    assert shown["stale"] == predictors["copy_last"]["psnr"][:5]
    assert shown["predicted"] == predictors["model"]["psnr"][:5]
    assert shown["gain_ci95"] == result[1]["skill_psnr_ci95"][:5]
    assert all(0.0 <= share <= 1.0 for share in shown["nearer"])


def test_the_uncertainty_is_judged_by_intervals_and_by_what_is_left_without_the_uncertain(result):
    found = result[1]["uncertainty"]
    assert found["intervals"]["checkpoint"] is None  # not calibrated
    assert found["intervals"]["other_episodes"] is None  # one of the two alone has too few windows
    assert found["calibrated"] is None
    assert found["risk_coverage"]["dropped"][:6] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert all(len(values) == 10 for values in found["risk_coverage"].values())


def test_skill_is_the_model_minus_copy_last(result):
    written = result[1]
    model, copy = (np.array(written["predictors"][name]["psnr"]) for name in ("model", "copy_last"))
    np.testing.assert_allclose(written["skill_psnr"], model - copy, atol=2e-4)
    np.testing.assert_allclose(written["actions"]["true"], model, atol=2e-4)
    low, high = np.array(written["skill_psnr_ci95"]).T
    assert ((low - 1e-3 <= written["skill_psnr"]) & (written["skill_psnr"] <= high + 1e-3)).all()


def test_baselines_of_the_json_are_those_of_a_plain_loop(result, tiny_checkpoint, tiny_bags):
    spec = read_config(tiny_checkpoint).streams
    rows = {"copy_last": [], "optical_flow": []}
    for bag in sorted(tiny_bags.iterdir()):
        (episode,) = read_episodes(bag, spec)
        for last in range(1, len(episode) - HORIZON, STRIDE):
            true = episode.frames[last + 1 : last + 1 + HORIZON]
            for name, baseline in (("copy_last", copy_last), ("optical_flow", optical_flow)):
                guess = baseline(episode.frames[last - 1], episode.frames[last], HORIZON)
                rows[name].append([float(psnr(a, b)) for a, b in zip(true, guess, strict=True)])
    for name, values in rows.items():
        np.testing.assert_allclose(result[1]["predictors"][name]["psnr"], np.mean(values, axis=0), atol=1e-4)


def test_images_are_drawn(result):
    plots: Path = result[2]
    assert {path.name for path in plots.iterdir()} == {
        "skill.png", "psnr.png", "filmstrip.png", "uncertainty.png",
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots.iterdir())


def test_a_mosaic_has_each_image_at_its_place():
    tiles = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 64, 3), np.uint8)
    image, tops, lefts = mosaic(tiles)
    assert image.shape == (2 * 4 + 2, 3 * 64 + 2 * 2, 3)
    assert np.array_equal(image[6:10, 66:130], tiles[1, 1])
    assert (image[4:6] == 255).all()
    assert (tops.tolist(), lefts.tolist()) == ([2.0, 8.0], [32.0, 98.0, 164.0])


def test_same_seed_same_figures(result, tiny_checkpoint, tiny_bags, tmp_path):
    again = evaluate(tiny_checkpoint, [tiny_bags], tmp_path / "e.json", stride=STRIDE, device="cpu", seed=4)
    assert again == result[1]


def test_another_schedule(result, tiny_checkpoint, tiny_bags, tmp_path):
    given = {"stride": STRIDE, "device": "cpu", "seed": 4}
    other = evaluate(tiny_checkpoint, [tiny_bags], tmp_path / "other.json", schedule="4-3-2-2", **given)
    assert other["passes"] > result[1]["passes"]
    assert other["predictors"]["model"] != result[1]["predictors"]["model"]
    assert other["predictors"]["copy_last"] == result[1]["predictors"]["copy_last"]


def test_another_horizon(tiny_checkpoint, tiny_bags, tmp_path):
    given = {"max_windows": 3, "device": "cpu", "schedule": "one_step"}
    far = evaluate(
        tiny_checkpoint, [tiny_bags], tmp_path / "far.json", plots=tmp_path / "plots", horizon=12, **given
    )
    assert far["steps"] == list(range(1, 13))
    assert far["passes"] == 6
    assert all(len(values["psnr"]) == 12 for values in far["predictors"].values())
    with pytest.raises(InputError, match="5 frames do not divide"):
        evaluate(tiny_checkpoint, [tiny_bags], tmp_path / "far.json", horizon=5)


def test_windows_show_the_model_context_and_recorded_actions(tiny_checkpoint, tiny_bags):
    """One call of predict gives what observing and predicting by hand does, whatever came before."""
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    episode, other = (read_episodes(bag, predictor.config.streams)[0] for bag in sorted(tiny_bags.iterdir()))
    window = Window(0, 6)
    foreign = shuffled_actions([episode, other], window, horizon=HORIZON, rng=np.random.default_rng(0))
    jitter = np.random.default_rng(1).integers(-40_000_000, 40_000_000, len(episode))
    shaken = replace(episode, stamps=episode.stamps + jitter)
    predict(predictor, clip_of(shaken, Window(0, 9), context=2, horizon=HORIZON), foreign)
    predictor.seed(0)
    got, expected, _ = predict(predictor, clip_of(shaken, window, context=2, horizon=HORIZON), foreign)
    assert tuple(got) == ACTIONS

    predictor.reset()
    predictor.seed(0)
    for index in (5, 6):
        predictor.observe(episode.frames[index], index * predictor.step_ns, episode.actions[index])
    candidates = (
        episode.actions[7:15],
        np.zeros((8, 2)),
        foreign,
        np.repeat(episode.actions[6:7], 8, axis=0),
    )
    chunks = list(predictor.predict_chunks(np.stack(candidates)))
    for number, name in enumerate(ACTIONS):
        np.testing.assert_array_equal(got[name], np.concatenate([chunk.frames[number] for chunk in chunks]))
    np.testing.assert_array_equal(expected, np.concatenate([chunk.uncertainty[0] for chunk in chunks]))
    assert (got["true"] != got["shuffled"]).any()


def test_windows_where_nothing_moves_are_null():
    scores, still = Scores(), np.full((HORIZON, 16, 16, 3), 9, np.uint8)
    for _ in range(2):
        scores.add(still, still[0], dict.fromkeys(("model", "copy_last", "optical_flow"), still))
        for name in ACTIONS:
            scores.actions.setdefault(name, []).append(np.ones(HORIZON))
        scores.uncertainty.append(np.ones(HORIZON))
        scores.episodes.append(0)
    written = figures(scores, ["still"], config=tiny_config(), seed=0)
    assert written["predictors"]["model"]["psnr_moving"] == [None] * HORIZON
    assert written["mean"]["model"]["psnr_moving"] is None
    assert written["actions"]["true_best_fraction"] == 0.0  # a tie is not best
    assert written["bootstrap_over"] == "windows"
    assert written["uncertainty"]["rank_correlation"] == [None] * HORIZON  # the same in all windows


def test_max_windows(tiny_checkpoint, tiny_bags, tmp_path):
    only = evaluate(tiny_checkpoint, [tiny_bags], tmp_path / "e.json", device="cpu", stride=1, max_windows=1)
    assert only["windows"] == only["episodes"] == 1


def test_actions_of_another_dimension_are_refused(tiny_checkpoint, tiny_bags, tmp_path):
    three = ActionSpec(dim=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    config = read_config(tiny_checkpoint).model_copy(update={"action": three})
    save_checkpoint(tmp_path / "three", config, Model(config), card="# three\n")
    with pytest.raises(InputError, match=r"/action.*: expected 3 action values.*got 2"):
        evaluate(tmp_path / "three", [tiny_bags], tmp_path / "e.json", device="cpu")


def test_unwritable_results_are_refused(tiny_checkpoint, tiny_bags, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/e.json: cannot be written"):
        evaluate(tiny_checkpoint, [tiny_bags], tmp_path / "file" / "e.json", device="cpu", max_windows=1)


def test_too_short_bags_are_refused(tiny_checkpoint, tiny_bags):
    episodes = [
        read_episodes(bag, read_config(tiny_checkpoint).streams)[0] for bag in sorted(tiny_bags.iterdir())
    ]
    with pytest.raises(InputError, match="no episode is long enough"):
        make_windows(episodes, context=2, horizon=30, stride=8)
