# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros predict`` does: what happened in a bag beside what had been predicted, as a video, as a recording of rerun, or both."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from dd_ros.data.bags import find_bags
from dd_ros.data.steps import Episode
from dd_ros.errors import InputError
from dd_ros.evaluation.playback import Played, played
from dd_ros.evaluation.recorded import check_actions, read_all
from dd_ros.evaluation.video import side_by_side, tile, write_video
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor
from dd_ros.progress import progress


def predict(
    checkpoint: str, bag: Path, out: Path | None, *, save: Path | None = None, image_topic: str | None = None,
    action_topics: Sequence[str] = (), device: str = "auto", json_path: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write every frame of ``bag`` beside the predictions made for its time.

    Args:
        checkpoint: folder or shipped name.
        bag: a bag, a folder of them, or a LeRobot data set.
        out: video (mp4); None writes none.
        save: recording of rerun (rrd); None writes none.
        image_topic, action_topics: instead of those the checkpoint names.
        device: ``auto``, ``cpu`` or ``cuda``.
        json_path: file for what is returned; None writes none.

    Returns:
        What was written, as ``json_path`` holds it where that is given: files, frames, seconds, and how far ahead the
        predictions that are shown were, in seconds.

    Raises:
        InputError: unusable checkpoint, bag or topics, neither file is wanted, or one cannot be written.
    """
    if out is None and save is None:
        raise InputError("expected --out VIDEO.mp4 or --save RECORDING.rrd, got neither")
    if out is not None and out.suffix.lower() != ".mp4":
        raise InputError(f"{out}: expected a name ending in .mp4")
    with ExitStack() as stack:
        predictor, episodes = load(
            checkpoint, bag, image_topic=image_topic, action_topics=action_topics, device=device
        )
        runs: Iterable[Iterator[Played]] = (played(predictor, episode) for episode in episodes)
        if save is not None:
            from dd_ros.view.log import ViewLog
            from dd_ros.view.offline import written
            from dd_ros.view.sinks import Sink, opened

            runs = written(predictor, episodes, ViewLog(stack.enter_context(opened(Sink(save=save)))))
        total = sum(len(episode) for episode in episodes)
        if out is None:
            for _ in progress(chain.from_iterable(runs), "predicting", total):
                pass
        else:
            frames = progress(images(predictor, runs), "predicting", total)
            write_video(out, frames, predictor.config.streams.rate_hz)
    console = Console(stderr=True)
    for path in (out, save):
        if path is not None:
            text = f"{path}: {total} frames, {total / predictor.config.streams.rate_hz:.1f} s"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    rate = predictor.config.streams.rate_hz
    result = {
        "checkpoint": predictor.config.name, "bag": str(bag), "video": None if out is None else str(out),
        "recording": None if save is None else str(save), "frames": total, "seconds": total / rate, "fps": rate,
        "episodes": len(episodes), "leads_s": [lead * predictor.step_ns / 1e9 for lead in leads(predictor.horizon)],
    }  # fmt: skip
    write_json(json_path, result)
    return result


def load(
    checkpoint: str, bag: Path, *, image_topic: str | None = None, action_topics: Sequence[str] = (),
    device: str = "auto",
) -> tuple[Predictor, list[Episode]]:  # fmt: skip
    """A predictor, and the episodes of a bag that are long enough for it; InputError as ``predict``."""
    predictor = Predictor.load(checkpoint, device)
    spec = predictor.config.streams.with_topics(image_topic, action_topics)
    bags = find_bags([bag])
    if len(bags) > 1:
        raise InputError(f"{bag}: expected one bag, got a folder of {len(bags)}; name one, such as {bags[0]}")
    found = read_all(bags, spec, Console(stderr=True))
    episodes = [episode for episode in found if len(episode) > predictor.horizon]
    check_actions(episodes, predictor, spec)
    if not episodes:
        raise InputError(f"{bag}: too short: expected more than {predictor.horizon} model steps without gap")
    return predictor, episodes


def leads(horizon: int) -> tuple[int, int, int]:
    """Model steps of 1/4, 1/2 and the full horizon."""
    return max(1, horizon // 4), max(1, horizon // 2), horizon


def images(predictor: Predictor, runs: Iterable[Iterable[Played]]) -> Iterator[NDArray[np.uint8]]:
    """One image per model step of episodes: the frame, and what had been predicted for it at three lead times."""
    seconds = predictor.step_ns / 1e9
    for run in runs:
        made: deque[NDArray[np.uint8]] = deque(maxlen=predictor.horizon)
        for step in run:
            tiles = [tile(step.frame, "camera")]
            for lead in leads(predictor.horizon):
                known = made[-lead][lead - 1] if lead <= len(made) else np.zeros_like(step.frame)
                tiles.append(tile(known, f"predicted {lead * seconds:.2f} s ahead"))
            yield side_by_side(tiles)
            made.append(step.frames)
