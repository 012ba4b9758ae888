# SPDX-License-Identifier: Apache-2.0
"""Unpacked copies of compressed storage files: made when they are wanted, and bounded in bytes.

Several processes may use one folder: copies appear whole, and one that is removed stays readable to
who has it open.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import zstandard

from dd_ros.data.storage import is_plain, journals, plain_name, unpack

MOST_BYTES = 16 * 2**30  # of all copies together; a single larger one is kept alone


def plain_file(file: Path, folder: Path) -> Path:
    """The storage file itself, or its unpacked copy in ``folder``."""
    if is_plain(file):
        return file
    states = [part.stat() for part in (file, *journals(file))]
    text = f"{file.resolve()} " + " ".join(f"{state.st_size} {state.st_mtime_ns}" for state in states)
    copy = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{plain_name(file.name)}"
    with suppress(FileNotFoundError):
        os.utime(copy)  # the last to be removed
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".{os.getpid()}-{copy.name}"
    try:
        with suppress(zstandard.ZstdError, sqlite3.Error):  # what lies beyond a break was not indexed either
            unpack(file, staging)
        make_room(folder, MOST_BYTES - staging.stat().st_size)
        staging.replace(copy)
    finally:
        staging.unlink(missing_ok=True)
    return copy


def make_room(folder: Path, limit: int) -> None:
    """Remove the copies that were not used for longest until the rest has ``limit`` bytes at most."""
    total = 0
    for _, size, copy in sorted(copies(folder), reverse=True):
        total += size
        if total > limit:
            copy.unlink(missing_ok=True)


def copies(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """(time of last use, bytes, path) of each copy."""
    for copy in folder.iterdir():
        with suppress(FileNotFoundError):  # removed by another process
            state = copy.stat()
            if not copy.name.startswith("."):
                yield state.st_mtime_ns, state.st_size, copy
