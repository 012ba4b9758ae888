# SPDX-License-Identifier: Apache-2.0
"""Files of a rosbag2 recording -> messages. What a cut-off or damaged file still holds is read.

Files are read one by one, so that a compressed one is the most that is ever unpacked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import zstandard
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys.store import Typestore

from dd_ros.data.recovery import (
    ROS2_ENCODING,
    UnindexedMcap,
    is_whole,
    open_reader,
    read_damaged,
    standard_types,
    types_of,
)
from dd_ros.data.storage import check_counts, foreign, listed_files, unpacked
from dd_ros.errors import InputError, meant
from dd_ros.report import Report

# Types of which a damaged definition may lack what is read of them without asking.
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
HEADER = ("std_msgs/msg/Header", "builtin_interfaces/msg/Time")
MOST_BYTES = 256 * 2**20  # of a message that is compressed by itself
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(kw_only=True)
class Record:
    """A message as it lies in a bag.

    Attributes:
        received_ns: receive time.
        raw: its bytes, not compressed.
        types: the types they are of.
        file: storage file it lies in.
        duplicate_index: how many messages of its topic and receive time come right before it in that file.
    """

    topic: str
    msgtype: str
    received_ns: int
    raw: bytes = field(repr=False)
    types: Typestore = field(repr=False)
    file: Path = field(default=Path(), repr=False)
    duplicate_index: int = field(default=0, repr=False)

    @cached_property
    def msg(self) -> Any:
        """The decoded message; InputError if the bytes are not one."""
        types = self.types if self.msgtype in self.types.types else standard_types()
        if self.msgtype not in types.types:
            raise InputError(
                f"{self.topic}: not a decodable {self.msgtype} (no definition of it in the bag; where its package is "
                "installed, `ros2 bag convert` to mcap adds it)"
            )
        fixed = (self.msgtype,) if self.msgtype in IMAGES else ()
        for name in (*fixed, *(HEADER if "header" in field_names(types, self.msgtype) else ())):
            if field_names(types, name) not in ([], field_names(standard_types(), name)):
                raise InputError(
                    f"{self.topic}: not a decodable {self.msgtype} (the bag's definition of {name} has other fields than "
                    "those of ROS 2: the bag is damaged, or its writer is wrong)"
                )
        try:
            return types.deserialize_cdr(self.raw, self.msgtype)
        except Exception as error:  # bytes may be anything, and the decoder checks little
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{self.topic}: not a decodable {self.msgtype} ({reason})") from error


def field_names(types: Typestore, msgtype: str) -> list[str]:
    """Names of the fields that ``types`` gives a message type, in order; none where it does not know the type."""
    return [field[0] for field in types.fielddefs[msgtype][1]] if msgtype in types.fielddefs else []


def modern(msgtype: str) -> str:
    """Today's name of a message type, of which old recorders left out the middle: ``pkg/msg/Type``."""
    return msgtype.replace("/", "/msg/") if msgtype.count("/") == 1 else msgtype


def records(bag: Path, topics: Sequence[str] | None, problems: Report) -> Iterator[Record]:
    """Messages of ``topics`` (None: of all) as long as the bag can be read.

    What is wrong with the bag is added to ``problems``; nothing is raised for it.
    """
    counts = Counter[str]()
    for file in listed_files(bag, problems):
        last: dict[str, Record] = {}
        for record in file_records(file, topics, problems):
            before = last.get(record.topic)
            if before is not None and before.received_ns == record.received_ns:
                record.duplicate_index = before.duplicate_index + 1
            last[record.topic] = record
            counts[record.topic] += 1
            yield record
    if bag.is_dir():
        check_counts(bag, topics, counts, problems=problems)


def file_records(file: Path, topics: Sequence[str] | None, problems: Report) -> Iterator[Record]:
    """Messages of one storage file, by receive time; of one that cannot be opened in the file's order."""
    try:
        what = foreign(file)
    except OSError as error:
        what = f"cannot be read ({error.strerror})", "make it readable"
    if what is not None:
        problems.add(file, *what)
        return
    with unpacked(file, problems) as plain:
        try:
            reader = open_reader(plain)
        except Exception as error:  # the storage libraries raise many kinds for a damaged file
            reader = None
            if not is_whole(plain):
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                problems.add(file, f"not closed properly or damaged ({reason})", "read as far as it goes")
        if reader is None:
            yield from recover(file, plain, topics, problems=problems)
            return
        types = types_of(
            (
                c.msgtype,
                "ros2idl" if c.msgdef.format == MessageDefinitionFormat.IDL else "ros2msg",
                c.msgdef.data,
            )
            for c in reader.connections
            if c.msgdef.format != MessageDefinitionFormat.NONE
        )
        odd = {str(c.topic): encoding_of(c) for c in reader.connections if encoding_of(c) != ROS2_ENCODING}
        for topic, encoding in odd.items():
            name_foreign(file, encoding, [topic], problems=problems)
        chosen = [
            c for c in reader.connections if (topics is None or c.topic in topics) and c.topic not in odd
        ]
        try:
            for connection, received, raw in reader.messages(chosen) if chosen else ():  # no choice means all
                yield Record(
                    topic=str(connection.topic), msgtype=modern(str(connection.msgtype)), received_ns=int(received),
                    raw=inflated(raw), types=types, file=file,
                )  # fmt: skip
        except Exception as error:
            problems.add(file, f"damaged in the middle ({error})", "read as far as it goes")
        finally:
            with suppress(Exception):
                reader.close()


def encoding_of(connection: Connection) -> str:
    """The encoding of a topic's messages."""
    return str(getattr(connection.ext, "serialization_format", ROS2_ENCODING))


def name_foreign(file: Path, encoding: str, topics: Sequence[str], *, problems: Report) -> None:
    """Say that topics hold messages that are not ROS 2's."""
    bag = "convert the .bag that it was made of with `rosbags-convert --src FILE.bag --dst FOLDER`"
    cure = bag if encoding == "ros1" else "record them with `ros2 bag record`"
    kind = "ROS 1" if encoding == "ros1" else encoding
    problems.add(file, f"{', '.join(topics)}: expected ROS 2 messages (cdr), got {kind} messages", cure)


def recover(file: Path, plain: Path, topics: Sequence[str] | None, *, problems: Report) -> Iterator[Record]:
    """Messages of a storage file that the library does not open; ``plain`` is the file, unpacked."""
    if plain.suffix == ".mcap":
        for encoding, odd in UnindexedMcap(plain).foreign.items():
            name_foreign(file, encoding, odd, problems=problems)
    try:
        for topic, msgtype, received, raw, types in read_damaged(plain):
            if topics is None or topic in topics:
                yield Record(
                    topic=topic,
                    msgtype=modern(msgtype),
                    received_ns=received,
                    raw=inflated(raw),
                    types=types,
                    file=file,
                )
    except Exception as error:
        problems.add(
            file, f"cut off or damaged ({type(error).__name__}: {error})", "the readable part is used"
        )


def inflated(raw: bytes) -> bytes:
    """Bytes of a message, which some recorders compress one by one; no message begins like a zstd frame."""
    if raw[:4] != ZSTD_MAGIC:
        return raw
    with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        whole = stream.read(MOST_BYTES + 1)
    if len(whole) > MOST_BYTES:
        raise ValueError(f"a message of more than {MOST_BYTES >> 20} MiB once unpacked")
    return whole


def no_topic(bag: Path, topic: str, names: Sequence[str], problems: Report) -> InputError:
    """That a bag has no messages of a topic; with the ``names`` of those it has, and what is wrong with it."""
    there = ", ".join(names) or "no messages at all"
    problem = "".join(f" ({line})" for line in problems.lines()[:2])
    return InputError(f"{bag}: no messages of topic {topic}; it holds {there}{meant(topic, names)}{problem}")
