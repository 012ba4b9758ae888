# SPDX-License-Identifier: Apache-2.0
"""``dd_ros readout``: numbers read off predicted frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dd_ros.json_files import reported
from dd_ros.options import PATH, bag_options, checkpoint_option, device_option, json_option, topic_options


@click.command()
@checkpoint_option(required=True)
@bag_options
@click.option(
    "--topic", "topics", multiple=True, required=True,
    help="Topic with the numbers to read off images, with its fields, such as /joint_states.position[0:7]; may be repeated.",
)  # fmt: skip
@click.option(
    "--out", type=PATH, help="Checkpoint folder to write; default: the checkpoint itself gets the head."
)
@topic_options("; default the checkpoint's")
@click.option(
    "--max-minutes",
    type=click.FloatRange(0.05),
    default=10.0,
    show_default=True,
    help="Time for predicting the windows and fitting the head; looking through the bags comes before.",
)
@device_option
@click.option("--seed", default=0, show_default=True, help="Seed of windows, noise and weights.")
@json_option()
def readout(
    checkpoint: str,
    bags: list[Path],
    topics: tuple[str, ...],
    out: Path | None,
    image_topic: str | None,
    action_topics: tuple[str, ...],
    max_minutes: float,
    device: str,
    seed: int,
    json_path: Path | None,
) -> None:
    """Let a checkpoint read recorded numbers, such as poses or joints, off the frames it predicts.

    Example: dd_ros readout --checkpoint my_robot --bags logs --topic /joint_states.position[0:7]
    """
    from dd_ros_training.readout import readout as run

    settings: dict[str, Any] = {
        "topics": topics, "out": out, "image_topic": image_topic, "action_topics": action_topics,
        "max_minutes": max_minutes, "device": device, "seed": seed,
    }  # fmt: skip
    reported(json_path, lambda file: run(checkpoint, bags, json_path=file, **settings))
