# SPDX-License-Identifier: Apache-2.0
"""``dd_ros demo``: robot, predictor and recorder as real nodes, for a while."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from dd_ros.json_files import reported, write_json
from dd_ros.options import PATH, checkpoint_option, json_option, save_option, topic_options


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(5.0),
    default=45.0,
    show_default=True,
    help="How long to run.",
)
@click.option(
    "--out",
    type=PATH,
    default=Path("out/demo"),
    show_default=True,
    help="Folder for video, images, report.",
)
@click.option("--bag", type=PATH, help="Play this bag or LeRobot data set instead of the simulated robot.")
@topic_options(" of the bag; default the checkpoint's")
@checkpoint_option(default=None)
@click.option(
    "--plan",
    is_flag=True,
    help="A planner solves the simulated table, acting on what is predicted for its candidates.",
)
@click.option(
    "--delay",
    type=click.FloatRange(0.0),
    default=0.0,
    show_default=True,
    help="Seconds by which images come late; the predictor makes up for it.",
)
@click.option("--view", is_flag=True, help="Look on with rerun; in the browser where there is no screen.")
@save_option
@json_option()
def demo(
    seconds: float, out: Path, bag: Path | None, image_topic: str | None, action_topics: tuple[str, ...],
    checkpoint: str | None, plan: bool, delay: float, view: bool, save: Path | None, json_path: Path | None,
) -> None:  # fmt: skip
    """Run robot, predictor and recorder as real ROS 2 nodes and report how well it went.

    Example: dd_ros demo --seconds 30 --out out/demo
    """
    if plan:
        from dd_ros.ros.demo.plan_launcher import run as run_plan

        if bag or image_topic or action_topics or delay or view or save:
            raise click.UsageError(
                "--plan is for the simulated table: expected no --bag, no topics, no --delay and no --view"
            )
        sys.exit(run_plan(seconds=seconds, out=out, checkpoint=checkpoint))
    from dd_ros.ros.demo.launcher import run

    def work(file: Path | None) -> dict[str, Any]:
        status = run(
            seconds=seconds,
            out=out,
            bag=bag,
            checkpoint=checkpoint,
            image_topic=image_topic,
            action_topics=action_topics,
            delay=delay,
            view=view,
            save=save,
        )
        if status:
            sys.exit(status)
        result = json.loads((out / "report.json").read_text())
        write_json(file, result)
        return dict(result)

    reported(json_path, work)
