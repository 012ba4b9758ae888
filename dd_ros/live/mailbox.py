# SPDX-License-Identifier: Apache-2.0
"""The newest few items of a stream, for a consumer slower than its producer."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Keeps the newest ``capacity`` items; older ones are dropped and counted. Thread safe.

    Old frames are worth nothing once newer ones are there, so a producer never waits and a slow
    consumer never works off a queue of the past.
    """

    def __init__(self, capacity: int):
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._items: deque[T] = deque(maxlen=capacity)
        self._changed = threading.Condition()
        self._woken = False
        self._dropped = 0

    def put(self, item: T) -> None:
        """Add an item; a full mailbox drops its oldest."""
        with self._changed:
            self._dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
            self._changed.notify_all()

    def take(self) -> list[T]:
        """All waiting items, oldest first; empty if there are none."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            return items

    def wait(self, timeout: float | None = None) -> bool:
        """Block until there is an item or ``wake`` was called; False if the time (s) ran out."""
        with self._changed:
            ready = self._changed.wait_for(lambda: bool(self._items) or self._woken, timeout)
            self._woken = False
            return ready

    def wake(self) -> None:
        """Let the consumer's current or next ``wait`` return."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget the waiting items without counting them as dropped."""
        with self._changed:
            self._items.clear()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def dropped(self) -> int:
        """Items that were overwritten before anybody took them."""
        return self._dropped
