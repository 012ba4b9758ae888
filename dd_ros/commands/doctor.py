# SPDX-License-Identifier: Apache-2.0
"""``dd_ros doctor``: whether it works here."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dd_ros.json_files import reported
from dd_ros.options import ImageSize, checkpoint_option, json_option


@click.command()
@checkpoint_option(default="pusht", show_default=True, help="Checkpoint that shall run here.")
@click.option(
    "--image", "size", type=ImageSize(), help="Size of the camera's images; default the checkpoint's."
)
@json_option()
def doctor(checkpoint: str, size: tuple[int, int] | None, json_path: Path | None) -> None:
    """Check what is installed and whether it works here: ROS, GPU, transport, threads, memory, checkpoint.

    One line each, with a cure. Ends with status 1 where something fails.

    Example: dd_ros doctor --checkpoint g1_pick --image 640x480
    """
    from dd_ros.doctor.command import doctor as run

    found = reported(json_path, lambda file: run(checkpoint, size, json_path=file))
    sys.exit(0 if found["healthy"] else 1)
