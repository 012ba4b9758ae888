# SPDX-License-Identifier: Apache-2.0
"""``dd_ros calibrate``: intervals of the frame error for a checkpoint, from recorded episodes that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from dd_ros.data.bags import find_bags
from dd_ros.error_intervals import ErrorIntervals
from dd_ros.errors import InputError
from dd_ros.evaluation.calibration import Errors, calibrated, described
from dd_ros.evaluation.evaluate import check_actions, observe, read_all
from dd_ros.evaluation.metrics import rms
from dd_ros.evaluation.windows import RecordedEpisode, Window, clip_of, make_windows
from dd_ros.predictor import Predictor
from dd_ros.progress import progress
from dd_ros.resources import CARD, CONFIG, find_checkpoint
from dd_ros.yaml_files import load_yaml

ENTRY, HEADING = "error_intervals", "## Error intervals"


def calibrate(
    checkpoint: str | Path,
    bags: Sequence[str | Path],
    *,
    image_topic: str | None = None,
    action_topics: Sequence[str] = (),
    stride: int = 8,
    max_windows: int | None = None,
    device: str = "auto",
    seed: int = 0,
) -> ErrorIntervals:
    """Fit error intervals to ``bags`` and write them into the checkpoint's settings and card.

    Args:
        checkpoint: folder or shipped name.
        bags: bags that the checkpoint was not trained on, or folders of such bags.
        image_topic, action_topics, stride, max_windows, device, seed: as of ``evaluate``.

    Raises:
        InputError: unusable checkpoint, bags or topics, too few windows, or a checkpoint that cannot be written.
    """
    folder = find_checkpoint(checkpoint)
    predictor = Predictor.load(folder, device, seed)
    spec = predictor.config.streams.with_topics(image_topic, action_topics)
    episodes = read_all(find_bags([Path(bag) for bag in bags]), spec, Console(stderr=True))
    check_actions(episodes, predictor, spec)
    windows = make_windows(
        episodes, context=predictor.config.context_frames, horizon=predictor.horizon, stride=stride, limit=max_windows
    )  # fmt: skip
    intervals = calibrated(errors_of(predictor, episodes, windows))
    write_intervals(folder, intervals)
    print(f"{folder}: {described(intervals)}")
    return intervals


def errors_of(predictor: Predictor, episodes: Sequence[RecordedEpisode], windows: Sequence[Window]) -> Errors:
    """Errors of what the recorded actions lead to, in every window."""
    uncertainty, error = [], []
    predictor.warm_up()
    for window in progress(windows, "calibrating"):
        context, horizon = predictor.config.context_frames, predictor.horizon
        clip = clip_of(episodes[window.episode], window, context=context, horizon=horizon)
        chunks = list(predictor.predict_chunks(clip.actions[observe(predictor, clip) :]))
        error.append(rms(clip.frames[-horizon:], np.concatenate([chunk.frames for chunk in chunks])))
        uncertainty.append(np.concatenate([chunk.uncertainty for chunk in chunks]).astype(np.float64))
    return Errors(np.stack(uncertainty), np.stack(error), np.array([window.episode for window in windows]))


def write_intervals(folder: Path, intervals: ErrorIntervals) -> None:
    """Put ``intervals`` into ``config.yaml``, which else stays as it is in whatever format, and into the card, if there is one.

    Raises:
        InputError: a file cannot be written; each is at any time the old one or the whole new one.
    """
    entries: Any = load_yaml(folder / CONFIG)
    entries[ENTRY] = intervals.model_dump(mode="json")
    _replace(folder / CONFIG, yaml.safe_dump(entries, sort_keys=False))
    if (folder / CARD).is_file():
        _replace(folder / CARD, with_section((folder / CARD).read_text(), intervals))


def with_section(card: str, intervals: ErrorIntervals) -> str:
    """The card with a section on ``intervals`` at its end, or where it has one."""
    section = f"{HEADING}\n{described(intervals)}\n"
    start = card.find(HEADING)
    if start < 0:
        return f"{card.rstrip()}\n\n{section}"
    end = card.find("\n## ", start + len(HEADING))
    return card[:start] + section + ("" if end < 0 else card[end:])


def _replace(path: Path, text: str) -> None:
    staging = path.with_name(f".{path.name}.new")
    try:
        staging.write_text(text)
        staging.replace(path)
    except OSError as error:
        with suppress(OSError):
            staging.unlink()
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); copy the checkpoint to a folder of yours"
        ) from error
