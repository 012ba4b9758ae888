# SPDX-License-Identifier: Apache-2.0
"""``dd_ros finetune``: a checkpoint of one's own robot."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from dd_ros.json_files import reported
from dd_ros.options import PATH, CheckpointName, Lag, bag_options, json_option, topic_options


@click.command()
@bag_options
@topic_options("", required=True)
@click.option("--out", type=PATH, required=True, help="Checkpoint folder to write.")
@click.option(
    "--init",
    type=CheckpointName(),
    help="Checkpoint to start from; default: base, or the shipped one that predicts the bags clearly better.",
)
@click.option("--config", type=PATH, help="Training recipe (YAML); default: as the checkpoint to start from.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(0.05),
    default=60.0,
    show_default=True,
    help="Time for everything, from start to report.",
)
@click.option(
    "--shift",
    type=click.FloatRange(0.0, 0.5),
    default=0.05,
    show_default=True,
    help="Move training images by up to this share of their size; 0 where actions are places in the image.",
)
@click.option(
    "--action-lag",
    type=Lag(),
    metavar="SECONDS|auto",
    help="How long after their stamps commands act; auto: what the bags suggest; default the recipe's, or 0.",
)
@click.option(
    "--action-lead",
    type=click.IntRange(1),
    metavar="STEPS",
    help="Instead: by so many model steps later states stand for commands, where only states were recorded.",
)
@json_option()
def finetune(
    bags: list[Path], image_topic: str, action_topics: tuple[str, ...], out: Path, init: str | None,
    config: Path | None, max_minutes: float, shift: float, action_lag: float | Literal["auto"] | None, action_lead: int | None,
    json_path: Path | None,
) -> None:  # fmt: skip
    """Train a checkpoint on your own robot's bags.

    Example: dd_ros finetune --bags logs --image-topic /camera/image_raw --action-topic /cmd_vel
    --out my_robot --max-minutes 30
    """
    from dd_ros.data.bags import find_bags
    from dd_ros.processes import process_start
    from dd_ros.resources import find_checkpoint

    find_bags(bags)  # what is not there is said before the imports that take seconds
    if init is not None:
        find_checkpoint(init)
    from dd_ros_training.finetune import finetune as run

    reported(
        json_path,
        lambda file: run(
            bags=bags,
            image_topic=image_topic,
            actions=action_topics,
            out=out,
            init=init,
            config=config,
            max_minutes=max_minutes,
            shift=shift,
            action_lag=action_lag,
            action_lead=action_lead,
            start=process_start(),
            json_path=file,
        ),
    )
