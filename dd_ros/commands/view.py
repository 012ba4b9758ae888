# SPDX-License-Identifier: Apache-2.0
"""``dd_ros view``: a running predictor or a bag, looked at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dd_ros.commands.view_options import view_options
from dd_ros.options import checkpoint_option, device_option, save_option, topic_options


@click.command()
@view_options
@checkpoint_option(default=None)
@topic_options("; default the predictor's, or the checkpoint's")
@save_option
@device_option
def view(
    node: str, bag: Path | None, checkpoint: str | None, candidates: int | None, web: bool, save: Path | None,
    memory_limit: str, port: int, seconds: float, use_sim_time: bool, device: str, **streams: Any,
) -> None:  # fmt: skip
    """Look at a running predictor, or at a bag: camera, predictions at the times they are for, errors, commands.

    Example: dd_ros view --bag episode_000004 --checkpoint g1_pick --candidates 8
    """
    if (bag is None and candidates) or (bag and not checkpoint):
        raise click.UsageError("expected --bag with --checkpoint, and --candidates with both")
    from dd_ros.commands.viewing import view_bag, view_live
    from dd_ros.view.sinks import Sink

    sink = Sink(web=web, save=save, memory_limit=memory_limit, port=port)
    if bag and checkpoint:
        view_bag(checkpoint, bag, sink, candidates=candidates or 0, device=device, **streams)
    else:
        live = {"seconds": seconds, "use_sim_time": use_sim_time, **streams}
        sys.exit(view_live(sink, node=node, checkpoint=checkpoint, **live))
