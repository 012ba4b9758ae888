# SPDX-License-Identifier: Apache-2.0
"""``dd_ros evaluate``: the model beside trivial guesses, and true actions beside wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dd_ros.data.bags import find_bags
from dd_ros.diffusion.schedule import preset
from dd_ros.evaluation.baselines import BASELINES
from dd_ros.evaluation.calibration import in_a_line
from dd_ros.evaluation.display import display_table
from dd_ros.evaluation.recorded import check_actions, read_with_numbers
from dd_ros.evaluation.scores import figures, readout_figures, score
from dd_ros.evaluation.windows import RecordedEpisode, make_windows
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor


def evaluate(
    checkpoint: str | Path,
    bags: Sequence[str | Path],
    json_path: str | Path | None,
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
        json_path: where the figures go; None: they are only returned.
        plots: folder for images; None makes none.
        image_topic, action_topics: instead of those the checkpoint names; actions as
            ``streams.parse_actions`` takes them.
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
    json_path: str | Path | None,
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
