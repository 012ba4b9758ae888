# SPDX-License-Identifier: Apache-2.0
"""Storage files without their end or index, read from their beginning as far as they go."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

Found = tuple[str, str, int, bytes, Typestore]  # topic, type, receive time, bytes, types


@cache
def standard_types() -> Typestore:
    """Message types every ROS 2 installation has, for bags that do not bring their own."""
    return get_typestore(Stores.ROS2_JAZZY)


def read_damaged(file: Path) -> Iterator[Found]:
    """Messages of a .mcap or .db3 file in the order of the file; raises where it breaks off."""
    if file.suffix == ".mcap":
        cut = UnindexedMcap(file)
        yield from cut.messages(0, 2**63)
        if cut.error is not None:
            raise cut.error
    else:
        with closing(open_sqlite(file)) as connection:
            yield from sqlite_messages(connection)


class UnindexedMcap:
    """An mcap file without its index: where its chunks lie, found by one pass over it.

    Args:
        file: the file; where it breaks off, ``error`` is what came up there.
    """

    def __init__(self, file: Path):
        self.file = file
        self.error: Exception | None = None
        self.types = get_typestore(Stores.EMPTY)
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, Channel] = {}
        self._places: list[tuple[int, int, int]] = []  # first and last receive time, position
        with file.open("rb") as stream:
            records = StreamReader(stream, emit_chunks=True).records
            try:
                position = len(b"\x89MCAP0\r\n")
                for record in records:
                    self._add(record, position)
                    position = stream.tell()
            except Exception as error:  # anything, as the bytes may be anything
                self.error = error

    def _add(self, record: object, position: int) -> None:
        if isinstance(record, Chunk):
            for inner in breakup_chunk(record):
                self._define(inner)
            self._places.append((record.message_start_time, record.message_end_time, position))
        elif isinstance(record, Message):
            self._places.append((record.log_time, record.log_time, position))
        else:
            self._define(record)

    def _define(self, record: object) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record.name
            with suppress(Exception):  # then the standard types must do
                self.types.register(get_types_from_msg(record.data.decode(), record.name))
        elif isinstance(record, Channel):
            self._channels[record.id] = record

    def messages(self, first_ns: int, last_ns: int) -> Iterator[Found]:
        """Messages received from ``first_ns`` to ``last_ns``, in the order of the file."""
        with self.file.open("rb") as stream:
            for start, end, position in self._places:
                if start > last_ns or end < first_ns:
                    continue
                stream.seek(position)
                record = next(StreamReader(stream, skip_magic=True, emit_chunks=True).records)
                for message in breakup_chunk(record) if isinstance(record, Chunk) else [record]:
                    if isinstance(message, Message) and first_ns <= message.log_time <= last_ns:
                        channel = self._channels[message.channel_id]
                        kind = self._schemas[channel.schema_id]
                        yield channel.topic, kind, message.log_time, message.data, self.types


def open_sqlite(file: Path) -> sqlite3.Connection:
    """A connection that only reads; in a folder where SQLite cannot write its locks it takes none."""
    locks = "" if os.access(file.parent, os.W_OK) else "&immutable=1"
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro{locks}", uri=True)
    connection.execute("PRAGMA writable_schema=ON")  # else SQLite refuses a file shorter than it says
    return connection


def sqlite_messages(
    connection: sqlite3.Connection, first_ns: int = 0, last_ns: int = 2**63 - 1
) -> Iterator[Found]:
    """Messages received from ``first_ns`` to ``last_ns``, in the order of the file."""
    topics = {
        key: (name, kind) for key, name, kind in connection.execute("SELECT id, name, type FROM topics")
    }
    # Without sorting or index: a cut-off file can be read until it breaks off.
    query = "SELECT topic_id, timestamp, data FROM messages NOT INDEXED WHERE timestamp BETWEEN ? AND ?"
    for key, received, data in connection.execute(query, (first_ns, last_ns)):
        yield *topics[key], received, data, standard_types()
