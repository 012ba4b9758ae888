# SPDX-License-Identifier: Apache-2.0
"""``dd_ros evaluate``: a checkpoint judged on bags."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from dd_ros.commands.judged import Judged, judged_bags
from dd_ros.json_files import reported
from dd_ros.options import (
    PATH,
    bag_options,
    checkpoint_option,
    device_option,
    horizon_option,
    json_option,
    seed_option,
    topic_options,
    window_options,
)


@click.command()
@checkpoint_option(required=True)
@bag_options
@json_option()
@click.option("--plots", type=PATH, help="Folder for curves and images.")
@topic_options("; default the checkpoint's")
@window_options
@device_option
@seed_option
@click.option("--schedule", help="Denoising steps, such as 2-1-1-1 or teacher; default the checkpoint's.")
@horizon_option
def evaluate(
    checkpoint: str, bags: list[Path], json_path: Path | None, plots: Path | None, split: str, schedule: str | None,
    horizon: int | None, **judged: Unpack[Judged],
) -> None:  # fmt: skip
    """Judge a checkpoint on bags against copy-last, optical flow and wrong actions.

    Example: dd_ros evaluate --checkpoint g1_pick --bags logs --split validation
    """
    from dd_ros.evaluation.evaluate import evaluate as run

    found = judged_bags(bags, split)
    reported(
        json_path,
        lambda file: run(checkpoint, found, file, plots=plots, schedule=schedule, horizon=horizon, **judged),
    )
