# SPDX-License-Identifier: Apache-2.0
"""``dd_ros inspect``: what bags, data sets and checkpoints hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dd_ros.json_files import reported
from dd_ros.options import CheckpointName, json_option, topic_options


@click.command()
@click.argument("path", metavar="BAG_OR_CKPT", type=CheckpointName("file"))
@topic_options("; default the only one of the bag")
@json_option()
def inspect(
    path: str, image_topic: str | None, action_topics: tuple[str, ...], json_path: Path | None
) -> None:
    """Show what bags or a LeRobot data set hold and what training would use of it, or the card of a checkpoint.

    Example: dd_ros inspect logs --image-topic /camera/image_raw --action-topic /cmd_vel.linear.x,angular.z
    """
    from dd_ros.commands.inspecting import inspect as run

    topics: dict[str, Any] = {"image_topic": image_topic, "action_topics": action_topics}
    reported(json_path, lambda file: run(path, json_path=file, **topics))
