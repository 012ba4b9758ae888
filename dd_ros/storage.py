# SPDX-License-Identifier: Apache-2.0
"""Files of a rosbag2 recording -> messages. What a cut-off or damaged file still holds is read."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from dd_ros.errors import InputError

FILES = (".mcap", ".db3")


@cache
def standard_types() -> Typestore:
    """Message types every ROS 2 installation has, for bags that do not bring their own."""
    return get_typestore(Stores.ROS2_JAZZY)


@dataclass
class Record:
    """A message as it lies in a bag: topic, type, receive time in ns, bytes and their types."""

    topic: str
    msgtype: str
    received_ns: int
    raw: bytes = field(repr=False)
    types: Typestore = field(repr=False)

    @cached_property
    def msg(self) -> Any:
        """The decoded message; InputError if the bytes are not one."""
        types = self.types if self.msgtype in self.types.types else standard_types()
        try:
            return types.deserialize_cdr(self.raw, self.msgtype)
        except Exception as error:  # bytes may be anything, and the decoder checks little
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{self.topic}: not a decodable {self.msgtype} ({reason})") from error


def storage_files(bag: Path) -> list[Path]:
    """The .mcap or .db3 files of a bag, compressed ones too, in recorded order."""
    files = [bag] if bag.is_file() else folder_of(bag)
    named = [file for file in files if file.suffix in FILES or file.with_suffix("").suffix in FILES]
    return sorted(
        named,
        key=lambda file: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", file.name)],
    )


def folder_of(path: Path) -> list[Path]:
    """What lies in a folder; nothing if it is none."""
    return list(path.iterdir()) if path.is_dir() else []


def records(bag: Path, topics: Sequence[str] | None, problems: list[str]) -> Iterator[Record]:
    """Messages of ``topics`` (None: of all) as long as the bag can be read.

    What is wrong with the bag is appended to ``problems``, one line each; nothing is raised for it.
    """
    try:
        reader = AnyReader([bag], default_typestore=standard_types())
        reader.open()
    except Exception as error:  # the storage libraries raise many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(f"{bag}: not closed properly or damaged ({reason}); read as far as it goes")
        for file in storage_files(bag):
            yield from salvage(file, topics, problems)
        return
    types = reader.typestore
    chosen = [c for c in reader.connections if topics is None or c.topic in topics]
    try:
        for connection, received, raw in reader.messages(chosen) if chosen else ():  # no choice means all
            yield Record(connection.topic, connection.msgtype, received, raw, types)
    except Exception as error:
        problems.append(f"{bag}: damaged in the middle ({error}); read as far as it goes")
    finally:
        with suppress(AnyReaderError):
            reader.close()


def salvage(file: Path, topics: Sequence[str] | None, problems: list[str]) -> Iterator[Record]:
    """Messages of a single storage file without metadata or without its end."""
    reader = {".mcap": mcap_records, ".db3": sqlite_records}.get(file.suffix)
    if reader is None:
        problems.append(f"{file}: compressed file of a bag without metadata; decompress it first")
        return
    try:
        for record in reader(file):
            if topics is None or record.topic in topics:
                yield record
    except Exception as error:
        problems.append(
            f"{file}: cut off or damaged ({type(error).__name__}: {error}); the readable part is used"
        )


def mcap_records(file: Path) -> Iterator[Record]:
    """Messages of an mcap file from its beginning, without its index."""
    types = get_typestore(Stores.EMPTY)
    schemas: dict[int, str] = {}
    channels: dict[int, Channel] = {}
    with file.open("rb") as stream:
        for record in StreamReader(stream).records:
            if isinstance(record, Schema):
                schemas[record.id] = record.name
                with suppress(Exception):  # then the standard types must do
                    types.register(get_types_from_msg(record.data.decode(), record.name))
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                kind = schemas[channel.schema_id]
                yield Record(channel.topic, kind, record.log_time, record.data, types)


def sqlite_records(file: Path) -> Iterator[Record]:
    """Messages of a db3 file in the order of the file."""
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    try:
        connection.execute("PRAGMA writable_schema=ON")  # else SQLite refuses a file shorter than it says
        topics = {
            key: (name, kind) for key, name, kind in connection.execute("SELECT id, name, type FROM topics")
        }
        # Without sorting: a cut-off file can be read until it breaks off.
        for key, received, data in connection.execute("SELECT topic_id, timestamp, data FROM messages"):
            yield Record(*topics[key], received, data, standard_types())
    finally:
        connection.close()
