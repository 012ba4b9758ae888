# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros models`` does: a row for each checkpoint; and ``dd_ros inspect`` with one: more of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Column, Table
from rich.text import Text

from dd_ros.about import About, Figures
from dd_ros.config import CheckpointConfig
from dd_ros.data.action_reader import MOST_NAMES
from dd_ros.data.numbers import for_people
from dd_ros.data.storage import foreign
from dd_ros.described import facts_of
from dd_ros.errors import InputError, one_line
from dd_ros.json_files import write_json
from dd_ros.resources import CARD, CONFIG, WEIGHTS, read_about, read_config, shipped_folders

RIVALS = ("copy_last", "optical_flow")


def models(folders: Sequence[Path], *, json_path: Path | None = None) -> dict[str, Any]:
    """Print the shipped checkpoints, then those in ``folders``, each a checkpoint or a folder of them.

    Args:
        folders: in the order in which they are listed.
        json_path: where what is returned goes as well; None: nowhere.

    Returns:
        A row for each checkpoint (``models``), and a line for everything that is wrong with one (``problems``). One whose
        settings cannot be read has no row.

    Raises:
        InputError: a folder holds no checkpoint.
    """
    rows, problems = [], list[str]()
    for name, folder in [*shipped_folders().items(), *own(folders)]:
        try:
            rows.append(row(name, folder, problems))
        except InputError as error:
            problems.append(str(error))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # piped: nobody needs cells cut to fit a window
    console.print(table(rows))
    for found in rows:
        if found["data"]:
            console.print(shown(f"{found['name']}: {found['data']}"), highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)
    result = {"models": rows, "problems": problems}
    write_json(json_path, result)
    return result


def own(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Name, which is the path, and folder of each checkpoint in ``folders``."""
    for folder in folders:
        inside = sorted(file.parent for file in folder.glob(f"*/{CONFIG}"))
        found = [folder] if (folder / CONFIG).is_file() else [one for one in inside if one.name[0] != "."]
        if not found:
            raise InputError(
                f"{folder}: no checkpoint there; expected a folder with a {CONFIG}, or one of such folders"
            )
        yield from ((str(one), one) for one in found)


def row(name: str, folder: Path, problems: list[str]) -> dict[str, Any]:
    """What a checkpoint is, as JSON has it; what is wrong beside its settings goes to ``problems``.

    Raises:
        InputError: the settings cannot be read.
    """
    config = read_config(folder)
    streams, readouts, about = config.streams, config.readouts, About()
    try:
        about = read_about(folder)
    except InputError as error:
        problems.append(str(error))
    weights = folder / WEIGHTS
    if not weights.exists():
        problems.append(f"{weights}: missing; copy or train the checkpoint again")
    elif odd := foreign(weights):
        problems.append(f"{weights}: {'; '.join(odd)}")
    return {
        "name": name,
        "folder": str(folder),
        "robot": about.robot,
        "data": about.data,
        "image": {
            "topic": streams.image_topic, "width": streams.width, "height": streams.height, "rate_hz": streams.rate_hz,
        },
        "actions": {
            "sources": [str(source) for source in streams.actions], "dim": config.action.dim, "names": list(config.action.names),
        },
        "horizon": config.horizon,
        "horizon_s": round(config.horizon / streams.rate_hz, 4),
        "readouts": readouts
        and {"sources": [str(source) for source in readouts.sources], "names": list(readouts.names)},
        "figures": about.figures and entries(about.figures),
        "robots": {name: entries(figures) for name, figures in about.robots.items()},
    }  # fmt: skip


def entries(figures: Figures) -> dict[str, Any]:
    """Figures as JSON has them, with what the model is above each rival by."""
    return {
        **figures.model_dump(mode="json"),
        **{f"above_{rival}": figures.above(rival) for rival in RIVALS},
    }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows for people; few columns, as topics have long names and terminals are narrow."""
    found = Table(
        Column("checkpoint", overflow="fold"),
        "robot",
        Column("camera, commands, read-outs", overflow="fold"),
        Column("ahead", no_wrap=True),
        Column("figures", no_wrap=True),
        show_lines=True,
    )
    for one in rows:
        cells = (
            one["name"],
            one["robot"] or "-",
            streams(one),
            f"{one['horizon_s']:.2f} s",
            quality(one),
        )
        found.add_row(*map(shown, cells))
    return found


def streams(one: dict[str, Any]) -> str:
    """Camera, commands, and what is read off, a line each."""
    image, actions, readouts = one["image"], one["actions"], one["readouts"]
    names = ", ".join(actions["names"]) or f"{actions['dim']} values"
    lines = [
        f"{image['topic']} {image['width']}x{image['height']} {image['rate_hz']:g} Hz",
        f"{' '.join(actions['sources'])} ({names})",
    ]
    return "\n".join([*lines, *([f"reads off {read_off(readouts)}"] if readouts else [])])


def read_off(readouts: dict[str, Any]) -> str:
    """Topics that read-outs stand for, and their names, or how many where these are many."""
    topics, names = (
        [source.partition(".")[0] for source in readouts["sources"]],
        for_people(readouts["names"]),
    )
    return f"{' '.join(topics)} ({', '.join(names) if len(names) <= MOST_NAMES else f'{len(names)} numbers'})"


def quality(one: dict[str, Any]) -> str:
    """PSNR of the model above that of its rivals, and how often true actions are the best, a line each.

    Of several robots a line each on copy-last alone.
    """
    if one["robots"]:
        return "\n".join(
            f"{figures['above_copy_last']:+.2f} dB {name}" for name, figures in one["robots"].items()
        )
    figures = one["figures"]
    if figures is None:
        return "not evaluated"
    gains = [(rival, figures[f"above_{rival}"]) for rival in RIVALS]
    lines = [f"{gain:+.2f} dB {rival.replace('_', ' ')}" for rival, gain in gains if gain is not None]
    return "\n".join([*lines, f"{figures['true_best_fraction']:.1%} true best"])


def show_checkpoint(folder: Path, console: Console) -> dict[str, Any]:
    """What a checkpoint is, in a few lines, then its card; its settings, of which most are numbers, as data alone."""
    found: dict[str, Any] = {"kind": "checkpoint", "path": str(folder), "settings": None, "problems": []}
    problems: list[str] = found["problems"]
    try:
        config = read_config(folder)
        console.print(facts_table(config, row(folder.name, folder, problems)))
        found["settings"] = config.model_dump(mode="json")
    except InputError as error:
        problems.append(str(error))
    if (folder / CARD).is_file():
        console.rule(shown(str(folder / CARD)))
        console.print(Markdown(shown((folder / CARD).read_text(errors="replace")).plain))
    console.print(f"all settings: {folder / CONFIG}", markup=False, highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return found


def facts_table(config: CheckpointConfig, one: dict[str, Any]) -> Table:
    """A line each for what matters of a checkpoint; ``one`` is its ``row``."""
    gate, intervals = config.gate, config.error_intervals
    facts = {
        "checkpoint": config.name,
        "robot": one["robot"],
        **facts_of(config, config.schedule),
        "reads off": read_off(one["readouts"]) if one["readouts"] else "",
        "calibrated": ", ".join(
            word for word, known in (("gate", gate), ("error intervals", intervals)) if known
        ),
        "figures": quality(one).replace("\n", ", "),
        "data": one["data"],
    }
    found = Table.grid(padding=(0, 2))
    for name, text in facts.items():
        if text:
            found.add_row(name, shown(text))
    return found


def shown(text: str) -> Text:
    """Text of a file without controls, which would command the terminal; lines stay."""
    return Text("\n".join(map(one_line, text.splitlines())))
