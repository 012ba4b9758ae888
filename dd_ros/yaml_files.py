# SPDX-License-Identifier: Apache-2.0
"""YAML files that may come from anywhere: what they hold, or one line that says what is wrong.

Nothing in a file takes much memory or time: its size, its depth and the length of its numbers have limits, and so has the
number of its values with references (``&`` and ``*``) written out, by which a few lines can stand for gigabytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dd_ros.errors import InputError

MOST_BYTES = 4 << 20
MOST_DEPTH = 32
MOST_VALUES = 200_000
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where it is there


def check_is_file(path: Path) -> None:
    """InputError for a folder, pipe or device, of which reading may have no end; what is missing is for others to say."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: expected a file, got a folder, pipe or device")


def load_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        InputError: it cannot be read, is no YAML, or is beyond the limits; the message names the file.
    """
    check_is_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: expected at most {MOST_BYTES >> 20} MiB of YAML, got more")
    try:
        check_size(content, path)
        return yaml.load(content, Loader)  # a safe loader: it makes no objects
    except InputError:  # a ValueError too
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as a date that is none
        raise InputError(f"{path}: is not YAML ({str(error).splitlines()[0][:100]})") from error


def check_size(content: bytes, path: Path) -> None:
    """InputError where lists and mappings lie in one another too deep, hold too many values, or hold themselves."""
    sizes: dict[str, int] = {}  # values below each anchor, with references written out
    open_nodes: list[tuple[str | None, int]] = []
    for event in yaml.parse(content, Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > MOST_DEPTH:
                raise InputError(f"{path}: expected at most {MOST_DEPTH} levels, got more in line {line}")
            continue
        if isinstance(event, yaml.AliasEvent):
            anchor, size = None, sizes.get(event.anchor or "", 0)
            if not size:
                raise InputError(
                    f"{path}: line {line} refers to *{event.anchor}, which is not known or holds it; write values"
                )
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        else:
            continue
        if anchor:
            sizes[anchor] = size
        if open_nodes:
            before, known = open_nodes[-1]
            open_nodes[-1] = (before, known + size)
            if known + size > MOST_VALUES:
                raise InputError(f"{path}: expected at most {MOST_VALUES} values, got more by line {line}")
