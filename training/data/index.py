# SPDX-License-Identifier: Apache-2.0
"""The index of a bag: time lines, actions, and where each image lies. No pixels.

An index is built once and kept in a work folder, a folder per bag: ``steps.npy`` with a row for
each model step, and ``index.json``. Images are read from the bag itself when they are wanted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dd_ros.data import lerobot
from dd_ros.data.bags import SizeWatch, read_runs
from dd_ros.data.images import decode_rgb
from dd_ros.data.random_access import records_between
from dd_ros.data.rosbag import Record
from dd_ros.data.steps import Episode, Step, part_name
from dd_ros.data.storage import journals, storage_files
from dd_ros.data.video import VideoRecord, images_of
from dd_ros.errors import InputError
from dd_ros.progress import progress
from dd_ros.report import Entry, Report
from dd_ros.streams import StreamSpec
from dd_ros_training.data.unpacked import plain_file

FOREVER = 2**62  # a receive time after all others, ns
VERSION = 3  # of the rules by which an index is made


class TrainingEpisode(Protocol):
    """What training needs of an episode, wherever it comes from: length, actions, images of some steps."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    @property
    def actions(self) -> NDArray[np.float32]:
        """float32 [T, A], the command in force at each model step."""
        ...

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8 RGB [stop - start, H, W, 3], images of the model steps ``start`` to ``stop``."""
        ...

    def clip(self, start: int, stop: int) -> Episode:
        """The model steps ``start`` to ``stop``, decoded now."""
        ...

    def part(self, start: int, stop: int) -> TrainingEpisode:
        """The model steps ``start`` to ``stop`` as an episode of their own."""
        ...


def split_validation(
    episodes: Sequence[TrainingEpisode], clip_frames: int
) -> tuple[list[TrainingEpisode], list[TrainingEpisode]]:
    """Training and validation parts of one recording: its last sixth, a clip at least, is for validation.

    Where that leaves one of them without a clip the whole is both.
    """
    left = max(sum(map(len, episodes)) // 6, clip_frames)
    train, validation = list(episodes), list[TrainingEpisode]()
    while train and left > 0:
        episode = train.pop()
        border = max(0, len(episode) - left)
        left -= len(episode) - border
        validation.insert(0, episode.part(border, len(episode)) if border else episode)
        if border:
            train.append(episode.part(0, border))
    if all(any(len(episode) >= clip_frames for episode in part) for part in (train, validation)):
        return train, validation
    return list(episodes), list(episodes)


class RecordLocation(NamedTuple):
    """Where the image record of a model step lies.

    Attributes:
        file: number of the storage file.
        received: receive time, ns.
        duplicate_index: how many of the topic come right before it at that time.
        key_file, key_received: the same of the packet of a video from which on it must be decoded; file -1 for an
            image that stands alone.
    """

    file: int
    received: int
    duplicate_index: int
    key_file: int = -1
    key_received: int = 0


@dataclass(frozen=True)
class BagEpisode:
    """Consecutive model steps of a bag; a TrainingEpisode.

    Attributes:
        bag: the indexed bag.
        name: where it comes from.
        first, last: its rows in the index.
    """

    bag: IndexedBag
    name: str
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def stamps(self) -> NDArray[np.int64]:
        """int64 [T], ns; a repeated image has the stamp it stands for."""
        return self.bag.rows(self.first, self.last)["stamp"]

    @property
    def actions(self) -> NDArray[np.float32]:
        return self.bag.rows(self.first, self.last)["action"]

    def clip(self, start: int, stop: int) -> Episode:
        """The model steps ``start`` to ``stop``, decoded now."""
        rows = self.bag.rows(self.first + start, self.first + stop)
        return Episode(self.frames(start, stop), rows["action"], rows["stamp"], self.name)

    def part(self, start: int, stop: int) -> BagEpisode:
        """The model steps ``start`` to ``stop`` as an episode of their own."""
        return BagEpisode(self.bag, f"{self.name}[{start}:{stop}]", self.first + start, self.first + stop)

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """uint8 RGB [stop - start, H, W, 3], decoded now.

        Raises:
            InputError: the bag is no longer what it was when it was indexed.
        """
        rows = self.bag.rows(self.first + start, self.first + stop)
        places = [RecordLocation(*map(int, row)) for row in rows[list(RecordLocation._fields)]]
        images = self.bag.images(places)
        return np.stack([images[place] for place in places])


@dataclass(frozen=True)
class IndexedBag:
    """A bag and its index.

    Attributes:
        folder: holds the index.
        files: storage files of the bag.
        spec: the streams it was indexed for.
        problems: what could not be used.
    """

    folder: Path
    files: tuple[Path, ...]
    spec: StreamSpec
    problems: tuple[Entry, ...]

    def rows(self, first: int, last: int) -> NDArray[np.void]:
        """Rows of the index, copied; see ``row_type``."""
        return np.load(self.folder / "steps.npy", mmap_mode="r")[first:last].copy()

    def images(self, places: Sequence[RecordLocation]) -> dict[RecordLocation, NDArray[np.uint8]]:
        """Images at ``places`` (uint8 RGB [H, W, 3]); one that does not decode after all repeats its neighbour."""
        found: dict[RecordLocation, NDArray[np.uint8]] = {}
        for wanted in together(places):
            decoded = self._decode(wanted, ())
            if len(decoded) < len(wanted) and any(place.key_file >= 0 for place in wanted):
                decoded |= self._decode(wanted, self._records((0, 0), (len(self.files) - 1, FOREVER)))
            found |= decoded
        last = next((found[place] for place in places if place in found), None)
        if last is None:
            raise InputError(f"{self.files[places[0].file]}: changed since it was indexed; start again")
        for place in places:
            last = found.setdefault(place, last)
        return found

    def _decode(
        self, wanted: set[RecordLocation], beginning: Iterable[Record]
    ) -> dict[RecordLocation, NDArray[np.uint8]]:
        """Those of the images ``wanted`` that decode; ``beginning`` as in ``video.images_of``."""
        first = min((p.key_file, p.key_received) if p.key_file >= 0 else p[:2] for p in wanted)
        between = self._records(first, max(p[:2] for p in wanted))
        at = {place[:3]: place for place in wanted}
        found: dict[RecordLocation, NDArray[np.uint8]] = {}
        for _, record in images_of(between, source=str(self.files[first[0]]), beginning=beginning):
            place = at.get((self.files.index(record.file), record.received_ns, record.duplicate_index))
            if place is not None:
                with suppress(InputError):  # the neighbour stands in
                    found[place] = decode_rgb(record.msg, self.spec.width, self.spec.height)
        return found

    def _records(self, first: tuple[int, int], last: tuple[int, int]) -> Iterator[Record]:
        """Messages of the camera from one (file, receive time) to another, both included."""
        for number in range(first[0], last[0] + 1):
            file = plain_file(self.files[number], self.folder.parent / "unpacked")
            begin, end = first[1] if number == first[0] else 0, last[1] if number == last[0] else FOREVER
            for record in records_between(file, self.spec.image_topic, first_ns=begin, last_ns=end):
                yield replace(record, file=self.files[number])


def together(places: Sequence[RecordLocation]) -> list[set[RecordLocation]]:
    """Places in groups that are read in one go: those of a file, or those of a video from one key frame on."""
    groups: dict[tuple[int, int, int], set[RecordLocation]] = {}
    for place in places:
        alone = place.key_file < 0
        group = (-1, place.file, 0) if alone else (0, place.key_file, place.key_received)
        groups.setdefault(group, set()).add(place)
    return [groups[group] for group in sorted(groups)]


def index_bags(
    bags: Sequence[Path], spec: StreamSpec, cache: Path, *, problems: Report | None = None
) -> list[TrainingEpisode]:
    """Episodes of all usable ``bags``, indexed under ``cache``; LeRobot data sets have an index of their own.

    Args:
        problems: takes everything that could not be used, whole bags too.
    """
    problems = Report() if problems is None else problems
    episodes: list[TrainingEpisode] = []
    for bag in progress(bags, "looking through bags"):
        if lerobot.set_of(bag):
            episodes += lerobot.index_bag(bag, spec, problems)
            continue
        indexed, found = index_bag(bag, spec, cache)
        problems.update(Report(indexed.problems))
        episodes += found
    return episodes


def index_bag(bag: Path, spec: StreamSpec, cache: Path) -> tuple[IndexedBag, list[BagEpisode]]:
    """The index of one bag, kept under ``cache`` until bag or settings change, and its episodes.

    A bag that cannot be used has no episodes, and its problems say why.

    Raises:
        InputError: ``cache`` cannot be written.
    """
    files = storage_files(bag)
    folder = cache / f"{bag.stem}-{key(bag, files, spec)}"
    if not folder.exists():
        try:
            build(bag, files, spec, folder=folder)
        except OSError as error:
            raise InputError(f"{cache}: cannot be written ({error.strerror}); make room there") from error
    about = json.loads((folder / "index.json").read_text())
    indexed = IndexedBag(folder, tuple(files), spec, tuple(Entry(*entry) for entry in about["problems"]))
    bounds = np.concatenate([[0], np.cumsum(about["lengths"], dtype=int)]).tolist()
    return indexed, [
        BagEpisode(indexed, part_name(bag.stem, index), first, last)
        for index, (first, last) in enumerate(pairwise(bounds))
    ]


def key(bag: Path, files: Sequence[Path], spec: StreamSpec) -> str:
    """Changes with the bag's path and files, with what is made of them, and with the names of its rows' fields."""
    parts = [part for file in files for part in (file, *journals(file))]
    states = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    text = f"{VERSION} {row_type(1).names} {bag.resolve()} {states} {spec.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(bag: Path, files: Sequence[Path], spec: StreamSpec, *, folder: Path) -> None:
    """Write the index of a bag, whole or not at all."""
    problems = Report()
    try:
        runs = read_runs(bag, spec, problems, keep=place_in(bag, files, spec, problems=problems))
    except InputError as error:
        runs = []
        problems.add(bag, error, "left out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        np.save(staging / "steps.npy", rows_of(runs))
        about = {"bag": str(bag), "lengths": [len(run) for run in runs], "problems": problems.entries}
        (staging / "index.json").write_text(json.dumps(about))
        os.replace(staging, folder)
    except OSError:
        if not folder.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def place_in(
    bag: Path, files: Sequence[Path], spec: StreamSpec, *, problems: Report
) -> Callable[[Record], RecordLocation]:
    """What the index keeps of an image record: its place; InputError if the image does not decode."""
    numbers = {file: number for number, file in enumerate(files)}
    sizes = SizeWatch(bag, spec, problems)

    def place(record: Record) -> RecordLocation:
        decode_rgb(record.msg, 1, 1)  # whether it decodes, at little cost
        sizes.look(record.msg)
        place = RecordLocation(numbers[record.file], record.received_ns, record.duplicate_index)
        key = record.key if isinstance(record, VideoRecord) else None
        return place._replace(key_file=numbers[key[0]], key_received=key[1]) if key else place

    return place


def row_type(action_dim: int) -> np.dtype:
    """A model step in an index: its stamp in ns, where its image lies (see ``RecordLocation``), its action."""
    return np.dtype(
        [
            ("stamp", "i8"),
            ("received", "i8"),
            ("key_received", "i8"),
            ("file", "i4"),
            ("key_file", "i4"),
            ("duplicate_index", "i4"),
            ("action", "f4", (action_dim,)),
        ]
    )


def rows_of(runs: Sequence[Sequence[Step[RecordLocation]]]) -> NDArray[np.void]:
    steps = [step for run in runs for step in run]
    rows = np.zeros(len(steps), row_type(len(steps[0].action) if steps else 1))
    if steps:
        rows["stamp"] = [step.stamp for step in steps]
        rows["action"] = [step.action for step in steps]
        for field in RecordLocation._fields:
            rows[field] = [getattr(step.image, field) for step in steps]
    return rows
