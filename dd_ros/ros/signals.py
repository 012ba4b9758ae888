# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end our programs in order, whenever they come; imports nothing that takes long.

Three times in a program's life, three answers: while it imports (torch and rclpy take seconds) nothing is open yet and
it leaves at once; while it runs the signal is noted, and whoever runs it stops at the end of the step under way; while
the interpreter is torn down signals no longer count. Only in the first hundredth of a second, before Python has read a
line of ours, does a signal still kill.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Whether a signal asked the program to end.

    A plain flag: a signal's handler runs between any two lines of the main thread, which may hold an Event's lock.
    """

    asked = False


def leave_at_once_when_signalled() -> None:
    """For the time of the imports: a signal ends the process with status 0 on the spot."""
    for number in SIGNALS:
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)


@contextmanager
def noted() -> Iterator[Ending]:
    """Signals are noted, nothing more, as often as they come.

    Afterwards what was before holds again; in a program that is about to end they are ignored. Without effect outside
    of the main thread, where signals never arrive.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return

    def note(number: int, frame: FrameType | None) -> None:
        ending.asked = True

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if handler is _leave else handler)


def leave(status: int) -> NoReturn:
    """End the process now: all is closed, and taking an interpreter with torch apart takes up to seconds more."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)
