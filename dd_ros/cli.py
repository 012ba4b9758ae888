# SPDX-License-Identifier: Apache-2.0
"""The ``dd_ros`` command. Each subcommand imports what it needs only when it runs."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from dd_ros.commands.view_options import view_options
from dd_ros.completion import SHELLS, installed, script
from dd_ros.console import Group
from dd_ros.json_files import reported, write_json
from dd_ros.options import (
    PATH,
    CheckpointName,
    ImageSize,
    bag_options,
    checkpoint_option,
    device_option,
    horizon_option,
    json_option,
    save_option,
    seed_option,
    topic_options,
    window_options,
    writable,
)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="dd_ros", prog_name="dd_ros")
def main() -> None:
    """Real-time video prediction for robots: camera and commands in, predicted frames out."""


@main.command()
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


@main.command()
@checkpoint_option(required=True)
@click.option(
    "--bag",
    type=PATH,
    required=True,
    help="The rosbag2 bag, LeRobot data set or SET/episode_000004 to predict.",
)
@click.option("--out", type=PATH, callback=writable, help="Video to write (.mp4).")
@save_option
@topic_options("; default the checkpoint's")
@device_option
@json_option()
def predict(
    checkpoint: str, bag: Path, out: Path | None, save: Path | None, image_topic: str | None,
    action_topics: tuple[str, ...], device: str, json_path: Path | None,
) -> None:  # fmt: skip
    """Write a video of a bag: what happened beside what was predicted, at 1/4, 1/2 and full horizon.

    Example: dd_ros predict --checkpoint g1_pick --bag episode_000004 --out predicted.mp4
    """
    from dd_ros.commands.predict import predict as run

    topics: dict[str, Any] = {"image_topic": image_topic, "action_topics": action_topics}
    reported(
        json_path, lambda file: run(checkpoint, bag, out, save=save, device=device, json_path=file, **topics)
    )


@main.command()
@bag_options
@topic_options("", required=True)
@click.option("--out", type=PATH, required=True, help="Checkpoint folder to write.")
@click.option(
    "--init",
    type=CheckpointName(),
    help="Checkpoint to start from; default: the shipped one that predicts the bags best.",
)
@click.option("--config", type=PATH, help="Training recipe (YAML); default: as the checkpoint to start from.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(0.05),
    default=60.0,
    show_default=True,
    help="Time for everything, from start to report.",
)
@click.option(
    "--shift",
    type=click.FloatRange(0.0, 0.5),
    default=0.05,
    show_default=True,
    help="Move training images by up to this share of their size; 0 where actions are places in the image.",
)
@click.option(
    "--action-lag",
    type=float,
    metavar="SECONDS",
    help="How long after their stamps commands act; default the recipe's, or 0.",
)
@click.option(
    "--action-lead",
    type=click.IntRange(1),
    metavar="STEPS",
    help="Instead: by so many model steps later states stand for commands, where only states were recorded.",
)
@json_option()
def finetune(
    bags: list[Path], image_topic: str, action_topics: tuple[str, ...], out: Path, init: str | None,
    config: Path | None, max_minutes: float, shift: float, action_lag: float | None, action_lead: int | None,
    json_path: Path | None,
) -> None:  # fmt: skip
    """Train a checkpoint on your own robot's bags.

    Example: dd_ros finetune --bags logs --image-topic /camera/image_raw --action-topic /cmd_vel
    --out my_robot --max-minutes 30
    """
    from dd_ros.data.bags import find_bags
    from dd_ros.processes import process_start
    from dd_ros.resources import find_checkpoint

    find_bags(bags)  # what is not there is said before the imports that take seconds
    if init is not None:
        find_checkpoint(init)
    from dd_ros_training.finetune import finetune as run

    reported(
        json_path,
        lambda file: run(
            bags=bags,
            image_topic=image_topic,
            actions=action_topics,
            out=out,
            init=init,
            config=config,
            max_minutes=max_minutes,
            shift=shift,
            action_lag=action_lag,
            action_lead=action_lead,
            start=process_start(),
            json_path=file,
        ),
    )


@main.command()
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


@main.command()
@checkpoint_option(required=True)
@bag_options
@json_option()
@click.option("--plots", type=PATH, help="Folder for curves and images.")
@topic_options("; default the checkpoint's")
@window_options
@device_option
@seed_option
@click.option("--schedule", help="Denoising steps, such as 2-1-1-1 or teacher; default the checkpoint's.")
@horizon_option
def evaluate(
    checkpoint: str, bags: list[Path], json_path: Path | None, plots: Path | None, image_topic: str | None,
    action_topics: tuple[str, ...], stride: int, max_windows: int | None, split: str, device: str, seed: int,
    schedule: str | None, horizon: int | None,
) -> None:  # fmt: skip
    """Judge a checkpoint on bags against copy-last, optical flow and wrong actions.

    Example: dd_ros evaluate --checkpoint g1_pick --bags logs --split validation
    """
    from dd_ros.data.bags import find_bags
    from dd_ros.data.split import select
    from dd_ros.evaluation.evaluate import evaluate as run

    found = select(find_bags(bags), split)
    reported(
        json_path,
        lambda file: run(
            checkpoint,
            found,
            file,
            plots=plots,
            image_topic=image_topic,
            action_topics=action_topics,
            stride=stride,
            max_windows=max_windows,
            device=device,
            seed=seed,
            schedule=schedule,
            horizon=horizon,
        ),
    )


@main.command()
@checkpoint_option(required=True)
@bag_options
@topic_options("; default the checkpoint's")
@window_options
@device_option
@seed_option
@json_option()
def calibrate(
    checkpoint: str, bags: list[Path], image_topic: str | None, action_topics: tuple[str, ...], stride: int,
    max_windows: int | None, split: str, device: str, seed: int, json_path: Path | None,
) -> None:  # fmt: skip
    """Learn from bags that a checkpoint was not trained on how far to believe it, and write that into it.

    That is a gate, which shows the share of a predicted change that comes true, and how far off the frames then are.

    Example: dd_ros calibrate --checkpoint my_robot --bags logs --split validation
    """
    from dd_ros.data.bags import find_bags
    from dd_ros.data.split import select
    from dd_ros.evaluation.calibrate import calibrate as run

    def work(file: Path | None) -> dict[str, Any]:
        found = run(
            checkpoint,
            select(find_bags(bags), split),
            image_topic=image_topic,
            action_topics=action_topics,
            stride=stride,
            max_windows=max_windows,
            device=device,
            seed=seed,
        )
        result = found.entries()
        write_json(file, result)
        return result

    reported(json_path, work)


@main.command()
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


@main.command()
@click.argument("path", metavar="BAG_OR_CKPT", type=CheckpointName("file"))
@topic_options("; default the only one of the bag")
@json_option()
def inspect(
    path: str, image_topic: str | None, action_topics: tuple[str, ...], json_path: Path | None
) -> None:
    """Show what bags or a LeRobot data set hold and what training would use of it, or the card of a checkpoint.

    Example: dd_ros inspect logs --image-topic /camera/image_raw --action-topic /cmd_vel.linear.x,angular.z
    """
    from dd_ros.commands.inspect import inspect as run

    topics: dict[str, Any] = {"image_topic": image_topic, "action_topics": action_topics}
    reported(json_path, lambda file: run(path, json_path=file, **topics))


@main.command()
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
    from dd_ros.commands.view import view_bag, view_live
    from dd_ros.view.sinks import Sink

    sink = Sink(web=web, save=save, memory_limit=memory_limit, port=port)
    if bag and checkpoint:
        view_bag(checkpoint, bag, sink, candidates=candidates or 0, device=device, **streams)
    else:
        live = {"seconds": seconds, "use_sim_time": use_sim_time, **streams}
        sys.exit(view_live(sink, node=node, checkpoint=checkpoint, **live))


@main.command()
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


@main.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.option(
    "--install", is_flag=True, help="Write it where the shell looks for it, instead of printing it."
)
def completion(shell: str, install: bool) -> None:
    """Print what lets a shell complete commands, options and names of checkpoints.

    Example: dd_ros completion bash --install
    """
    click.echo(installed(shell, main) if install else script(shell, main))
