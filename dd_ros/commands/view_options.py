# SPDX-License-Identifier: Apache-2.0
"""Options of ``dd_ros view`` that no other command has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

F = Callable[..., Any]
OPTIONS = (
    click.option("--node", default="predictor", show_default=True, help="Predictor to look at."),
    click.option(
        "--bag", type=click.Path(path_type=Path), help="Look at this bag or LeRobot data set; needs --checkpoint."
    ),
    click.option(
        "--lead", "leads", type=click.FloatRange(0.0, min_open=True), multiple=True,
        help="Seconds ahead to show; may be repeated; default 1/4, 1/2 and full horizon.",
    ),
    click.option(
        "--candidates", type=click.IntRange(2, 256), help="Of a bag: compare so many action sequences."
    ),
    click.option("--web", is_flag=True, help="Show a page for browsers, as where there is no screen."),
    click.option(
        "--memory-limit", default="1GB", show_default=True, help="Memory for what is shown; the oldest is dropped."
    ),
    click.option(
        "--port", type=click.IntRange(1024, 65534), default=9090, show_default=True, help="Port of the page."
    ),
    click.option("--seconds", type=click.FloatRange(0.0), default=0.0, help="How long to look on; 0: until Ctrl-C."),
    click.option("--use-sim-time", is_flag=True, help="Take the time from /clock."),
)  # fmt: skip


def view_options(command: F) -> F:
    """All of them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
