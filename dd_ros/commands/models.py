# SPDX-License-Identifier: Apache-2.0
"""``dd_ros models``: which checkpoints there are."""

from __future__ import annotations

from pathlib import Path

import click

from dd_ros.json_files import reported
from dd_ros.options import json_option


@click.command()
@click.argument("folders", type=click.Path(file_okay=False, path_type=Path), nargs=-1, metavar="[FOLDER]...")
@json_option()
def models(folders: tuple[Path, ...], json_path: Path | None) -> None:
    """List the shipped checkpoints, then those in FOLDERs: robot, topics, horizon, figures, where the data come from.

    Example: dd_ros models my_checkpoints
    """
    from dd_ros.commands.listing import models as run

    reported(json_path, lambda file: run(folders, json_path=file))
