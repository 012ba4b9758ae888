# SPDX-License-Identifier: Apache-2.0
"""``dd_ros predict``: a video of a bag, what happened beside what had been predicted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from dd_ros.data.bags import find_bags
from dd_ros.data.steps import Episode
from dd_ros.errors import InputError
from dd_ros.evaluation.evaluate import check_actions, read_all
from dd_ros.evaluation.video import side_by_side, tile, write_video
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor
from dd_ros.progress import progress


def predict(
    checkpoint: str, bag: Path, out: Path, *, image_topic: str | None = None, action_topics: Sequence[str] = (),
    device: str = "auto", json_path: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write ``out`` (mp4): every frame of ``bag`` beside the predictions made for its time.

    Returns:
        What was written, as ``json_path`` holds it where that is given: files, frames, seconds, and how far ahead the
        predictions that are shown were, in seconds.

    Raises:
        InputError: unusable checkpoint, bag or topics, or ``out`` cannot be written.
    """
    if out.suffix.lower() != ".mp4":
        raise InputError(f"{out}: expected a name ending in .mp4")
    predictor = Predictor.load(checkpoint, device)
    spec = predictor.config.streams.with_topics(image_topic, action_topics)
    console = Console(stderr=True)
    episodes = [e for e in read_all(find_bags([bag]), spec, console) if len(e) > predictor.horizon]
    check_actions(episodes, predictor, spec)
    if not episodes:
        raise InputError(f"{bag}: too short: expected more than {predictor.horizon} model steps without gap")
    total = sum(len(episode) for episode in episodes)
    frames = progress(images(predictor, episodes), "predicting", total)
    write_video(out, frames, spec.rate_hz)
    text = f"{out}: {total} frames, {total / spec.rate_hz:.1f} s"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    result = {
        "checkpoint": predictor.config.name, "bag": str(bag), "video": str(out), "frames": total,
        "seconds": total / spec.rate_hz, "fps": spec.rate_hz, "episodes": len(episodes),
        "leads_s": [lead * predictor.step_ns / 1e9 for lead in leads(predictor.horizon)],
    }  # fmt: skip
    write_json(json_path, result)
    return result


def leads(horizon: int) -> tuple[int, int, int]:
    """Model steps of 1/4, 1/2 and the full horizon."""
    return max(1, horizon // 4), max(1, horizon // 2), horizon


def images(predictor: Predictor, episodes: list[Episode]) -> Iterator[NDArray[np.uint8]]:
    """One image per frame: the frame, and what had been predicted for it at three lead times."""
    step = predictor.step_ns / 1e9
    for episode in episodes:
        predictor.reset()
        made: deque[NDArray[np.uint8]] = deque(maxlen=predictor.horizon)
        for index, frame in enumerate(episode.frames):
            tiles = [tile(frame, "camera")]
            for lead in leads(predictor.horizon):
                known = made[-lead][lead - 1] if lead <= len(made) else np.zeros_like(frame)
                tiles.append(tile(known, f"predicted {lead * step:.2f} s ahead"))
            yield side_by_side(tiles)
            predictor.observe(
                frame, int(episode.stamps[0]) + index * predictor.step_ns, episode.actions[index]
            )
            ahead = episode.actions[index + 1 : index + 1 + predictor.horizon]
            held = np.repeat(episode.actions[-1:], predictor.horizon - len(ahead), axis=0)
            made.append(predictor.predict(np.concatenate([ahead, held])))
