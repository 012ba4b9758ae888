# SPDX-License-Identifier: Apache-2.0
"""The files of a rosbag2 recording: which there are, beside what its metadata says, and plain copies of them."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import zstandard

from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.yaml_files import load_yaml

FILES = (".mcap", ".db3")
METADATA = "metadata.yaml"
# What SQLite keeps beside a database that was not closed: the newest messages, or what undoes half a change.
JOURNALS = ("-wal", "-journal")
# Beginnings of files that are not what their names say -> what they are, what to do.
FOREIGN = {
    b"version https://git-lfs": ("is a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"),
    b"#ROSBAG V": ("is a ROS 1 bag", "convert it with `rosbags-convert --src FILE.bag --dst FOLDER`"),
    b"<!DOCTYPE": ("is a web page, not the recording", "download the file itself"),
    b"<html": ("is a web page, not the recording", "download the file itself"),
    b"\x1f\x8b": ("is packed with gzip", "unpack it with `gunzip FILE`"),
    b"BZh": ("is packed with bzip2", "unpack it with `bunzip2 FILE`"),
    b"\xfd7zXZ": ("is packed with xz", "unpack it with `unxz FILE`"),
    b"\x04\x22\x4d\x18": ("is packed with lz4", "unpack it with `lz4 -d FILE`"),
    b"PK\x03\x04": ("is a zip archive", "unpack it with `unzip FILE`"),
}
# Beginnings of what is read, where the name says the other one.
CONTENTS = {b"\x89MCAP": ".mcap", b"SQLite format 3": ".db3"}
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z")


def folder_of(path: Path) -> list[Path]:
    """What lies in a folder; nothing if it is none."""
    return list(path.iterdir()) if path.is_dir() else []


def storage_files(bag: Path) -> list[Path]:
    """The .mcap or .db3 files of a bag, in recorded order; a compressed one only where it is not there unpacked."""
    files = [bag] if bag.is_file() else folder_of(bag)
    named = {file for file in files if file.suffix in FILES or file.with_suffix("").suffix in FILES}
    named -= {file for file in named if file.suffix not in FILES and file.with_suffix("") in named}
    return sorted(
        (file for file in named if not file.name.startswith(".") and file.suffix not in (".part", ".tmp")),
        key=lambda file: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", file.name)],
    )


def metadata(bag: Path) -> dict[str, Any]:
    """What metadata.yaml says of a recording; raises METADATA_ERRORS."""
    about = load_yaml(bag / METADATA)["rosbag2_bagfile_information"]
    return {**about, "relative_file_paths": [Path(name).name for name in about["relative_file_paths"]]}


METADATA_ERRORS = (InputError, ValueError, TypeError, KeyError)


def listed_files(bag: Path, problems: Report) -> list[Path]:
    """Storage files of a bag: those its metadata lists, or what stands for them; without metadata all there are."""
    there = storage_files(bag)
    if bag.is_file():
        return [bag]
    if not (bag / METADATA).exists():
        problems.add(
            bag, f"has no {METADATA}: not closed by its recorder, or copied without", "all files are read"
        )
        return there
    try:
        names = metadata(bag)["relative_file_paths"]
    except METADATA_ERRORS as error:
        why = str(error).removeprefix(f"{bag / METADATA}: ") if isinstance(error, InputError) else ""
        problems.add(
            bag,
            f"not closed properly or damaged ({METADATA}: {why or type(error).__name__})",
            "read as far as it goes",
        )
        return there
    if not names and there:
        problems.add(bag, f"{METADATA} lists no files", "all files are read")
        return there
    stems = {plain_name(file.name): file for file in there}
    listed = list(dict.fromkeys(stems[plain_name(name)] for name in names if plain_name(name) in stems))
    gone = [name for name in names if plain_name(name) not in stems]
    others = [file for file in there if file not in listed]
    if gone and len(gone) == len(others):
        problems.add(
            bag, f"{METADATA} names {', '.join(gone)}, there is {named(others)}", "taken for the same"
        )
        return [file for file in there if file in listed or file in others]
    if gone:
        problems.add(bag, f"{', '.join(gone)} missing", "the other files are used")
    if others:
        problems.add(
            bag,
            f"{METADATA} does not list {named(others)}",
            "left out; move what is another recording to a folder of its own, or run `ros2 bag reindex`",
        )
    return listed


def plain_name(name: str) -> str:
    """Name of a storage file once it is unpacked."""
    path = Path(name)
    return path.name if path.suffix in FILES else path.stem


def named(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)


def check_counts(
    bag: Path, topics: Sequence[str] | None, counts: dict[str, int], *, problems: Report
) -> None:
    """Say where a bag holds another number of messages than its metadata says."""
    try:
        entries = metadata(bag)["topics_with_message_count"]
        said = {entry["topic_metadata"]["name"]: int(entry["message_count"]) for entry in entries}
    except METADATA_ERRORS:
        return  # named already
    for topic, count in said.items():
        found = counts.get(topic, 0)
        if (topics is None or topic in topics) and found != count:
            problems.add(
                f"{bag} {topic}",
                f"expected {count} messages as {METADATA} says, got {found}",
                "those are used",
            )


def foreign(file: Path) -> tuple[str, str] | None:
    """What a file is instead of a storage file, and what to do; None if it may be one."""
    if file.is_symlink() and not file.exists():
        return "is a link to a file that is not here", "fetch it, as with `git annex get` or `dvc pull`"
    if not file.is_file():
        return "is no file but a folder, pipe or device", "copy the recording itself"
    with file.open("rb") as stream:
        start = stream.read(64)
    if not start:
        return "is empty", "copy it again"
    for magic, suffix in CONTENTS.items():
        if start.startswith(magic) and file.suffix in FILES and file.suffix != suffix:
            return f"is a {suffix} file by its content", f"rename it to end in {suffix}"
    return next((what for magic, what in FOREIGN.items() if start.startswith(magic)), None)


def journals(file: Path) -> list[Path]:
    """Files beside a database that hold a part of it."""
    beside = [file.with_name(file.name + ending) for ending in JOURNALS] if file.suffix == ".db3" else []
    return [journal for journal in beside if journal.is_file() and journal.stat().st_size]


def is_plain(file: Path) -> bool:
    """Whether a storage file can be read as it lies there."""
    return file.suffix in FILES and not journals(file)


@contextmanager
def unpacked(file: Path, problems: Report) -> Iterator[Path]:
    """The storage file itself, or a temporary copy of one that is compressed or not closed, as far as that goes."""
    if is_plain(file):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="dd_ros_") as folder:
        plain = Path(folder) / plain_name(file.name)
        try:
            unpack(file, plain)
        except (zstandard.ZstdError, OSError, sqlite3.Error) as error:
            problems.add(file, f"cannot be unpacked to its end ({error})", "the readable part is used")
        yield plain


def unpack(file: Path, plain: Path) -> None:
    """Write a plain copy of a storage file to ``plain``: decompressed, or with its journals worked in.

    Raises:
        ZstdError, sqlite3.Error: it breaks off; what came before is written.
    """
    if file.suffix in FILES:
        shutil.copyfile(file, plain)
        beside = [
            plain.with_name(plain.name + journal.name.removeprefix(file.name)) for journal in journals(file)
        ]
        for journal, copy in zip(journals(file), beside, strict=True):
            shutil.copyfile(journal, copy)
        try:
            with closing(sqlite3.connect(plain)) as connection:
                connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        finally:
            for copy in beside:
                copy.unlink(missing_ok=True)
        return
    with file.open("rb") as packed, plain.open("wb") as out:
        shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True), out)
