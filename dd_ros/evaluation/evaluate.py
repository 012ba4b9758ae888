# SPDX-License-Identifier: Apache-2.0
"""``dd_ros evaluate``: the model beside trivial guesses, and true actions beside wrong ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dd_ros.config import CheckpointConfig, StreamSpec
from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.numbers import beside
from dd_ros.data.steps import Episode
from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.evaluation.baselines import BASELINES
from dd_ros.evaluation.calibration import Errors, in_a_line, uncertainty_figures
from dd_ros.evaluation.display import display_figures, display_table
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
from dd_ros.evaluation.windows import RecordedEpisode, Window, clip_of, make_windows, shuffled_actions
from dd_ros.predictor import Predictor
from dd_ros.progress import progress
from dd_ros.report import Report

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


def evaluate(
    checkpoint: str | Path,
    bags: Sequence[str | Path],
    json_path: str | Path,
    *,
    plots: str | Path | None = None,
    image_topic: str | None = None,
    action_topics: Sequence[str] = (),
    stride: int = 8,
    max_windows: int | None = None,
    device: str = "auto",
    seed: int = 0,
    schedule: str | None = None,
    horizon: int | None = None,
) -> dict[str, Any]:
    """Judge a checkpoint on recorded bags; writes and returns the figures.

    Every window shows the model its context frames, then asks for its whole horizon four times from
    the same context and noise, with these actions:

    - ``true``: the commands recorded at the target frames;
    - ``zero``: zero where the network sees them, that is the mean command of the training data.
      Where commands are velocities this is about standing still. Zeros in raw units would be a pose
      far from any seen one where commands are joint positions: too easy to beat;
    - ``shuffled``: a stretch of another episode;
    - ``hold``: the last observed command, held. The hardest rival where commands are positions, and
      the same as ``true`` while the robot stands still; reported, but not part of
      ``true_best_fraction``.

    Args:
        checkpoint: folder or shipped name.
        bags: bags, or folders of bags.
        json_path: where the figures go.
        plots: folder for images; None makes none.
        image_topic, action_topics: instead of those the checkpoint names; actions as
            ``config.parse_actions`` takes them.
        stride: frames between the starts of two windows.
        max_windows: judge at most so many, spread evenly; None judges all.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of the sampling noise, the shuffled actions and the bootstrap.
        schedule: denoising schedule instead of the checkpoint's, as ``schedule.preset`` names them.
        horizon: frames to predict, in whole chunks; None: the checkpoint's.

    Raises:
        InputError: unusable checkpoint, bags, topics or settings; the message says what to do.
    """
    predictor = Predictor.load(checkpoint, device)
    if horizon:
        predictor = predictor.with_horizon(horizon)
    if schedule:
        predictor = predictor.with_schedule(preset(schedule, predictor.chunk_frames, predictor.horizon))
    predictor.seed(seed)
    spec = predictor.config.streams.with_topics(image_topic, action_topics)
    found = find_bags([Path(bag) for bag in bags])
    episodes, numbers = read_with_numbers(found, spec, predictor.config, Console(stderr=True))
    check_actions(episodes, predictor, spec)
    return evaluate_episodes(
        predictor, episodes, json_path, plots=plots, stride=stride, max_windows=max_windows, seed=seed, numbers=numbers
    )  # fmt: skip


def evaluate_episodes(
    predictor: Predictor,
    episodes: Sequence[RecordedEpisode],
    json_path: str | Path,
    *,
    plots: str | Path | None = None,
    stride: int = 8,
    max_windows: int | None = None,
    seed: int = 0,
    numbers: Sequence[NDArray[np.float32]] | None = None,
) -> dict[str, Any]:
    """As ``evaluate``, of a predictor on episodes whose actions are those of its checkpoint.

    ``numbers`` [T, D] of each episode are what should be read off its frames.
    """
    context, horizon = predictor.config.context_frames, predictor.horizon
    windows = make_windows(episodes, context=context, horizon=horizon, stride=stride, limit=max_windows)
    scores = score(predictor, episodes, windows, seed=seed, numbers=numbers)
    result = {
        "checkpoint": predictor.config.name,
        "fps": predictor.config.streams.rate_hz,
        "steps": list(range(1, predictor.horizon + 1)),
        "windows": len(windows),
        "episodes": len(set(scores.episodes)),
        "passes": predictor.schedule.passes(predictor.horizon),
        "stride": stride,
        **figures(scores, [episode.name for episode in episodes], config=predictor.config, seed=seed),
        **({"readouts": readout_figures(scores, predictor.config)} if scores.readouts else {}),
        "device": str(predictor.device),
        "dtype": str(predictor.dtype).removeprefix("torch."),
        "seed": seed,
    }
    write_json(json_path, result)
    if plots is not None:
        from dd_ros.evaluation.plots import draw  # matplotlib is slow to import

        draw(result, scores.examples, Path(plots))
    summarise(result)
    return result


def read_all(bags: Sequence[Path], spec: StreamSpec, console: Console) -> list[Episode]:
    """Episodes of all ``bags``; what cannot be used of them is said on the console."""
    episodes: list[Episode] = []
    problems = Report()
    for bag in progress(bags, "reading bags"):
        episodes += read_episodes(bag, spec, problems)
    for problem in problems:
        console.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return episodes


def read_with_numbers(
    bags: Sequence[Path], spec: StreamSpec, config: CheckpointConfig, console: Console
) -> tuple[list[Episode], list[NDArray[np.float32]] | None]:
    """As ``read_all``, and the numbers [T, D] of each episode that the checkpoint reads off its frames.

    None where it reads none, or where the bags lack them, which is said.
    """
    if config.readouts is None:
        return read_all(bags, spec, console), None
    wanted = beside(spec, config.readouts.sources, action_dim=config.action.dim)
    try:
        episodes = read_all(bags, wanted.streams, console)
    except InputError as error:
        console.print(
            f"read-outs are not judged: {error}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return read_all(bags, spec, console), None
    numbers = [episode.actions[:, list(wanted.numbers)] for episode in episodes]
    return [replace(e, actions=e.actions[:, list(wanted.actions)]) for e in episodes], numbers


def check_actions(episodes: Sequence[Episode], predictor: Predictor, spec: StreamSpec) -> None:
    """InputError unless the recorded commands have the checkpoint's dimension."""
    for episode in episodes:
        got = episode.actions.shape[1]
        if got != predictor.action_dim:
            raise InputError(
                f"{episode.name}: {', '.join(map(str, spec.actions))}: expected {predictor.action_dim} action values as in "
                f"checkpoint {predictor.config.name}, got {got}; choose another --action-topic or checkpoint"
            )


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


def write_json(path: str | Path, result: dict[str, Any]) -> None:
    """Write ``result``, making the folder; InputError where that is impossible."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); choose another path") from error


def summarise(result: dict[str, Any]) -> None:
    """Print a table and one line."""
    steps = sorted({1, *(max(1, round(len(result["steps"]) * part)) for part in (0.25, 0.5, 1.0))})
    heads = ("predictor", "PSNR", *(f"step {step}" for step in steps), "SSIM", "moving", "features")
    table = Table(*heads, box=None, title="means over windows; PSNR in dB, features: distance")
    for name, by_metric in result["predictors"].items():
        mean = result["mean"][name]
        cells = (mean["psnr"], *(by_metric["psnr"][step - 1] for step in steps))
        table.add_row(
            name,
            *(decimal(cell, 2) for cell in cells),
            decimal(mean["ssim"], 4),
            decimal(mean["psnr_moving"], 2),
            decimal(mean["features"], 4),
        )
    Console().print(table)
    Console().print(display_table(result["display"]))
    print(in_a_line(result["uncertainty"]))
    psnr_mean = {name: metrics["psnr"] for name, metrics in result["mean"].items()}
    gains = (f"{psnr_mean['model'] - psnr_mean[name]:+.2f} on {name.replace('_', ' ')}" for name in BASELINES)
    print(
        f"{result['checkpoint']}: {psnr_mean['model']:.2f} dB over {len(result['steps'])} steps, "
        f"{', '.join(gains)}; true actions best in {result['actions']['true_best_fraction']:.1%} "
        f"of {result['windows']} windows ({result['episodes']} episodes)"
    )


def decimal(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
