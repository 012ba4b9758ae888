# SPDX-License-Identifier: Apache-2.0
"""Files of a rosbag2 recording -> messages. What a cut-off or damaged file still holds is read.

Files are read one by one, so that a compressed one is the most that is ever unpacked.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
import zstandard
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys.store import Typestore

from dd_ros.data.recovery import read_damaged, standard_types
from dd_ros.errors import InputError
from dd_ros.report import Report

FILES = (".mcap", ".db3")
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


def records(bag: Path, topics: Sequence[str] | None, problems: Report) -> Iterator[Record]:
    """Messages of ``topics`` (None: of all) as long as the bag can be read.

    What is wrong with the bag is added to ``problems``; nothing is raised for it.
    """
    for file in listed_files(bag, problems):
        last: dict[str, Record] = {}
        for record in file_records(file, topics, problems):
            before = last.get(record.topic)
            if before is not None and before.received_ns == record.received_ns:
                record.duplicate_index = before.duplicate_index + 1
            last[record.topic] = record
            yield record


def listed_files(bag: Path, problems: Report) -> list[Path]:
    """Storage files of a bag: those its metadata lists, or else all there are."""
    if bag.is_file():
        return [bag]
    try:
        about = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        named = [bag / Path(name).name for name in about["relative_file_paths"]]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        reason = f"metadata.yaml: {type(error).__name__}"
        problems.add(bag, f"not closed properly or damaged ({reason})", "read as far as it goes")
        return storage_files(bag)
    gone = [file.name for file in named if not file.exists()]
    if gone:
        problems.add(bag, f"{', '.join(gone)} missing", "the other files are used")
    return [file for file in named if file.exists()]


def file_records(file: Path, topics: Sequence[str] | None, problems: Report) -> Iterator[Record]:
    """Messages of one storage file, by receive time; of one that cannot be opened in the file's order."""
    with unpacked(file, problems) as plain:
        try:
            reader = AnyReader([plain], default_typestore=standard_types())
            reader.open()
        except Exception as error:  # the storage libraries raise many kinds for a damaged file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            problems.add(file, f"not closed properly or damaged ({reason})", "read as far as it goes")
            yield from recover(file, plain, topics, problems=problems)
            return
        types = reader.typestore
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        try:
            for connection, received, raw in reader.messages(chosen) if chosen else ():  # no choice means all
                yield Record(
                    topic=connection.topic, msgtype=connection.msgtype, received_ns=received, raw=inflated(raw),
                    types=types, file=file,
                )  # fmt: skip
        except Exception as error:
            problems.add(file, f"damaged in the middle ({error})", "read as far as it goes")
        finally:
            with suppress(AnyReaderError):
                reader.close()


def recover(file: Path, plain: Path, topics: Sequence[str] | None, *, problems: Report) -> Iterator[Record]:
    """Messages of a storage file without its end; ``plain`` is the file, unpacked."""
    try:
        for topic, msgtype, received, raw, types in read_damaged(plain):
            if topics is None or topic in topics:
                yield Record(
                    topic=topic,
                    msgtype=msgtype,
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
    return zstandard.ZstdDecompressor().decompressobj().decompress(raw)


@contextmanager
def unpacked(file: Path, problems: Report) -> Iterator[Path]:
    """The storage file itself, or a temporary copy of a compressed one, as far as it can be unpacked."""
    if file.suffix in FILES:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="dd_ros_") as folder:
        plain = Path(folder) / file.stem
        try:
            unpack(file, plain)
        except (zstandard.ZstdError, OSError) as error:
            problems.add(file, f"cannot be unpacked to its end ({error})", "the readable part is used")
        yield plain


def unpack(file: Path, plain: Path) -> None:
    """Decompress a storage file to ``plain``; raises ZstdError where it breaks off, with what came before written."""
    with file.open("rb") as packed, plain.open("wb") as out:
        shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True), out)
