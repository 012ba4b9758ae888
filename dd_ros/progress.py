# SPDX-License-Identifier: Apache-2.0
"""Progress of long work, on stderr, and only where somebody watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """``items`` one by one, with a bar that shows the time left."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    yield from track(items, description, total=total, console=console, transient=True)
