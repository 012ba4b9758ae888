# SPDX-License-Identifier: Apache-2.0
"""``dd_ros calibrate``: how far a checkpoint is to be believed, from recorded episodes that it was not trained on.

A gate, which shows the share of a predicted change that comes true, and then intervals of the error of what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.console import Console

from dd_ros.data.bags import find_bags
from dd_ros.error_intervals import ErrorIntervals
from dd_ros.errors import InputError
from dd_ros.evaluation import gating
from dd_ros.evaluation.calibration import FEWEST_WINDOWS, Errors, calibrated, described, too_few
from dd_ros.evaluation.gating import fitted_gate
from dd_ros.evaluation.metrics import rms
from dd_ros.evaluation.recorded import check_actions, read_all
from dd_ros.evaluation.scores import observe
from dd_ros.evaluation.windows import RecordedEpisode, Window, clip_of, make_windows
from dd_ros.gate import Gate
from dd_ros.predictor import Predictor
from dd_ros.progress import progress
from dd_ros.resources import CARD, CONFIG, find_checkpoint
from dd_ros.yaml_files import load_yaml

HEADING, GATE_HEADING = "## Error intervals", "## Gate"


class Calibration(NamedTuple):
    """What a checkpoint's settings get.

    Attributes:
        gate: None where the windows were too few to tell.
        error_intervals: of gated frames; None where there were too few.
    """

    gate: Gate | None
    error_intervals: ErrorIntervals | None

    def entries(self) -> dict[str, Any]:
        """As ``config.yaml`` and JSON have it."""
        return {
            name: None if value is None else value.model_dump(mode="json")
            for name, value in self._asdict().items()
        }


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
) -> Calibration:
    """Fit a gate and error intervals to ``bags`` and write them into the checkpoint's settings and card.

    Args:
        checkpoint: folder or shipped name.
        bags: bags that the checkpoint was not trained on, or folders of such bags.
        image_topic, action_topics, stride, max_windows, device, seed: as of ``evaluate``.

    Raises:
        InputError: unusable checkpoint, bags or topics, too few windows, or a checkpoint that cannot be written.
    """
    folder = find_checkpoint(checkpoint)
    predictor = Predictor.load(folder, device, seed).with_gate(None)
    predictor.seed(seed)
    spec = predictor.config.streams.with_topics(image_topic, action_topics)
    episodes = read_all(find_bags([Path(bag) for bag in bags]), spec, Console(stderr=True))
    check_actions(episodes, predictor, spec)
    windows = make_windows(
        episodes, context=predictor.config.context_frames, horizon=predictor.horizon, stride=stride, limit=max_windows
    )  # fmt: skip
    if len(windows) < FEWEST_WINDOWS:
        raise too_few(len(windows))
    gate = fitted_gate(predictor, episodes, windows)
    intervals = calibrated(errors_of(predictor.with_gate(gate), episodes, windows))
    found = Calibration(gate, intervals)
    write(folder, found)
    print("\n".join(f"{folder}: {heading.removeprefix('## ')}: {text}" for heading, text in sections(found)))
    return found


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


def write(folder: Path, found: Calibration) -> None:
    """Put it into ``config.yaml``, which else stays as it is in whatever format, and into the card, if there is one.

    Raises:
        InputError: a file cannot be written; each is at any time the old one or the whole new one.
    """
    entries: Any = load_yaml(folder / CONFIG)
    entries |= found.entries()
    _replace(folder / CONFIG, yaml.safe_dump(entries, sort_keys=False))
    if (folder / CARD).is_file():
        _replace(folder / CARD, with_sections((folder / CARD).read_text(), found))


def sections(found: Calibration) -> Iterator[tuple[str, str]]:
    """Headings and texts for the card."""
    if found.gate is not None:
        yield GATE_HEADING, gating.described(found.gate)
    if found.error_intervals is not None:
        yield HEADING, described(found.error_intervals)


def with_sections(card: str, found: Calibration) -> str:
    """The card with sections on what was found at its end, or where it has them."""
    for heading, text in sections(found):
        section, start = f"{heading}\n{text}\n", card.find(heading)
        if start < 0:
            card = f"{card.rstrip()}\n\n{section}"
            continue
        end = card.find("\n## ", start + len(heading))
        card = card[:start] + section + ("" if end < 0 else card[end:])
    return card


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
