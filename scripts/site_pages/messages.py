# SPDX-License-Identifier: Apache-2.0
"""What node and commands can say, read from their source; and whether the troubleshooting pages explain each of it.

A message is a string with three words or more that is no docstring, help text, label or query; a shorter one counts where
it is raised or reported. What stands in its braces is a hole. A page explains it when a line of one of its ``text`` blocks
holds the message, with anything in the holes. There, holes are words in capitals, numbers or ``...``, so that a line says
nothing of its own: each other word of it must come from the code.

``python scripts/site_pages/messages.py`` lists what is not explained, and what no code says.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/troubleshooting"
HOLE = "\0"
# Called with messages, however short these are.
SAY = {
    "InputError", "OtherJointsError", "ValueError", "OSError", "BadParameter", "UsageError", "ClickException", "warn", "note",
    "report", "fail",
}  # fmt: skip
# Called, or given by this keyword, with strings that nobody sees as a message: help, names of parts of figures, queries.
SILENT = {
    "option", "version_option", "parameter", "topic_options", "execute", "Table", "Column", "set", "set_title", "set_ylabel",
    "plot", "fill_between", "legend", "progress", "status", "tile", "filterwarnings", "rows", "AttributeError",
    "_declare", "_text", "_seconds", "_rate", "_flag", "add_argument", "ArgumentParser", "progress_bar",
}  # fmt: skip
KEYWORDS = {"help", "description", "title", "label", "ylabel", "xlabel", "made_by", "card", "name", "metavar"}
# Modules that write figures and reports, whose other strings are of these.
DOCUMENTS = (
    "dd_ros/benchmark/", "dd_ros/demo/report.py", "dd_ros/demo/counterfactuals.py", "dd_ros/evaluation/", "dd_ros/live/soak.py",
    "dd_ros/ros/soak.py", "dd_ros/ros/parameters.py", "dd_ros/view/layout.py", "dd_ros/view/log.py", "training/card.py", "training/experiments/",
)  # fmt: skip
# Other strings that are no messages, by how they begin.
OTHERS = re.compile(
    r"SELECT |File for the figures;|Checkpoint folder, or the name|std_msgs/|builtin_interfaces/|module 'dd_ros' has no attribute|A bag, a folder of bags|rgb8; png"
    r"|`(dd_ros|python)|capacity must be|ssim: expected|One of |last message \(s ago\)|age of first chunk|.* p50/p99 \(ms\)"
    r"|[#|-] |Made by |iterations per plan|commands as executed|the (delayed camera|predicted frame)$|predicted under the plan|, commands in force"
    r"|At \0 moments|predicting held-back|\(as it was done\)"
    r"|Found \.\* in|\.\* does not have|action:$|plan:$|\0 bags, \0 model steps, \0 minutes|the last \0 model steps"
)
# What stands in front of lines, and holes that are joined to something.
FRAME = re.compile(r"^(dd_ros|predictor|\[setup\]):? |\bValue error\b|\bNxN\b|\bNth\b")


class Message(NamedTuple):
    """A string of the source: ``text`` with HOLE where values go, and where it stands."""

    text: str
    place: str

    def is_in(self, line: str) -> bool:
        """Whether a line of a page holds this message, with anything in its holes."""
        place = 0
        for part in self.text.split(HOLE):
            place = line.find(part, place)
            if place < 0:
                return False
            place += len(part)
        return True

    @property
    def shown(self) -> str:
        return self.text.replace(HOLE, "...")


def words(text: str) -> list[str]:
    """Words of a text, with two letters or more."""
    return re.findall(r"[A-Za-z][A-Za-z']+", text)


def sources() -> list[Path]:
    """All files that speak to users."""
    return sorted([*ROOT.glob("dd_ros/**/*.py"), *ROOT.glob("training/**/*.py"), ROOT / "scripts/setup.sh"])


def messages(files: Iterable[Path] | None = None) -> list[Message]:
    """The messages of ``files``, by default of all."""
    found: dict[str, Message] = {}
    for file in sources() if files is None else files:
        for line, text in said(file):
            text = " ".join(text.split())
            if not OTHERS.match(text):
                found.setdefault(text, Message(text, f"{file.relative_to(ROOT)}:{line}"))
    return list(found.values())


def said(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each message of a file."""
    if file.suffix == ".sh":
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            for text in re.findall(r'\b(?:fail|say) "(.*)"$', line):
                yield number, re.sub(r"\$(\w+|\{[^}]*\}|\([^)]*\))", HOLE, text)
        return
    tree = ast.parse(file.read_text())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    document = str(file.relative_to(ROOT)).startswith(DOCUMENTS)
    for node in ast.walk(tree):
        text = template(node)
        if text is None or isinstance(parents[node], ast.Expr | ast.JoinedStr):
            continue
        called, keywords = around(node, parents)
        if called & SILENT or keywords & KEYWORDS:
            continue
        least = 1 if called & SAY else sys.maxsize if document else 3
        if len(words(text)) >= least and " " in text.strip():
            yield node.lineno, text  # type: ignore[attr-defined]


def template(node: ast.AST) -> str | None:
    """A string, plain or formatted, with holes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    return None


def around(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> tuple[set[str], set[str]]:
    """Names of the functions whose argument the node is, within its statement, and of the keywords."""
    called, keywords = set(), set()
    while node in parents and not isinstance(node, ast.stmt):
        inner, node = node, parents[node]
        if isinstance(node, ast.keyword) and node.arg:
            keywords.add(node.arg)
        elif isinstance(node, ast.Call) and inner is not node.func:
            function = node.func
            called.add(function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", ""))
    return called, keywords


class Line(NamedTuple):
    """A message as a page shows it: its text, the page, and the heading it stands under."""

    text: str
    page: Path
    heading: str


def explained(pages: Iterable[Path] | None = None) -> list[Line]:
    """All lines of the ``text`` blocks of the troubleshooting pages."""
    lines = []
    for page in [PAGES.with_suffix(".md"), *sorted(PAGES.glob("*.md"))] if pages is None else pages:
        heading, inside = "", False
        for line in page.read_text().splitlines():
            if line.startswith("```"):
                inside = line == "```text"
            elif inside and line.strip():
                lines.append(Line(line.strip(), page, heading))
            elif line.startswith("#"):
                heading = line.lstrip("# ")
    return lines


def unexplained(found: list[Message], lines: list[Line]) -> list[Message]:
    """Messages that no line holds."""
    return [message for message in found if not any(message.is_in(line.text) for line in lines)]


def unsaid(
    found: list[Message], lines: list[Line], pieces: set[str] | None = None
) -> list[tuple[Line, list[str]]]:
    """Lines with words that no message accounts for, and these words.

    Messages are put together of pieces such as ``behind``, so that words of short strings count as well: ``pieces``.
    """
    pieces = fragments() if pieces is None else pieces
    odd = []
    for line in lines:
        accounted = set(pieces)
        for message in found:
            if message.is_in(line.text):
                accounted |= set(words(message.text))
        left = [
            word for word in words(FRAME.sub(" ", line.text)) if not word.isupper() and word not in accounted
        ]
        if left:
            odd.append((line, left))
    return odd


def fragments() -> set[str]:
    """Words of all strings that are too short for a message."""
    found: set[str] = set()
    for file in sources():
        if file.suffix == ".py":
            texts = [template(node) for node in ast.walk(ast.parse(file.read_text()))]
            found |= {word for text in texts if text and len(words(text)) < 3 for word in words(text)}
    return found


def index() -> str:
    """The page of all messages in the order of the alphabet, each with a link to what explains it."""
    rows = {
        line.text: f"[{line.heading}]({os.path.relpath(line.page, PAGES)}#{anchor(line.heading)})"
        for line in explained()
    }
    table = [f"| `{text}` | {link} |" for text, link in sorted(rows.items(), key=lambda row: row[0].lower())]
    return (
        "# All messages\n\nWords in capitals and `...` stand for what differs. Search this page for a few words of what you saw.\n\n"
        "| message | cause and cure |\n|---|---|\n" + "\n".join(table) + "\n"
    )


def anchor(heading: str) -> str:
    """What mkdocs makes of a heading, to link to."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def main() -> int:
    """Print what pages and code do not agree in."""
    found, lines = messages(), explained()
    missing, odd = unexplained(found, lines), unsaid(found, lines)
    for message in missing:
        print(f"{message.place}: {message.shown}")
    for line, left in odd:
        print(f"{line.page.name}, {line.heading}: no code says {' '.join(left)}: {line.text}")
    print(
        f"{len(found)} messages, {len(missing)} without an explanation; {len(lines)} lines, {len(odd)} that no code says"
    )
    return 1 if missing or odd else 0


if __name__ == "__main__":
    sys.exit(main())
