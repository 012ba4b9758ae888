# SPDX-License-Identifier: Apache-2.0
"""Where a recording goes: to rerun's window, to a page for browsers, or into a file."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from dd_ros.console import from_checkout
from dd_ros.errors import InputError

NAME = "dd_ros"
MEMORY_LIMIT, PORT = "1GB", 9090
# What is logged within this time (s) goes out together, which saves bytes and costs that much delay.
SHOWN_TOGETHER, WRITTEN_TOGETHER = 0.2, 2.0


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Where a recording goes.

    Attributes:
        web: a page for browsers, even where there is a screen.
        save: a file (.rrd) instead of a window or a page.
        memory_limit: of the window, or of the page's server: a number with a unit, such as ``500MB``, or a share such as
            ``10%``; beyond it the oldest is dropped. A file has none.
        port: of the page; its data take the next one. The window takes data at that one, too.
    """

    web: bool = False
    save: Path | None = None
    memory_limit: str = MEMORY_LIMIT
    port: int = PORT

    @property
    def is_page(self) -> bool:
        """Whether it is a page for browsers, which is gone with this process."""
        return self.save is None and (self.web or not has_screen())

    @property
    def where(self) -> str:
        """What to tell people who want to look."""
        if self.save is not None:
            return f"view: writing {self.save}; open it with: rerun {self.save}"
        return f"view: open {self.address}" if self.is_page else "view: rerun opens a window"

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://localhost:{self.port}/?url=rerun%2Bhttp://localhost:{self.port + 1}/proxy"

    def check(self) -> None:
        """InputError where rerun is not installed, or a setting, the file or a port cannot be used."""
        if find_spec("rerun") is None:
            raise InputError(f"rerun: not installed, the view needs it; {from_checkout('view')}")
        if not re.fullmatch(r"\d+(\.\d+)?([kKMGT]i?B|B|%)", self.memory_limit):
            raise InputError(
                f"memory limit: expected a number with a unit or a share, such as 500MB or 10%, got {self.memory_limit!r}"
            )
        if self.save is not None and self.save.suffix != ".rrd":
            raise InputError(f"{self.save}: expected a name ending in .rrd")
        for port in (self.port, self.port + 1) if self.is_page else ():
            if not is_free(port):
                raise InputError(
                    f"port {port}: expected one that nobody listens on, choose another with --port"
                )


def has_screen() -> bool:
    """Whether a window can be opened here."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@contextmanager
def opened(sink: Sink) -> Iterator[Any]:
    """A new recording, a ``rerun.RecordingStream`` that goes to ``sink``; complete when it is closed.

    Raises:
        InputError: as ``Sink.check``, or rerun cannot open it.
    """
    sink.check()
    import rerun

    batches = rerun.ChunkBatcherConfig.DEFAULT()
    batches.flush_tick = SHOWN_TOGETHER if sink.save is None else WRITTEN_TOGETHER
    recording = rerun.RecordingStream(NAME, recording_id=uuid4(), batcher_config=batches)
    try:
        _connect(rerun, recording, sink)
    except (RuntimeError, OSError) as error:
        raise InputError(f"view: cannot be opened ({' '.join(str(error).split())})") from error
    print(sink.where, flush=True)
    try:
        yield recording
    finally:
        recording.disconnect()  # waits until all is written


def _connect(rerun: Any, recording: Any, sink: Sink) -> None:
    if sink.save is not None:
        sink.save.parent.mkdir(parents=True, exist_ok=True)
        recording.save(sink.save)
    elif sink.is_page:
        data = recording.serve_grpc(grpc_port=sink.port + 1, server_memory_limit=sink.memory_limit)
        rerun.serve_web_viewer(web_port=sink.port, open_browser=has_screen(), connect_to=data)
    else:
        recording.spawn(port=sink.port + 1, memory_limit=sink.memory_limit)
