# SPDX-License-Identifier: Apache-2.0
"""Storage files that the library does not open: without end or index, or whole but with something odd in them.

They are read from their beginning as far as they go.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from mcap.records import Channel, Chunk, Header, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces.typing import Typesdict
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

Found = tuple[str, str, int, bytes, Typestore]  # topic, type, receive time, bytes, types
Definition = tuple[str, str, str]  # type, language of the text (ros2msg or ros2idl), text
ROS2_ENCODING = "cdr"
# Packets of a video, whose packages few installations have; a sqlite3 file brings no definitions.
VIDEO_DEFINITIONS = {
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "std_msgs/Header header\nint32 width\nint32 height\n"
    "string encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\nuint8[] data",
    "foxglove_msgs/msg/CompressedVideo": "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
}


@cache
def standard_types() -> Typestore:
    """Message types every ROS 2 installation has, and those of videos, for bags that do not bring their own."""
    types = get_typestore(Stores.ROS2_JAZZY)
    for name, text in VIDEO_DEFINITIONS.items():
        types.register(get_types_from_msg(text, name))
    return types


def types_of(definitions: Iterable[Definition]) -> Typestore:
    """The types defined in a file; a definition that cannot be read is left out: few topics are ever wanted."""
    types, found = get_typestore(Stores.EMPTY), []
    for name, language, text in definitions:
        if not text.strip():
            continue  # no definition at all
        with suppress(Exception):  # the parser raises many kinds
            found.append(
                get_types_from_idl_file(text) if "idl" in language else get_types_from_msg(text, name)
            )
    try:
        types.register({name: fields for each in found for name, fields in each.items()})
    except Exception:  # two definitions of one type: the first counts
        for each in found:
            with suppress(Exception):
                types.register(each)
    return types


def get_types_from_idl_file(text: str) -> Typesdict:
    """Types of one or several IDL files, as recorders join them."""
    line, types = "=" * 80 + "\n", {}
    if not text.startswith(f"{line}IDL: "):
        return get_types_from_idl(text)
    for part in text.split(line)[1:]:
        types.update(get_types_from_idl(part.partition("\n")[2]))
    return types


def open_reader(file: Path) -> Reader | None:
    """The library's reader of a storage file, open; None for a file that it cannot read as it is.

    Raises:
        Exception: of many kinds, for a damaged file.
    """
    reader = Reader(file)
    reader.open()
    if file.suffix == ".mcap" and not getattr(reader.storage, "chunks", True):
        reader.close()  # it demands that messages without chunks are in order, which nobody promised
        return None
    return reader


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


def is_whole(file: Path) -> bool:
    """Whether a .mcap or .db3 file can be read from its beginning to its end."""
    if file.suffix == ".mcap":
        return UnindexedMcap(file).error is None
    try:
        with closing(open_sqlite(file)) as connection:
            connection.execute(
                "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM messages)"
            ).fetchone()
            return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.Error:
        return False


class UnindexedMcap:
    """An mcap file without its index: where its chunks lie, found by one pass over it.

    Args:
        file: the file; where it breaks off, ``error`` is what came up there.
    """

    def __init__(self, file: Path):
        self.file = file
        self.error: Exception | None = None
        self.profile = ""
        self._definitions: dict[int, Definition] = {}
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
        if self.error is None:  # whole: by time, as the library gives it
            self._places.sort(key=lambda place: place[0])
        self.types = types_of(self._definitions.values())

    @property
    def foreign(self) -> dict[str, list[str]]:
        """Encodings other than ROS 2's -> topics whose messages are in them."""
        found: dict[str, list[str]] = {}
        for channel in self._channels.values():
            if channel.message_encoding != ROS2_ENCODING:
                found.setdefault(channel.message_encoding, []).append(channel.topic)
        return found

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
        if isinstance(record, Header):
            self.profile = record.profile
        elif isinstance(record, Schema):
            text = record.data.decode(errors="replace")
            self._definitions[record.id] = (record.name, record.encoding, text)
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
                inside = breakup_chunk(record) if isinstance(record, Chunk) else [record]
                found = [message for message in inside if isinstance(message, Message)]
                for message in sorted(found, key=lambda item: item.log_time) if not self.error else found:
                    channel = self._channels[message.channel_id]
                    if (
                        channel.message_encoding != ROS2_ENCODING
                        or not first_ns <= message.log_time <= last_ns
                    ):
                        continue
                    kind, *_ = self._definitions[channel.schema_id]
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
        key: (str(name), str(kind))
        for key, name, kind in connection.execute("SELECT id, name, type FROM topics")
    }
    types = types_of(sqlite_definitions(connection))
    # Without sorting or index: a cut-off file can be read until it breaks off.
    query = "SELECT topic_id, timestamp, data FROM messages NOT INDEXED WHERE timestamp BETWEEN ? AND ?"
    for key, received, data in connection.execute(query, (first_ns, last_ns)):
        yield *topics[key], int(received), data, types


def sqlite_definitions(connection: sqlite3.Connection) -> list[Definition]:
    """The types defined in a file; Humble's recorder defines none."""
    try:
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        return connection.execute(query).fetchall()
    except sqlite3.DatabaseError:
        return []
