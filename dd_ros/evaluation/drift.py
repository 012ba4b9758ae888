# SPDX-License-Identifier: Apache-2.0
"""Long rollouts: hundreds of steps on own output, and how far one real frame brings them back.

Example:
    python -m dd_ros.evaluation.drift --checkpoint g1_pick --bags BAGS --json out/drift.json --image out/drift.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.data.split import select
from dd_ros.data.steps import Episode
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import psnr
from dd_ros.evaluation.recorded import read_all
from dd_ros.evaluation.windows import RecordedEpisode
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor

SPAN = 52  # steps that a row of the table averages over

Images = NDArray[np.uint8]
Values = NDArray[np.float64]


def drift(
    predictor: Predictor, episodes: Sequence[RecordedEpisode], *, steps: int = 208, strip: Path | None = None
) -> dict[str, Any]:
    """Brightness, saturation and sharpness of own output against the real video's, and what one real frame restores.

    Every episode that is long enough gives one rollout from its beginning, with its logged commands. The model
    sees ``context_frames`` real frames; from then on what it knows of the last steps is the keys and values of
    the chunk it has just made.

    Args:
        predictor: used from one episode to the next, reset before each.
        episodes: recorded ones.
        steps: model steps of a rollout.
        strip: image to make of the first usable episode, true frames above own ones.

    Returns:
        ``spans``: per SPAN steps the means of ``psnr`` in dB and of the three ratios to the real video;
        ``recovery``: PSNR of the chunks after one real frame, and after ``context_frames`` of them.

    Raises:
        InputError: no episode is long enough, or chunks do not divide ``steps``.
    """
    long = predictor.with_horizon(steps)
    context = predictor.config.context_frames
    usable = [episode for episode in episodes if len(episode) >= context + steps]
    if not usable:
        longest = max((len(episode) for episode in episodes), default=0)
        raise InputError(f"drift: expected an episode of {context + steps} steps, the longest has {longest}")
    rows: list[list[Values]] = []
    recovery = []
    for episode in usable:
        clip = episode.clip(0, len(episode))
        own, true = predicted(long, clip, start=context, seen=context), clip.frames[context : context + steps]
        if strip and not rows:
            write_strip(strip, true, own)
        rows.append([psnr(true, own), *(measure(own) / measure(true) for measure in MEASURES.values())])
        recovery += after_real_frames(predictor, clip)
    values, recovered = np.mean(rows, axis=0), np.mean(recovery, axis=0).round(2)
    return {
        "episodes": len(usable),
        "spans": [
            {"from": start + 1, **dict(zip(("psnr", *MEASURES), row.round(4).tolist(), strict=True))}
            for start in range(0, steps, SPAN)
            for row in [values[:, start : start + SPAN].mean(axis=1)]
        ],
        "recovery": {"one_real_frame": recovered[0].tolist(), "no_drift": recovered[1].tolist()},
    }


def predicted(predictor: Predictor, clip: Episode, *, start: int, seen: int) -> Images:
    """The frames of ``clip`` from step ``start`` on, predicted from the ``seen`` ones before that and nothing else."""
    predictor.reset()
    predictor.seed(start)
    for step in range(start - seen, start):
        predictor.observe(clip.frames[step], step * predictor.step_ns, clip.actions[step])
    return predictor.predict(clip.actions[start : start + predictor.horizon])


def after_real_frames(predictor: Predictor, clip: Episode) -> list[tuple[Values, Values]]:
    """PSNR of every chunk of a horizon after one real frame, and after all of the context, along ``clip``.

    A rollout leaves nothing behind in the predictor: where real frames were missing, it starts anew with the
    first one that comes.
    """
    context, horizon = predictor.config.context_frames, predictor.horizon
    found = []
    for start in range(context, len(clip) - horizon + 1, horizon):
        true = clip.frames[start : start + horizon]
        one, all_seen = (
            psnr(true, predicted(predictor, clip, start=start, seen=seen)) for seen in (1, context)
        )
        chunks = (-1, predictor.chunk_frames)
        found.append((one.reshape(chunks).mean(axis=1), all_seen.reshape(chunks).mean(axis=1)))
    return found


def write_strip(path: Path, true: Images, own: Images) -> None:
    """The first frame and those that end a span: true ones above own ones, enlarged."""
    shown = [0, *range(SPAN - 1, len(true), SPAN)]
    rows = np.concatenate([np.concatenate(images[shown], axis=1) for images in (true, own)])
    enlarged = cv2.resize(rows, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", enlarged[..., ::-1])[1].tobytes())


def brightness(images: Images) -> Values:
    """Mean of all values, uint8 [F, H, W, 3] -> [F]."""
    return images.mean(axis=(1, 2, 3), dtype=np.float64)


def saturation(images: Images) -> Values:
    """Mean distance between the largest and the smallest of R, G and B, [F]."""
    return (images.max(axis=-1).astype(np.float64) - images.min(axis=-1)).mean(axis=(1, 2))


def sharpness(images: Images) -> Values:
    """Variance of the Laplacian of the grey image, [F]."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    return np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey])


MEASURES = {"brightness": brightness, "saturation": saturation, "sharpness": sharpness}


@click.command(cls=Command)
@click.option("--checkpoint", default="g1_pick", show_default=True, help="Checkpoint folder or shipped name.")
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="Bags or folders."
)
@click.option(
    "--split",
    "part",
    default="validation",
    type=click.Choice(["all", "train", "validation"]),
    show_default=True,
    help="Which of them.",
)
@click.option(
    "--steps", default=208, type=click.IntRange(min=1), show_default=True, help="Model steps on own output."
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), required=True, help="Where the figures go."
)
@click.option("--image", type=click.Path(path_type=Path), help="True frames above own ones.")
def main(
    checkpoint: str, bags: tuple[Path, ...], part: str, steps: int, json_path: Path, image: Path | None
) -> None:
    """Let a checkpoint predict for long, chunk after chunk on its own output, and compare with what the camera saw."""
    predictor = Predictor.load(checkpoint)
    chosen = select(find_bags(bags), part)
    episodes = read_all(chosen, predictor.config.streams, Console(stderr=True))
    result = drift(predictor, episodes, steps=steps, strip=image)
    write_json(json_path, {"checkpoint": predictor.config.name, "steps": steps, **result})
    last = result["spans"][-1]
    print(", ".join(f"{name} {last[name]:.2f}" for name in MEASURES), f"of the real video's at step {steps}")


if __name__ == "__main__":
    main()
