# SPDX-License-Identifier: Apache-2.0
"""``dd_ros inspect``: what a bag or a LeRobot data set holds, or what a checkpoint is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from dd_ros.bags import find_bags, inspect_bag
from dd_ros.errors import InputError
from dd_ros.lerobot import LeRobotSet, is_lerobot
from dd_ros.shipped import CARD, CONFIG, find_checkpoint


def inspect(path: str) -> None:
    """Print what lies at ``path``: a bag, a folder of bags, a LeRobot data set, or a checkpoint (by path or name).

    Raises:
        InputError: it is none of these.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # piped: nobody needs names cut to fit a window
    if is_lerobot(Path(path)):
        show_lerobot(Path(path), console)
        return
    if Path(path).exists() and not (Path(path) / CONFIG).is_file():
        for bag in find_bags([Path(path)]):
            show_bag(bag, console)
        return
    try:
        folder = find_checkpoint(path)
    except InputError as error:
        raise InputError(f"{path}: neither a bag nor a checkpoint ({error})") from error
    show_checkpoint(folder, console)


def show_bag(bag: Path, console: Console) -> None:
    """One table per bag: topics, types, rates, gaps."""
    info = inspect_bag(bag)
    table = Table(
        "topic",
        "type",
        "messages",
        "rate Hz",
        "seconds",
        "longest gap s",
        "content",
        title=Text(str(bag)),
    )
    for topic in info.topics:
        table.add_row(
            topic.name, topic.msgtype, str(topic.count), f"{topic.rate:.2f}", f"{topic.duration:.1f}",
            f"{topic.gap:.3f}", Text(topic.detail),
        )  # fmt: skip
    console.print(table)
    for problem in info.problems:
        console.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)


def show_lerobot(path: Path, console: Console) -> None:
    """Cameras and columns of a LeRobot data set, its length, and the files that it lacks."""
    data = LeRobotSet(path)
    table = Table("name", "type", "content", title=Text(str(path)))
    for key, feature in data.info.features.items():
        table.add_row(Text(key), feature.dtype, Text(feature.about))
    console.print(table)
    frames = sum(place.length for place in data.episodes.values())
    text = (
        f"LeRobot {data.info.codebase_version}: {len(data.episodes)} episodes, {frames} frames, "
        f"{data.info.fps:g} a second, {frames / data.info.fps:.1f} s"
    )
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    missing = [f"{file}: no such file" for file in data.files if not file.is_file()]
    for problem in [*data.problems, *missing]:
        console.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)


def show_checkpoint(folder: Path, console: Console) -> None:
    """The card, then the settings a user may need."""
    card = folder / CARD
    if card.is_file():
        console.print(Markdown(card.read_text()))
    console.rule(str(folder / CONFIG))
    console.print((folder / CONFIG).read_text(), markup=False, highlight=False, soft_wrap=True)
