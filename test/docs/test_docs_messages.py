# SPDX-License-Identifier: Apache-2.0
"""The troubleshooting pages explain every message of the code, and none that there is not."""

from __future__ import annotations

from pathlib import Path

from site_pages import messages
from site_pages.messages import Line, Message, explained, unexplained, unsaid

FOUND, LINES = messages.messages(), explained()


def test_every_message_is_explained() -> None:
    missing = [f"{message.place}: {message.shown}" for message in unexplained(FOUND, LINES)]
    assert not missing, "add a line, with cause and cure, to a page in docs/troubleshooting:\n" + "\n".join(
        missing
    )


def test_every_line_is_said_by_the_code() -> None:
    odd = [f"{line.page.name}: {line.text} ({', '.join(left)})" for line, left in unsaid(FOUND, LINES)]
    assert not odd, "no code says these any more:\n" + "\n".join(odd)


def test_every_explanation_has_text() -> None:
    for page in sorted({line.page for line in LINES}):
        for section in page.read_text().split("\n## ")[1:]:
            heading, _, body = section.partition("\n")
            prose = "".join(body.split("```")[::2]).strip() if "```text" in body else "no message"
            assert prose, f"{page.name}, {heading}: messages without cause and cure"


def test_kinds_of_messages_are_found(tmp_path: Path) -> None:
    source = tmp_path / "code.py"
    source.write_text(
        '"""Docstrings say nothing."""\n'
        "raise InputError(f'{file}: odd colour')\n"
        "problems.report('image size', f'expected {a}, got {b}', kind='no kind')\n"
        "text = 'expected three words' if wrong else 'two words'\n"
        "add_option(help='not said by anything')\n"
        "logger.warn(f'slow: {time}')\n"
    )
    root, messages.ROOT = messages.ROOT, tmp_path
    try:
        found = [message.text for message in messages.messages([source])]
    finally:
        messages.ROOT = root
    hole = messages.HOLE
    said = [
        f"{hole}: odd colour",
        "image size",
        f"expected {hole}, got {hole}",
        "no kind",
        "expected three words",
    ]
    assert sorted(found) == sorted([*said, f"slow: {hole}"])


def test_a_message_that_is_new_or_gone_is_seen() -> None:
    page = Path("page.md")
    lines = [Line("FILE: expected a jpeg, got N bytes", page, "Images")]
    known = Message(f"{messages.HOLE}: expected a jpeg, got {messages.HOLE} bytes", "code.py:1")
    new = Message("expected a png instead", "code.py:2")
    assert unexplained([known, new], lines) == [new]
    assert unsaid([known], lines, set()) == []
    assert unsaid([new], lines, set()) == [(lines[0], ["expected", "jpeg", "got", "bytes"])]
