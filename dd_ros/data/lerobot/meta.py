# SPDX-License-Identifier: Apache-2.0
"""What a LeRobot data set holds, and in which files: its ``meta`` folder.

``meta/info.json`` names frame rate, features and the pattern of file names. In version 2 every
episode has files of its own. In version 3 an episode is a range of rows of a parquet file and a
stretch of an mp4 file; ``meta/episodes`` says which.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from dd_ros.data.lerobot.files import column_of, first_line, parquet
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.yaml_files import check_is_file

INFO = Path("meta/info.json")
EPISODE = re.compile(r"episode_\d{6,}")
PATTERN = r"^([^{}]|\{\w+(:0?\d{0,2}[ds]?)?\})*$"  # of file names: their numbers are short
LFS_POINTER = b"version https://git-lfs"  # what Git leaves in place of a large file that was not fetched


class Feature(BaseModel):
    """A column of the parquet files, or a camera in mp4 files, as ``info.json`` describes it."""

    dtype: str
    shape: tuple[int, ...] = (1,)
    names: Any = None
    info: dict[str, Any] | None = None
    video_info: dict[str, Any] | None = None

    @property
    def is_image(self) -> bool:
        """Whether it is the image of a camera; a depth map is none."""
        about = {**(self.video_info or {}), **(self.info or {})}
        depth = about.get("is_depth_map") or about.get("video.is_depth_map")
        return self.dtype in ("image", "video") and len(self.shape) == 3 and not depth

    @property
    def is_vector(self) -> bool:
        return self.dtype.startswith(("float", "int", "uint", "bool"))

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return math.prod(self.shape)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of an image; its shape is [H, W, C] or [C, H, W]."""
        height, width = self.shape[1:] if self.shape[0] <= 4 else self.shape[:2]
        return width, height

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a vector's values; none where there are not as many names as values."""
        found = self.names or ()
        if isinstance(found, dict):  # {"motors": [name, ...]} or {name: index}
            lists = [names for names in found.values() if isinstance(names, list)]
            found = [name for names in lists for name in names] or list(found)
        return tuple(map(str, found)) if len(found) == self.dim else ()

    @property
    def about(self) -> str:
        """What it is, for people."""
        if self.is_image:
            return "image {}x{}".format(*self.size)
        if self.is_vector:
            return f"{self.dim} values" + (f": {', '.join(self.labels)}" if self.labels else "")
        return "not used"


class Info(BaseModel):
    """What is read of ``info.json``."""

    codebase_version: str = Field(pattern=r"^v(2\.\d+|3\.0)$")
    fps: float = Field(gt=0.0)
    features: dict[str, Feature]
    data_path: Annotated[str, Field(pattern=PATTERN)]
    video_path: Annotated[str, Field(pattern=PATTERN)] | None = None
    chunks_size: int = Field(1000, gt=0)


@dataclass(frozen=True)
class EpisodeLocation:
    """Where an episode lies.

    Attributes:
        length: its frames.
        data: its parquet file.
        videos: of each camera in mp4 files: the file, and the time in it (s) at which the episode begins.
    """

    length: int
    data: Path
    videos: dict[str, tuple[Path, float]]


def is_lerobot(path: Path) -> bool:
    """Whether ``path`` is the folder of a LeRobot data set."""
    return (path / INFO).is_file()


def set_of(bag: Path) -> Path | None:
    """The data set that ``bag`` is an episode of, as ``episode_paths`` names them; None for a real bag."""
    named = EPISODE.fullmatch(bag.name) and not bag.exists()  # a real bag may lie beside another tool's meta
    return bag.parent if named and is_lerobot(bag.parent) else None


def episode_number(bag: Path) -> int:
    """Number of the episode that ``bag`` names."""
    return int(bag.name.rpartition("_")[2])


def episode_paths(path: Path) -> list[Path]:
    """One name for each episode of a data set, such as ``SET/episode_000004``, in place of a bag.

    Args:
        path: the data set, of which some episodes may not be downloaded: they are left out. Or such a name itself,
            which is all there is then.

    Raises:
        InputError: the data set cannot be used, has no such episode, or none of its episodes is here.
    """
    folder = set_of(path)
    data = LeRobotSet(folder or path)
    if folder:
        if (number := episode_number(path)) not in data.episodes:
            raise InputError(f"{path}: no such episode; {folder} has {spans(list(data.episodes))}")
        return [folder / f"episode_{number:06d}"]
    if not data.here:
        raise InputError(data.problems.lines()[-1])
    return [path / f"episode_{number:06d}" for number in data.here]


def spans(numbers: list[int]) -> str:
    """Increasing numbers in words: ``episodes 0 to 49``."""
    count = f"{len(numbers)} episodes between" if numbers[-1] - numbers[0] >= len(numbers) else "episodes"
    return f"{count} {numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"episode {numbers[0]}"


def is_here(file: Path) -> bool:
    """Whether a file was downloaded: it is there, and no pointer of Git LFS to what was not fetched."""
    try:
        if not file.is_file():  # a pipe has no end
            return False
        with file.open("rb") as opened:
            return opened.read(len(LFS_POINTER)) != LFS_POINTER
    except OSError:
        return False


class LeRobotSet:
    """What a data set holds, by its ``meta`` folder alone.

    Attributes:
        path: its folder.
        info: frame rate and features.
        episodes: where each episode lies, by its number, in order.
        here: those of them that were downloaded.
        problems: what of the ``meta`` folder cannot be used, and how much is not here.

    Raises:
        InputError: ``info.json`` is missing or unusable, or no episode is described.
    """

    def __init__(self, path: Path):
        self.path, self.info = path, read_info(path / INFO)
        self.problems = Report()
        try:
            self.episodes = dict(sorted(self._v3_places() if self.is_v3 else self._v2_places()))
        except (KeyError, IndexError, ValueError) as error:
            raise InputError(
                f"{path / INFO}: expected data_path and video_path of {self.info.codebase_version}, "
                f"got {self.info.data_path} and {self.info.video_path} ({first_line(error)})"
            ) from error
        if not self.episodes:
            raise InputError(
                f"{path}: describes no episode" + "".join(f"; {line}" for line in self.problems.lines()[:1])
            )
        self.here = self._downloaded()

    @property
    def is_v3(self) -> bool:
        return self.info.codebase_version.startswith("v3")

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(key for key, feature in self.info.features.items() if feature.is_image)

    @property
    def vector_keys(self) -> tuple[str, ...]:
        """Names of the columns of numbers."""
        return tuple(key for key, feature in self.info.features.items() if feature.is_vector)

    @property
    def files(self) -> list[Path]:
        """All files with data of an episode, whether they are there or not."""
        places = self.episodes.values()
        found = [file for place in places for file in (place.data, *(f for f, _ in place.videos.values()))]
        return list(dict.fromkeys(found))

    def _downloaded(self) -> dict[int, EpisodeLocation]:
        """The episodes whose numbers, and images of some camera, were downloaded; how many were not is a problem."""
        known = {file: is_here(file) for file in self.files}
        here = {
            number: place
            for number, place in self.episodes.items()
            if known[place.data]
            and (not place.videos or any(known[file] for file, _ in place.videos.values()))
        }
        if lost := len(self.episodes) - len(here):
            example = next(file for file, there in known.items() if not there)
            text = f"{lost} of {len(self.episodes)} episodes are not here (such as {example})"
            self.problems.add(self.path, text, "left out; download them, or fetch what Git LFS left out")
        return here

    def _v2_places(self) -> Iterator[tuple[int, EpisodeLocation]]:
        """One line per episode in ``meta/episodes.jsonl``."""
        file = self.path / "meta/episodes.jsonl"
        for line in read_text(file).splitlines():
            try:
                entry = json.loads(line)
                number, length = int(entry["episode_index"]), int(entry["length"])
            except (KeyError, TypeError, ValueError, RecursionError, OverflowError):
                self.problems.add(file, f"expected the description of an episode, got {line[:60]!r}")
                continue
            fields = {"episode_chunk": number // self.info.chunks_size, "episode_index": number}
            videos = {key: (self._video(key, fields), 0.0) for key in self._video_keys}
            yield number, EpisodeLocation(length, self.path / self.info.data_path.format(**fields), videos)

    def _v3_places(self) -> Iterator[tuple[int, EpisodeLocation]]:
        """One row per episode in the parquet files below ``meta/episodes``."""
        parts = ["data", *(f"videos/{key}" for key in self._video_keys)]
        columns = ["episode_index", "length"]
        columns += [f"{part}/{name}" for part in parts for name in ("chunk_index", "file_index")]
        columns += [f"{part}/from_timestamp" for part in parts[1:]]
        for file in sorted((self.path / "meta/episodes").glob("*/*.parquet")):
            try:
                with parquet(file) as source:
                    table = source.read(columns)
                cells = [column_of(file, table, column).to_pylist() for column in columns]
            except InputError as error:
                self.problems.add(file, error)
                continue
            for values in zip(*cells, strict=True):
                if None in values:
                    self.problems.add(f"{file}: episode {values[0]}", "expected the place of all its files")
                    continue
                yield values[0], self._v3_place(dict(zip(columns, values, strict=True)))

    def _v3_place(self, row: dict[str, Any]) -> EpisodeLocation:
        def fields(part: str) -> dict[str, int]:
            return {name: row[f"{part}/{name}"] for name in ("chunk_index", "file_index")}

        videos = {
            key: (self._video(key, fields(f"videos/{key}")), float(row[f"videos/{key}/from_timestamp"]))
            for key in self._video_keys
        }
        return EpisodeLocation(
            row["length"], self.path / self.info.data_path.format(**fields("data")), videos
        )

    @property
    def _video_keys(self) -> list[str]:
        return [key for key in self.image_keys if self.info.features[key].dtype == "video"]

    def _video(self, key: str, fields: dict[str, int]) -> Path:
        if self.info.video_path is None:
            raise ValueError(f"{key} is a video")
        return self.path / self.info.video_path.format(video_key=key, **fields)


def read_info(file: Path) -> Info:
    """The ``info.json`` of a data set; InputError names the first wrong entry."""
    try:
        return Info.model_validate_json(read_text(file))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        got = "" if first["type"] == "missing" else f", got {str(first['input'])[:60]!r}"
        raise InputError(f"{file}: {place}: {first['msg']}{got}") from error


def read_text(file: Path) -> str:
    check_is_file(file)
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({first_line(error)})") from error
