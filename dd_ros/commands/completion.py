# SPDX-License-Identifier: Apache-2.0
"""``dd_ros completion``: what lets shells complete."""

from __future__ import annotations

import click

from dd_ros.completion import SHELLS, installed, script


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.option(
    "--install", is_flag=True, help="Write it where the shell looks for it, instead of printing it."
)
def completion(shell: str, install: bool) -> None:
    """Print what lets a shell complete commands, options and names of checkpoints.

    Example: dd_ros completion bash --install
    """
    whole = click.get_current_context().find_root().command
    click.echo(installed(shell, whole) if install else script(shell, whole))
