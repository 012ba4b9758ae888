# SPDX-License-Identifier: Apache-2.0
"""Random access to a storage file: the messages of one topic in a stretch of time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path

from dd_ros.data.recovery import UnindexedMcap, open_reader, open_sqlite, sqlite_messages, standard_types
from dd_ros.data.rosbag import Record, inflated, modern

OPEN_FILES = 16  # kept open, with their chunk indices, by each process

Messages = Iterator[tuple[str, int, bytes]]  # type, receive time, bytes


def records_between(file: Path, topic: str, *, first_ns: int, last_ns: int) -> Iterator[Record]:
    """Messages of ``topic`` received from ``first_ns`` to ``last_ns``, both included.

    They come in the order, and with the ``duplicate_index``, that ``rosbag.records`` gives them. Whole
    files are read by their index, cut-off ones from a list of their chunks (mcap) or from end to end
    (sqlite3).

    Args:
        file: an unpacked storage file.
        topic: topic of a standard type.
        first_ns, last_ns: receive times, ns.
    """
    read = sqlite_between if file.suffix == ".db3" else mcap_between
    before = None
    for msgtype, received, raw in read(file, topic, first_ns=first_ns, last_ns=last_ns):
        duplicate_index = (
            before.duplicate_index + 1 if before is not None and before.received_ns == received else 0
        )
        before = Record(
            topic=topic, msgtype=modern(msgtype), received_ns=received, raw=inflated(raw), types=standard_types(),
            file=file, duplicate_index=duplicate_index,
        )  # fmt: skip
        yield before


def mcap_between(file: Path, topic: str, *, first_ns: int, last_ns: int) -> Messages:
    # A file that is open is never shared with a forked process: both would move its position.
    return open_mcap(file, file.stat().st_mtime_ns, os.getpid())(topic, first_ns, last_ns)


@lru_cache(maxsize=OPEN_FILES)
def open_mcap(file: Path, _changed: int, _process: int) -> Callable[[str, int, int], Messages]:
    """How to read a stretch of an mcap file; knows where its chunks lie."""
    try:
        reader = open_reader(file)
    except Exception:  # the library raises many kinds for a damaged file
        reader = None
    if reader is None:
        cut = UnindexedMcap(file)
        return lambda topic, first_ns, last_ns: (
            (msgtype, received, raw)
            for name, msgtype, received, raw, _ in cut.messages(first_ns, last_ns)
            if name == topic
        )

    def read(topic: str, first_ns: int, last_ns: int) -> Messages:
        chosen = [connection for connection in reader.connections if connection.topic == topic]
        for connection, received, raw in reader.messages(chosen, first_ns, last_ns + 1):
            yield connection.msgtype, received, raw

    return read


def sqlite_between(file: Path, topic: str, *, first_ns: int, last_ns: int) -> Messages:
    with closing(open_sqlite(file)) as connection:
        try:
            found = connection.execute(
                "SELECT messages.id, type, timestamp FROM messages JOIN topics ON topics.id = topic_id "
                "WHERE name = ? AND timestamp BETWEEN ? AND ? ORDER BY timestamp, messages.id",
                (topic, first_ns, last_ns),
            ).fetchall()
        except sqlite3.DatabaseError:  # it breaks off before its own index
            yield from sqlite_cut(connection, topic, first_ns=first_ns, last_ns=last_ns)
            return
        for key, msgtype, received in found:
            with suppress(sqlite3.DatabaseError):  # beyond the place where it breaks off
                (raw,) = connection.execute("SELECT data FROM messages WHERE id = ?", (key,)).fetchone()
                yield msgtype, received, raw


def sqlite_cut(connection: sqlite3.Connection, topic: str, *, first_ns: int, last_ns: int) -> Messages:
    """The same from end to end, as far as it goes."""
    with suppress(sqlite3.DatabaseError):
        for name, msgtype, received, raw, _ in sqlite_messages(connection, first_ns, last_ns):
            if name == topic:
                yield msgtype, received, raw
