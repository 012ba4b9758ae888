# SPDX-License-Identifier: Apache-2.0
"""Figures of a model and of trivial guesses, window by window, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import CheckpointConfig
from dd_ros.data.steps import Episode
from dd_ros.evaluation.baselines import BASELINES
from dd_ros.evaluation.calibration import Errors, uncertainty_figures
from dd_ros.evaluation.display import display_figures
from dd_ros.evaluation.features import feature_distance
from dd_ros.evaluation.metrics import (
    best_fraction,
    bootstrap_interval,
    jsonable,
    mean_known,
    psnr,
    psnr_moving,
    rms,
    ssim,
)
from dd_ros.evaluation.windows import RecordedEpisode, Window, clip_of, shuffled_actions
from dd_ros.predictor import Predictor
from dd_ros.progress import progress

METRICS = ("psnr", "ssim", "psnr_moving", "features")
ACTIONS = ("true", "zero", "shuffled", "hold")
WRONG_ACTIONS = ("zero", "shuffled")  # what true actions must beat; "hold" is reported only
EXAMPLES = 4  # windows kept for the filmstrip

Values = NDArray[np.float64]
Images = NDArray[np.uint8]


@dataclass
class Scores:
    """Figures per window, one row each, and a few windows to look at.

    Attributes:
        predictors: name -> metric -> rows [K].
        actions: name -> rows [K] of PSNR.
        uncertainty: rows [K], what the model expects of its frames for true actions.
        error: rows [K], their RMS error in grey levels.
        readouts: rows [K, D], what is read off these frames, less what was recorded.
        episodes: index of each window's episode.
        examples: (observed [H, W, 3], true [K, H, W, 3], predicted [K, H, W, 3]) of some windows.
    """

    predictors: dict[str, dict[str, list[Values]]] = field(default_factory=dict)
    actions: dict[str, list[Values]] = field(default_factory=dict)
    uncertainty: list[Values] = field(default_factory=list)
    readouts: list[Values] = field(default_factory=list)
    error: list[Values] = field(default_factory=list)
    episodes: list[int] = field(default_factory=list)
    examples: list[tuple[Images, Images, Images]] = field(default_factory=list)

    def add(self, true: Images, last: Images, predictions: dict[str, Images]) -> None:
        """Add the metrics of all predictors on one window."""
        distances = feature_distance(true, np.stack(list(predictions.values())))
        self.error.append(rms(true, predictions["model"]))
        for (name, predicted), distance in zip(predictions.items(), distances, strict=True):
            rows = self.predictors.setdefault(name, {metric: [] for metric in METRICS})
            rows["psnr"].append(psnr(true, predicted))
            rows["ssim"].append(ssim(true, predicted))
            rows["psnr_moving"].append(psnr_moving(true, predicted, last))
            rows["features"].append(distance)

    def errors(self) -> Errors:
        """Errors of the model beside its uncertainty."""
        return Errors(np.stack(self.uncertainty), np.stack(self.error), np.array(self.episodes))


def score(
    predictor: Predictor, episodes: Sequence[RecordedEpisode], windows: Sequence[Window], *, seed: int,
    numbers: Sequence[NDArray[np.float32]] | None = None,
) -> Scores:  # fmt: skip
    """Run the model and the baselines on every window."""
    scores, context, horizon = Scores(), predictor.config.context_frames, predictor.horizon
    rng = np.random.default_rng(seed)
    example_windows = set(np.linspace(0, len(windows) - 1, EXAMPLES + 2).round().astype(int)[1:-1])
    predictor.warm_up()
    for number, window in enumerate(progress(windows, "evaluating")):
        clip = clip_of(episodes[window.episode], window, context=context, horizon=horizon)
        before, last, true = clip.frames[-horizon - 2], clip.frames[-horizon - 1], clip.frames[-horizon:]
        foreign = shuffled_actions(episodes, window, horizon=horizon, rng=rng)
        predictions, expected, readouts = predict(predictor, clip, foreign)
        for name, images in predictions.items():
            scores.actions.setdefault(name, []).append(psnr(true, images))
        guesses = {name: baseline(before, last, horizon) for name, baseline in BASELINES.items()}
        scores.add(true, last, {"model": predictions["true"], **guesses})
        scores.uncertainty.append(expected)
        if numbers is not None and readouts is not None:
            recorded = numbers[window.episode][window.last + 1 : window.last + 1 + horizon]
            scores.readouts.append(readouts.astype(np.float64) - recorded)
        scores.episodes.append(window.episode)
        if number in example_windows:
            scores.examples.append((last, true, predictions["true"]))
    return scores


def predict(
    predictor: Predictor, clip: Episode, foreign: NDArray[np.float32]
) -> tuple[dict[str, Images], Values, NDArray[np.float32] | None]:
    """Predictions [K, H, W, 3] of the end of ``clip`` for each of ACTIONS, all in one call.

    And the uncertainty [K] of that for the true ones, and the read-outs [K, D], if there are any.
    """
    seen = observe(predictor, clip)
    true = clip.actions[seen:]
    mean = np.asarray(predictor.config.action.mean, np.float32)
    held = clip.actions[seen - 1]
    candidates = np.stack(
        [true, np.broadcast_to(mean, true.shape), foreign, np.broadcast_to(held, true.shape)]
    )
    chunks = list(predictor.predict_chunks(candidates))
    images = np.concatenate([chunk.frames for chunk in chunks], axis=1)
    uncertainty = np.concatenate([chunk.uncertainty[0] for chunk in chunks])
    read = [chunk.readouts[0] for chunk in chunks if chunk.readouts is not None]
    return dict(zip(ACTIONS, images, strict=True)), uncertainty, np.concatenate(read) if read else None


def observe(predictor: Predictor, clip: Episode) -> int:
    """Show the predictor the frames of ``clip`` before its last horizon; how many there are before it."""
    predictor.reset()
    seen = len(clip) - predictor.horizon
    for index in range(max(0, seen - predictor.config.context_frames), seen):
        # Frames of an episode are model steps already: stamps on the exact grid keep the predictor's
        # clock from dropping one whose camera stamp jitters.
        predictor.observe(clip.frames[index], index * predictor.step_ns, clip.actions[index])
    return seen


def figures(scores: Scores, names: Sequence[str], *, config: CheckpointConfig, seed: int) -> dict[str, Any]:
    """Means over windows, intervals and action following, as the JSON has them; ``names`` of all episodes."""
    groups = np.array(scores.episodes)
    rows = {name: {m: np.stack(v) for m, v in by.items()} for name, by in scores.predictors.items()}
    actions = {name: np.stack(values) for name, values in scores.actions.items()}
    skill = rows["model"]["psnr"] - rows["copy_last"]["psnr"]
    several = len(np.unique(groups)) > 1
    interval = bootstrap_interval(skill, groups if several else np.arange(len(groups)), seed=seed)
    means = {name: values.mean(axis=1) for name, values in actions.items()}
    following: dict[str, Any] = {name: jsonable(values.mean(axis=0)) for name, values in actions.items()}
    following["true_best_fraction"] = best_fraction(
        means["true"], np.stack([means[name] for name in WRONG_ACTIONS])
    )
    following["true_above_fraction"] = {
        name: best_fraction(means["true"], means[name][None]) for name in ACTIONS if name != "true"
    }
    return {
        "predictors": {n: {m: jsonable(mean_known(v)) for m, v in by.items()} for n, by in rows.items()},
        "mean": {
            n: {m: jsonable(mean_known(v.reshape(-1, 1)))[0] for m, v in by.items()} for n, by in rows.items()
        },
        "skill_psnr": jsonable(skill.mean(axis=0)),
        "skill_psnr_ci95": jsonable(interval),
        "bootstrap_over": "episodes" if several else "windows",
        "actions": following,
        "uncertainty": uncertainty_figures(scores.errors(), config.error_intervals),
        "display": display_figures(
            rows["model"]["psnr"], rows["copy_last"]["psnr"], interval, config.streams.rate_hz
        ),
        "zero_actions": "the mean command of the training data, zero after normalisation",
        "per_episode": [
            {
                "name": names[index],
                "windows": int((groups == index).sum()),
                **{name: jsonable(rows[name]["psnr"][groups == index].mean()) for name in rows},
            }
            for index in np.unique(groups)
        ],
    }


def readout_figures(scores: Scores, config: CheckpointConfig) -> dict[str, Any]:
    """RMS error of each number per step [K][D], with its name and its deviation over training."""
    assert config.readouts is not None
    rows = np.sqrt(np.square(np.stack(scores.readouts)).mean(axis=0))
    spec = config.readouts
    return {"names": list(spec.names), "deviation": list(spec.std), "rmse": jsonable(rows)}
