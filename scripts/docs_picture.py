# SPDX-License-Identifier: Apache-2.0
"""The moving picture of the first page: recordings beside what had been predicted for the same moment.

Example:
    python scripts/docs_picture.py --checkpoint pusht --bags out/bags --out docs/images/prediction.webp
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image
from rich.console import Console

from dd_ros.commands.predicting import images
from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.evaluation.recorded import read_all
from dd_ros.evaluation.video import Image as Pixels
from dd_ros.predictor import Predictor


def whole(predictor: Predictor, bags: list[Path]) -> Iterator[Pixels]:
    """The images of ``dd_ros predict`` for which the full horizon was predicted."""
    for episode in read_all(bags, predictor.config.streams, Console(stderr=True)):
        made = list(images(predictor, [episode]))
        yield from made[predictor.horizon :]


@click.command(cls=Command)
@click.option("--checkpoint", required=True, help="Checkpoint folder, or the name of a shipped one.")
@click.option(
    "--bags", type=click.Path(path_type=Path), multiple=True, required=True, help="Bags to predict."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="WebP to write.")
@click.option("--most", default=120, show_default=True, help="Frames at most.")
@click.option("--quality", default=60, show_default=True, help="Of the compression, 1 to 100.")
@click.option("--width", default=640, show_default=True, help="Pixels.")
def main(checkpoint: str, bags: list[Path], out: Path, most: int, quality: int, width: int) -> None:
    """Write a small moving picture of predictions beside what came."""
    predictor = Predictor.load(checkpoint)
    frames = [
        np.asarray(image) for _, image in zip(range(most), whole(predictor, find_bags(bags)), strict=False)
    ]
    pictures = [Image.fromarray(frame) for frame in frames]
    small = [
        picture.resize((width, width * picture.height // picture.width), Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    step = predictor.step_ns // 1_000_000
    small[0].save(
        out, save_all=True, append_images=small[1:], duration=step, loop=0, quality=quality, method=6
    )
    click.echo(f"{out}: {len(small)} frames, {out.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
