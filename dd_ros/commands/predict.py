# SPDX-License-Identifier: Apache-2.0
"""``dd_ros predict``: a video of a bag beside what was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dd_ros.json_files import reported
from dd_ros.options import (
    PATH,
    checkpoint_option,
    device_option,
    json_option,
    save_option,
    topic_options,
    writable,
)


@click.command()
@checkpoint_option(required=True)
@click.option(
    "--bag",
    type=PATH,
    required=True,
    help="The rosbag2 bag, LeRobot data set or SET/episode_000004 to predict.",
)
@click.option("--out", type=PATH, callback=writable, help="Video to write (.mp4).")
@save_option
@topic_options("; default the checkpoint's")
@device_option
@json_option()
def predict(
    checkpoint: str, bag: Path, out: Path | None, save: Path | None, image_topic: str | None,
    action_topics: tuple[str, ...], device: str, json_path: Path | None,
) -> None:  # fmt: skip
    """Write a video of a bag: what happened beside what was predicted, at 1/4, 1/2 and full horizon.

    Example: dd_ros predict --checkpoint g1_pick --bag episode_000004 --out predicted.mp4
    """
    from dd_ros.commands.predicting import predict as run

    topics: dict[str, Any] = {"image_topic": image_topic, "action_topics": action_topics}
    reported(
        json_path, lambda file: run(checkpoint, bag, out, save=save, device=device, json_path=file, **topics)
    )
