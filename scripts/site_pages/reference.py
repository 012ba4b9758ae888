# SPDX-License-Identifier: Apache-2.0
"""Pages of the reference, made from the code: commands, parameters, messages, settings of checkpoints and recipes."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dd_ros.ros.parameters import as_table

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"@click\.(command|group)\(\s*cls=(Command|Group)")


def commands() -> dict[str, click.Command]:
    """All commands by what is typed: ``dd_ros`` and modules such as ``python -m dd_ros.demo.simulate``."""
    found: dict[str, click.Command] = {"dd_ros": import_module("dd_ros.cli").main}
    for file in sorted([*ROOT.glob("dd_ros/**/*.py"), *ROOT.glob("training/**/*.py")]):
        text = file.read_text()
        if PROGRAM.search(text) and file.name != "cli.py" and "__main__" in text + file.name:
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
            name = re.sub(r"^training\b", "dd_ros_training", module)
            found[f"python -m {name}"] = import_module(
                name + (".__main__" if file.name == "__main__.py" else "")
            ).main
    return found


def escaped(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def cli() -> str:
    """The page of the commands."""
    parts = [
        "# Commands\n\n`.venv/bin/dd_ros` works as it is, nothing sourced. Exit status 0: done; 1: failed; 2: wrong usage or input, with one "
        "line on stderr that says what was expected, what came and what to do ([all messages](../troubleshooting/all.md)). Results that "
        "programs read are JSON files. Wherever bags are asked for, [LeRobot data sets](../lerobot.md) will do.\n"
    ]
    for name, command in commands().items():
        parts += command_page(name, command, None, level=2)
    return "\n".join(parts)


def command_page(
    name: str, command: click.Command, parent: click.Context | None, *, level: int
) -> Iterator[str]:
    """Heading, help, usage and options of a command and of its subcommands."""
    context = click.Context(command, info_name=name, parent=parent)
    text = inspect.cleandoc(command.help or "").replace("\f", "")
    first, _, example = text.partition("Example:")
    yield f"{'#' * level} {context.command_path.removeprefix('python -m ')}\n"
    yield first.strip() + "\n"
    if example:
        yield f"```bash\n{' '.join(example.split())}\n```\n"
    if isinstance(command, click.Group):
        for subname, sub in sorted(command.commands.items()):
            yield from command_page(subname, sub, context, level=level + 1)
        return
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"Usage: `{context.command_path} {pieces}`\n"
    rows = [
        record
        for p in command.get_params(context)
        if (record := p.get_help_record(context)) and p.name != "help"
    ]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{option}` | {escaped(meaning)} |" for option, meaning in rows)
        yield ""


def nodes() -> dict[str, type]:
    """The settings of our nodes, by the name of the node."""
    found = {}
    for file in sorted(ROOT.glob("dd_ros/live/*settings.py")):
        for name, kind in inspect.getmembers(import_module(f"dd_ros.live.{file.stem}"), is_dataclass):
            if isinstance(kind, type) and any("description" in item.metadata for item in fields(kind)):
                found[re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Parameters")).lower()] = kind
    return dict(sorted(found.items(), reverse=True))


def parameters() -> str:
    """The page of the parameters of the nodes and of the arguments of the launch files."""
    parts = [
        "# Parameters\n\nIn a file as [`config/predictor.yaml`](../../config/predictor.yaml), with `-p NAME:=VALUE`, or while the node runs with "
        "`ros2 param set`, except those that are fixed at start. `ros2 param describe /predictor NAME` explains each.\n"
    ]
    parts += [f"## Node {name}\n\n{as_table(kind)}" for name, kind in nodes().items()]
    for file in sorted(ROOT.glob("launch/*.launch.py")):
        rows = "\n".join(f"| `{name}` | {escaped(text)} |" for name, text in launch_arguments(file).items())
        parts.append(f"## ros2 launch dd_ros {file.name}\n\n| argument | meaning |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def launch_arguments(file: Path) -> dict[str, str]:
    """Arguments of a launch file and their meaning, from its dictionaries and declarations, without ROS."""
    found = {}
    tree = ast.parse(file.read_text())
    constants = {
        target.id: node.value.value
        for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets if isinstance(target, ast.Name)
    }  # fmt: skip
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Dict):
            for key, item in zip(value.keys, value.values, strict=True):
                texts = [
                    n.value
                    for n in ast.walk(item)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
                if isinstance(key, ast.Constant) and texts and re.search("[a-z]", texts[-1]):
                    default = f" (default `{texts[0]}`)" if len(texts) > 1 and texts[0] else ""
                    found[str(key.value)] = texts[-1] + default
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument":
            (name,) = node.args
            if isinstance(name, ast.Constant):
                words = {k.arg: k.value for k in node.keywords}
                about = words["description"]
                found[str(name.value)] = str(
                    about.value if isinstance(about, ast.Constant) else constants[about.id]  # type: ignore[attr-defined]
                )
    return found


def interfaces() -> str:
    """The page of our messages and services."""
    parts = [
        "# Messages\n\nThe package `dd_ros_msgs`. Numbers are in SI units and the robot's own; images are rows without padding. In Python, "
        "`dd_ros.ros.messages.video_frames` makes an array of a `PredictedVideo`.\n"
    ]
    for file in sorted([*ROOT.glob("dd_ros_msgs/msg/*.msg"), *ROOT.glob("dd_ros_msgs/srv/*.srv")]):
        parts.append(f"## dd_ros_msgs/{file.parent.name}/{file.stem}\n")
        sections = re.split(r"^---$", file.read_text(), flags=re.MULTILINE)
        for title, section in zip(
            ["Request", "Response"] if len(sections) > 1 else [""], sections, strict=True
        ):
            about, rows = entries(section)
            parts.append(
                (f"**{title}.** " if title else "") + about + "\n\n| field | type | meaning |\n|---|---|---|"
            )
            parts += [f"| `{name}` | `{kind}` | {escaped(text)} |" for kind, name, text in rows]
            parts.append("")
    return "\n".join(parts)


def entries(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """What a section of an interface says of itself, and type, name and meaning of its fields.

    Comments above a field, and behind it, are about the field; a first paragraph of comments is about the whole.
    """
    about, above, rows = "", list[str](), list[tuple[str, str, str]]()
    follows = ""  # a field right under another without a word of its own is part of what was said of that one
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        if code.strip():
            kind, name = code.split()[:2]
            text = " ".join([*above, comment.strip()]).strip()
            rows.append((kind, name, text or (f"see `{follows}`" if follows else "")))
            above, follows = [], follows if follows and not text else name
        elif comment:
            above.append(comment.strip())
        else:
            follows = ""
            if above and not rows and not about:
                about, above = " ".join(above), []
    return about, rows


def checkpoint() -> str:
    """The page of the checkpoint format."""
    from dd_ros.about import About
    from dd_ros.config import CheckpointConfig

    return (
        "# Checkpoint format\n\nA checkpoint is a folder:\n\n| file | holds |\n|---|---|\n"
        "| `config.yaml` | everything needed to rebuild the predictor: below |\n"
        "| `model.safetensors` | the weights of both networks, by name; numbers, no code |\n"
        "| `README.md` | its card: data, training, figures |\n| `about.yaml` | robot, data, licence and figures for programs, if anything: below |\n| `skill.png`, `filmstrip.png` | what the card shows, if anything |\n\n"
        "It is written so that the folder is at any time absent, the old one, or the whole new one. Older formats go on loading "
        "(`dd_ros/upgrades.py`); [what is checked](../security.md#limits) in those of strangers.\n\n"
        + "\n".join([*settings_page(CheckpointConfig, "config.yaml"), *settings_page(About, "about.yaml")])
    )


def recipe() -> str:
    """The page of training recipes."""
    from dd_ros_training.recipe import Recipe

    return (
        "# Training recipe\n\nWhat `--config` of `dd_ros finetune` and `python -m dd_ros_training.train` take: "
        "[how to use one](../finetune.md#more-control). Entries without a default must be there.\n\n"
        + "\n".join(settings_page(Recipe, "recipe.yaml"))
    )


def settings_page(kind: type[BaseModel], title: str, within: str = "") -> Iterator[str]:
    """Tables of the entries of settings, and of those in them; ``within`` is the path of entries that leads there."""
    meanings = attributes(kind)
    about = inspect.cleandoc(kind.__doc__ or "").split("Attributes:")[0].strip()
    yield f"{'###' if within else '##'} {title}\n\n{about}\n"
    yield "| entry | default | meaning |\n|---|---|---|"
    for name, field in kind.model_fields.items():
        yield f"| `{name}` | {default(field)} | {escaped(meanings.get(name, ''))} |"
    yield ""
    for name, field in kind.model_fields.items():
        for inner in settings_in(field.annotation):
            path = f"{within}.{name}" if within else name
            yield from settings_page(inner, f"`{path}`", path)


def default(field: FieldInfo) -> str:
    """The default of an entry, for people."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    return "below" if isinstance(value, BaseModel) else f"`{value!r}`"


def settings_in(annotation: Any) -> list[type[BaseModel]]:
    """Kinds of settings that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in settings_in(part)]


def attributes(kind: type[BaseModel]) -> dict[str, str]:
    """Meanings of entries by the ``Attributes`` of docstrings, those of base classes included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        names: list[str] = []
        for line in text.split("\n\n")[0].splitlines():
            start = re.match(r"    (\w[\w, ]*): (.*)", line)
            if start:
                names = start.group(1).split(", ")
                found |= dict.fromkeys(names, start.group(2))
            else:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found
