# SPDX-License-Identifier: Apache-2.0
"""Options that several subcommands of ``dd_ros`` share, and what a shell completes for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem

from dd_ros.json_files import STDOUT

PATH = click.Path(path_type=Path)
F = Callable[..., Any]


class CheckpointName(click.ParamType):
    """A checkpoint's folder, or the name of a shipped one, which a shell completes.

    Args:
        others: what else may stand there, as shells complete it: ``dir``, or ``file`` for both files and folders.
    """

    name = "text"

    def __init__(self, others: str = "dir"):
        self._others = others

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from dd_ros.resources import shipped_checkpoints

        names = [name for name in shipped_checkpoints() if name.startswith(incomplete)]
        # The kind of paths first: bash's script forgets the names before it.
        return [CompletionItem(incomplete, type=self._others), *map(CompletionItem, names)]


class Lag(click.ParamType):
    """Seconds, or ``auto``."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | Literal["auto"]:
        """The number, or the word."""
        if value == "auto":
            return "auto"
        try:
            return float(value)
        except ValueError:
            self.fail(f"expected seconds or auto, got {value!r}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem("auto")] if "auto".startswith(incomplete) else []


def checkpoint_option(**extra: Any) -> Callable[[F], F]:
    about = "Checkpoint folder, or the name of a shipped one."
    return click.option("--checkpoint", type=CheckpointName(), **({"help": about} | extra))


def writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse an output file that cannot be written, before the work for it is done; stdout always can."""
    if path is None or path == STDOUT:
        return path
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir():
        raise click.BadParameter(f"{path}: expected a file to write, got a folder")
    if not parent.is_dir() or not os.access(path if path.exists() else parent, os.W_OK):
        raise click.BadParameter(f"{path}: cannot be written; choose another path")
    return path


def json_option(required: bool = False) -> Callable[[F], F]:
    """--json: a file, or - for stdout; ``json_files.reported`` does as it says."""
    about = "File for the figures; - is stdout, and what is said to people goes to stderr then."
    return click.option(
        "--json", "json_path", type=PATH, required=required, callback=writable, metavar="FILE", help=about
    )


def topic_options(default: str, required: bool = False) -> Callable[[F], F]:
    """--image-topic and --action-topic; ``default`` says what is taken without them."""
    image = click.option("--image-topic", required=required, help=f"Camera topic{default}.")
    action = click.option(
        "--action-topic",
        "action_topics",
        multiple=True,
        required=required,
        help="Topic of the commands as executed, with its fields or without, such as /arm.position[0:7] or "
        f"/cmd_vel.linear.x,angular.z; several are joined in order{default}.",
    )
    return lambda command: image(action(command))


def bag_options(command: F) -> F:
    """--bags, followed by as many bags as one likes; the command gets them as one ``bags``."""

    @wraps(command)
    def joined(*, bags: tuple[Path, ...], more_bags: tuple[Path, ...], **rest: Any) -> Any:
        return command(bags=[*bags, *more_bags], **rest)

    text = "A bag, a folder of bags, or a LeRobot data set; may be repeated."
    option = click.option("--bags", type=PATH, multiple=True, required=True, help=text)
    return option(click.argument("more_bags", type=PATH, nargs=-1, metavar="[BAGS]...")(joined))


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to run.",
)

save_option = click.option(
    "--save", type=PATH, callback=writable, help="Recording to write (.rrd), which rerun opens."
)

seed_option = click.option(
    "--seed", default=0, show_default=True, help="Seed of sampling noise, shuffled actions, bootstrap."
)


def window_options(command: F) -> F:
    """--stride, --max-windows and --split: what is judged of the bags."""
    options = (
        click.option(
            "--stride", type=click.IntRange(1), default=8, show_default=True, help="Frames between two windows."
        ),
        click.option("--max-windows", type=click.IntRange(1), help="At most so many windows, spread evenly."),
        click.option(
            "--split", type=click.Choice(["all", "train", "validation"]), default="all", show_default=True,
            help="Part of the bags; validation bags are those whose number % 6 is 4.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


horizon_option = click.option(
    "--horizon", type=click.IntRange(min=1), help="Frames to predict; default the checkpoint's."
)


class ImageSize(click.ParamType):
    """Width and height such as 640x480."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        width, _, height = str(value).partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            self.fail(f"expected a width and height such as 640x480, got {value!r}", param, ctx)
        return int(width), int(height)
