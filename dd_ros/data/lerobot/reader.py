# SPDX-License-Identifier: Apache-2.0
"""Images and actions of a LeRobot data set, as its files have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.actions import element
from dd_ros.data.images import resize
from dd_ros.data.lerobot.files import column_of, decode, parquet, video_frames
from dd_ros.data.lerobot.meta import LeRobotSet
from dd_ros.errors import InputError
from dd_ros.report import Report

CHOICE = re.compile(r"(.+?)(?:\[(-?\d+|\d*:\d*)\])?")  # a feature, or [index] or [from:to] of it
BATCH = 8  # images of a parquet file in memory at once, still encoded

Numbered = Iterator[tuple[int, NDArray[np.uint8]]]  # frame number in its episode, uint8 RGB [H, W, 3]


class LeRobotReader:
    """Images of one camera of a data set, and its actions.

    Args:
        data: the data set.
        image_key: the camera, such as ``observation.images.top``.
        actions: features that make up the action vector, in order, whole or in part: ``action``,
            ``action[0:7]``, ``action[6]``.

    Attributes:
        dim: length of the action vector.
        names: of its values; where the data set has none, as in ``action[6]``.

    Raises:
        InputError: no such camera or feature (the message lists those there are), or a range outside it.
    """

    def __init__(self, data: LeRobotSet, image_key: str, actions: Sequence[str] = ("action",)):
        if image_key not in data.image_keys:
            there = ", ".join(data.image_keys) or "none"
            raise InputError(
                f"{data.path}: no images {image_key}; it holds {there}: choose one with --image-topic"
            )
        self.data, self.image_key = data, image_key
        self._parts = [choose(data, text) for text in actions]
        self.names = tuple(
            (data.info.features[key].labels or {column: f"{key}[{column}]" for column in columns})[column]
            for key, columns in self._parts
            for column in columns
        )
        self.dim = len(self.names)

    @property
    def path(self) -> Path:
        return self.data.path

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.data.info.fps

    @property
    def lengths(self) -> dict[int, int]:
        """Frames of each episode, by its number."""
        return {number: place.length for number, place in self.data.episodes.items()}

    def actions(self, episode: int) -> NDArray[np.float32]:
        """The command recorded with each frame, float32 [T, A]; InputError if they cannot be read."""
        parts = [self._column(episode, key, np.float32)[:, columns] for key, columns in self._parts]
        return np.concatenate(parts, axis=1)

    def stamps(self, episode: int) -> NDArray[np.int64]:
        """Time of each frame, int64 [T], nanoseconds from the start of the episode.

        Raises:
            InputError: they cannot be read, or do not increase.
        """
        stamps = np.rint(self._column(episode, "timestamp", np.float64)[:, 0] * 1e9)
        if not (np.isfinite(stamps).all() and (np.diff(stamps) > 0).all()):
            file = self.data.episodes[episode].data
            raise InputError(f"{file}: episode {episode}: expected timestamps that increase")
        return stamps.astype(np.int64)

    def frames(self, episode: int, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Frames from ``start`` up to ``stop``, without it, uint8 RGB [H, W, 3], one in memory at a time.

        Raises:
            InputError: one of them cannot be read; those before it have come.
        """
        problems = Report()
        images = self.images(episode, range(start, stop), problems)
        for expected, (number, rgb) in enumerate(images, start):
            if number != expected:
                raise InputError(f"{self.path}: episode {episode}: no frame {expected} of {self.image_key}")
            yield rgb
        if problems:
            raise InputError(problems.lines()[0])

    def images(
        self, episode: int, wanted: Sequence[int], problems: Report, *, size: tuple[int, int] | None = None
    ) -> Numbered:
        """Those of the ``wanted`` frames that can be read, one in memory at a time.

        Args:
            episode: its number.
            wanted: increasing numbers of frames in it.
            problems: takes a line if some cannot be read.
            size: width and height to stretch them to; None leaves them as they were recorded.
        """
        place = self.data.episodes[episode]
        in_video = self.image_key in place.videos
        file = place.videos[self.image_key][0] if in_video else place.data
        found, reason = 0, ""
        try:
            for image in (self._from_video if in_video else self._from_table)(episode, wanted, size):
                found += 1
                yield image
        except InputError as error:
            reason = f"; {str(error).removeprefix(f'{file}: ')}"
        if found < len(wanted):
            problems.add(
                f"{file}: episode {episode}",
                f"{len(wanted) - found} of {len(wanted)} frames of {self.image_key} are missing or damaged{reason}",
            )

    def _from_video(self, episode: int, wanted: Sequence[int], size: tuple[int, int] | None) -> Numbered:
        file, begin = self.data.episodes[episode].videos[self.image_key]
        times = [begin + number / self.fps for number in wanted]
        for position, rgb in video_frames(file, times, 0.5 / self.fps) if times else ():
            yield wanted[position], resize(rgb, *size) if size else rgb

    def _from_table(self, episode: int, wanted: Sequence[int], size: tuple[int, int] | None) -> Numbered:
        path, groups, rows = self._rows(episode)
        numbers = set(wanted)
        with parquet(path) as file:
            batches = file.iter_batches(BATCH, row_groups=groups, columns=[self.image_key])
            cells = (cell for batch in batches for cell in column_of(path, batch, self.image_key))
            for number, cell in enumerate(cells, -rows.start):
                if number in numbers and (rgb := decode(cell.as_py(), size)) is not None:
                    yield number, rgb
                if number >= max(numbers, default=-1):
                    return

    def _column(self, episode: int, name: str, dtype: type[np.floating[Any]]) -> NDArray[Any]:
        """Values of a feature in an episode, [T, dim]; InputError if they are not such."""
        path, groups, rows = self._rows(episode)
        with parquet(path) as file:
            column = column_of(path, file.read_row_groups(groups, [name]), name)
        feature = self.data.info.features.get(name)
        dim = feature.dim if feature else 1
        try:
            return np.asarray(column.slice(rows.start, len(rows)).to_pylist(), dtype).reshape(len(rows), dim)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path}: episode {episode}: expected {dim} numbers of {name} per row"
            ) from error

    def _rows(self, episode: int) -> tuple[Path, list[int], range]:
        """The file of an episode, its row groups there, and its rows counted from the first of these."""
        path = self.data.episodes[episode].data
        with parquet(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            first, stop = 0, sum(sizes)
            if self.data.is_v3:
                numbers = column_of(path, file.read(["episode_index"]), "episode_index").to_numpy()
                own = np.flatnonzero(numbers == episode)
                first, stop = (int(own[0]), int(own[-1]) + 1) if len(own) else (0, 0)
        if first == stop:
            raise InputError(f"{path}: holds no row of episode {episode}")
        ends = np.cumsum(sizes)
        begin, end = np.searchsorted(ends, [first, stop - 1], side="right").tolist()
        before = int(ends[begin] - sizes[begin])
        return path, list(range(begin, end + 1)), range(first - before, stop - before)


def choose(data: LeRobotSet, text: str) -> tuple[str, list[int]]:
    """The feature that ``action[0:7]`` names, and the numbers of its chosen values."""
    match = CHOICE.fullmatch(text)
    key, index = match.groups() if match else (text, None)
    if key not in data.vector_keys:
        there = ", ".join(data.vector_keys) or "none"
        raise InputError(
            f"{data.path}: no numbers {text}; it holds {there}, whole or [index] or [from:to]: "
            "choose with --action-topic"
        )
    every = range(data.info.features[key].dim)
    try:
        columns = np.atleast_1d(element(every, index, text) if index else every).tolist()
    except InputError:
        columns = []
    if not columns:
        raise InputError(f"{data.path}: {text}: expected a range within the {len(every)} values of {key}")
    return key, columns
