# SPDX-License-Identifier: Apache-2.0
"""Figures as JSON, in a file or on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from dd_ros.errors import InputError

STDOUT = Path("-")


def write_json(path: str | Path | None, result: dict[str, Any]) -> None:
    """Write ``result``, making the folder; nothing where ``path`` is None; InputError where that is impossible."""
    if path is None:
        return
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text_of(result))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); choose another path") from error


def reported(json_path: Path | None, run: Callable[[Path | None], dict[str, Any]]) -> dict[str, Any]:
    """What ``run`` finds out, as JSON where the user wants it.

    Args:
        json_path: a file, ``-`` for stdout, or None for nowhere. Where it is stdout, nothing else is printed there: what
            ``run`` says to people goes to stderr.
        run: gets the file to write, or None; returns the figures, nothing where another process reports them.
    """
    if json_path != STDOUT:
        return run(json_path)
    with redirect_stdout(sys.stderr):
        result = run(None)
    if result:
        sys.stdout.write(text_of(result))
    return result


def text_of(result: dict[str, Any]) -> str:
    """As the file holds it."""
    return json.dumps(result, indent=1, allow_nan=False) + "\n"
