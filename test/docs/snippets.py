# SPDX-License-Identifier: Apache-2.0
"""Command lines of the documents, and whether they are what the commands take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import click
from site_pages.reference import commands, launch_arguments, nodes

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?:[ ]*<!-- needs: (?P<needs>[\w, ]+) -->\n)?[ ]*(?P<fence>```+)bash\n(?P<text>.*?)^[ ]*(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
SPAN = re.compile(
    r"`((?:\.venv/bin/)?(?:dd_ros|python -m dd_ros[\w.]*|make|ros2 launch dd_ros) [^`]*|dd_ros\w*(?:\.\w+)+ --[^`]*)`"
)
NEEDS = {"robot", "gpu", "hours", "data", "network"}  # what a block that is not run may need
SHELL = {"export", "source", "cd"}


class Line(NamedTuple):
    """A command line of a document, without comment; ``needs`` says why it is not run here, or is empty."""

    text: str
    place: str
    needs: str

    @property
    def argv(self) -> list[str]:
        return shlex.split(self.text)


def pages() -> list[Path]:
    """All documents with commands in them."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("checkpoints/*/README.md")])


def lines() -> Iterator[Line]:
    """The command lines of all ``bash`` blocks."""
    for page in pages():
        text = page.read_text()
        for found in FENCE.finditer(text):
            number = text.count("\n", 0, found.start("text")) + 1
            place = f"{page.relative_to(ROOT)}:{number}"
            for line in re.sub(r"\\\n\s*", "", found["text"]).splitlines():
                for command in commands_in(line):
                    yield Line(command, place, found["needs"] or "")


def commands_in(line: str) -> list[str]:
    """Commands of a line of a shell, without comments and without what is assigned before them."""
    pieces = re.split(r"\s+&&\s+", re.sub(r"(^|\s)#.*$", "", line).strip())
    return [re.sub(r"^(\w+=\S+\s+)+(?=\S)", "", piece) for piece in pieces if piece]


def spans() -> Iterator[Line]:
    """Commands in the middle of text."""
    for page in pages():
        text = FENCE.sub("", page.read_text())
        for found in SPAN.finditer(re.sub(r"[ \n]+", " ", text)):
            command = re.sub(r"^(?=dd_ros\w*\.)", "python -m ", found.group(1))
            yield Line(command, str(page.relative_to(ROOT)), "text")


@cache
def programs() -> dict[str, click.Command]:
    """Our commands, by what is typed."""
    return commands()


def checked(argv: Sequence[str], *, whole: bool) -> bool:
    """Whether a command is one of ours; raises where it is not as we have it.

    Args:
        argv: the command.
        whole: whether all its options must be there and be valid, as they must in a line to copy.

    Raises:
        AssertionError, click.UsageError: it names something that there is not.
    """
    program, *arguments = argv
    program = program.removeprefix(".venv/bin/")
    if program.startswith("python") and arguments[:1] == ["-m"]:
        return module(arguments[1:], whole=whole)
    if program.startswith("python") and arguments and arguments[0].endswith(".py"):
        assert (ROOT / arguments[0]).is_file(), f"no {arguments[0]}"
        return True
    if program == "dd_ros":
        parsed(programs()["dd_ros"], "dd_ros", arguments, whole=whole)
        return True
    if program == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        unknown = {word for word in arguments if "=" not in word} - targets
        assert not unknown, f"make has no target {unknown}"
        return True
    if list(argv[:3]) == ["ros2", "launch", "dd_ros"]:
        names = {word.partition(":=")[0] for word in argv[4:] if word != "..."}
        assert names <= launch_arguments(ROOT / "launch" / argv[3]).keys(), (
            f"{argv[3]} does not take all of {names}"
        )
        return True
    if list(argv[:4]) == ["ros2", "run", "dd_ros", "dd_ros"]:
        return checked(argv[3:], whole=whole)
    if list(argv[:3]) == ["ros2", "run", "dd_ros"]:
        known = {item.name for item in fields(nodes()[argv[3]])}
        given = {argv[i + 1].partition(":=")[0] for i, word in enumerate(argv) if word == "-p"}
        assert given <= known, f"{argv[3]} has no parameter of {given - known}"
        return True
    if program.startswith("scripts/"):
        text = (ROOT / program).read_text()
        assert all(word in text for word in arguments if word.startswith("--")), (
            f"{program} does not know {arguments}"
        )
        return True
    return False


def module(arguments: Sequence[str], *, whole: bool) -> bool:
    """``checked`` for what follows ``python -m``."""
    name, *rest = arguments
    if name == "pytest":
        assert all((ROOT / word).exists() for word in rest if "/" in word), rest
        return True
    if not name.startswith("dd_ros"):
        return False
    command = programs().get(f"python -m {name}")
    if command is None:
        assert find_spec(name), f"no module {name}"
    else:
        parsed(command, name, rest, whole=whole)
    return True


def parsed(command: click.Command, name: str, arguments: list[str], *, whole: bool) -> None:
    """Parse as click does, without running anything; raises click.UsageError."""
    context = click.Context(command, info_name=name)
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(context, arguments[0])
        if found is None:
            raise click.UsageError(f"{name} has no command {arguments[0]}")
        parsed(found, arguments[0], arguments[1:], whole=whole)
    elif whole and "--help" not in arguments:
        with command.make_context(name, list(arguments)):
            pass
    elif not isinstance(command, click.Group):
        try:
            command.make_parser(context).parse_args(list(arguments))
        except click.BadOptionUsage as error:  # one that is named without its value
            if (
                "requires an argument" not in error.format_message()
                and "requires 2" not in error.format_message()
            ):
                raise
