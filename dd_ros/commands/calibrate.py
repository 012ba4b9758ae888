# SPDX-License-Identifier: Apache-2.0
"""``dd_ros calibrate``: how far to believe a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import click

from dd_ros.commands.judged import Judged, judged_bags
from dd_ros.json_files import reported, write_json
from dd_ros.options import (
    bag_options,
    checkpoint_option,
    device_option,
    json_option,
    seed_option,
    topic_options,
    window_options,
)


@click.command()
@checkpoint_option(required=True)
@bag_options
@topic_options("; default the checkpoint's")
@window_options
@device_option
@seed_option
@json_option()
def calibrate(
    checkpoint: str, bags: list[Path], split: str, json_path: Path | None, **judged: Unpack[Judged]
) -> None:
    """Learn from bags that a checkpoint was not trained on how far to believe it, and write that into it.

    That is a gate, which shows the share of a predicted change that comes true, and how far off the frames then are.

    Example: dd_ros calibrate --checkpoint my_robot --bags logs --split validation
    """
    from dd_ros.evaluation.calibrate import calibrate as run

    def work(file: Path | None) -> dict[str, Any]:
        result = run(checkpoint, judged_bags(bags, split), **judged).entries()
        write_json(file, result)
        return result

    reported(json_path, work)
