# SPDX-License-Identifier: Apache-2.0
"""YAML files that may come from anywhere: what they hold, or one line that says what is wrong.

Nothing in a file takes much memory or time: its size, its depth and the length of its numbers have limits, and
references (``&`` and ``*``), by which a few lines can stand for gigabytes, are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dd_ros.errors import InputError

MOST_BYTES = 4 << 20
MOST_DEPTH = 32
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where it is there


def load_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        InputError: it cannot be read, is no YAML, or is beyond the limits; the message names the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: expected at most {MOST_BYTES >> 20} MiB of YAML, got more")
    try:
        check_depth(content, path)
        return yaml.load(content, Loader)  # a safe loader: it makes no objects
    except InputError:  # a ValueError too
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as a date that is none
        raise InputError(f"{path}: is not YAML ({str(error).splitlines()[0][:100]})") from error


def check_depth(content: bytes, path: Path) -> None:
    """InputError where lists and mappings lie in one another too deep, or refer to one another."""
    depth = 0
    for event in yaml.parse(content, Loader):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(
                f"{path}: expected values, got the reference *{event.anchor}; write its value instead"
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InputError(f"{path}: expected at most {MOST_DEPTH} levels, got more in line {line}")
