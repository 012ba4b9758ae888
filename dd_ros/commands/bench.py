# SPDX-License-Identifier: Apache-2.0
"""``dd_ros bench``: latency."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from dd_ros.json_files import reported
from dd_ros.options import checkpoint_option, device_option, horizon_option, json_option


@click.command()
@checkpoint_option()
@click.option(
    "--size",
    type=click.Choice(["S", "M", "L"]),
    help="Instead of a checkpoint: a network of this size with random weights.",
)
@json_option(required=True)
@device_option
@click.option("--node", is_flag=True, help="Measure end to end as well, through real topics.")
@horizon_option
def bench(
    checkpoint: str | None, size: str | None, json_path: Path, device: str, node: bool, horizon: int | None
) -> None:
    """Measure latency, rivals on the same network, candidates, and how far from the roofline it is.

    Example: dd_ros bench --checkpoint g1_pick --json bench.json --device cpu
    """
    if bool(checkpoint) == bool(size):
        raise click.UsageError("expected either --checkpoint or --size")
    from dd_ros.benchmark.latency import bench as run
    from dd_ros.benchmark.sizes import untrained

    with untrained(size) if size else nullcontext(checkpoint or "") as measured:
        reported(json_path, lambda file: run(measured, file, device=device, node=node, horizon=horizon))
