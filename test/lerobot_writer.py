# SPDX-License-Identifier: Apache-2.0
"""Writes small real LeRobot data sets for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow
from pyarrow import parquet

CAMERA = "observation.images.top"
WIDTH, HEIGHT, BITS = 96, 64, 12
V2_PATHS = {
    "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
}
V3_PATHS = {
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}


def image(number: int) -> np.ndarray:
    """An image that shows ``number`` as black and white fields, so that it is known after any encoding."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    fields = np.array(bits, np.uint8).reshape(3, 4) * 255
    return cv2.resize(fields, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)[..., None].repeat(3, -1)


def number_in(rgb: np.ndarray) -> int:
    """The number that an ``image`` of any size shows."""
    height, width = rgb.shape[:2]
    y = (np.arange(3) * 2 + 1) * height // 6
    x = (np.arange(4) * 2 + 1) * width // 8
    bits = rgb[y][:, x].mean(-1).reshape(-1) > 127
    return int(sum(1 << bit for bit in range(BITS) if bits[bit]))


def write_video(path: Path, numbers: Iterable[int], fps: int, codec: str = "libx264", **options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"g": "2"} | options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in numbers:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image(number), format="rgb24")))
        container.mux(stream.encode())


@dataclass
class Writer:
    """A data set; frame ``t`` of episode ``e`` shows ``100 * e + t``, its action is (e, t, -t).

    Attributes:
        lengths: frames of each episode.
        version: ``v2.1`` or ``v3.0``.
        dtype: ``video`` or ``image`` (png in parquet).
        per_file: episodes of a parquet file in version 3; a video file has two.
        row_group_size: rows of a row group of a parquet file.
        columns: values instead of the usual ones, by (episode, column).
    """

    path: Path
    lengths: Sequence[int] = (40, 30, 50)
    version: str = "v2.1"
    dtype: str = "video"
    fps: int = 30
    per_file: int = 3
    row_group_size: int = 37
    columns: dict[tuple[int, str], list[Any]] = field(default_factory=dict)

    def write(self) -> Path:
        (self.path / "meta").mkdir(parents=True)
        (self.path / "meta/info.json").write_text(json.dumps(self.info()))
        (self._write_v3 if self.version == "v3.0" else self._write_v2)()
        return self.path

    def info(self) -> dict[str, Any]:
        number = {"dtype": "int64", "shape": [1], "names": None}
        return {
            "codebase_version": self.version,
            "robot_type": "arm",
            "total_episodes": len(self.lengths),
            "total_frames": sum(self.lengths),
            "fps": self.fps,
            "chunks_size": 2 if self.version == "v2.1" else 1000,
            **(V3_PATHS if self.version == "v3.0" else V2_PATHS),
            "features": {
                CAMERA: {
                    "dtype": self.dtype,
                    "shape": [HEIGHT, WIDTH, 3],
                    "names": ["height", "width", "channels"],
                },
                "action": {"dtype": "float32", "shape": [3], "names": {"motors": ["lift", "turn", "grip"]}},
                "observation.state": {"dtype": "float32", "shape": [2], "names": None},
                "timestamp": {"dtype": "float32", "shape": [1], "names": None},
                **{key: number for key in ("frame_index", "episode_index", "index", "task_index")},
            },
        }

    def rows(self, episode: int) -> dict[str, Any]:
        length, first = self.lengths[episode], sum(self.lengths[:episode])
        times = np.arange(length)
        found: dict[str, Any] = {
            "action": [[float(episode), float(t), -float(t)] for t in times],
            "observation.state": [[0.5 * t, 7.0] for t in times],
            "timestamp": (times / self.fps).astype(np.float32),
            "frame_index": times,
            "episode_index": np.full(length, episode),
            "index": first + times,
            "task_index": np.zeros(length, np.int64),
        }
        if self.dtype == "image":
            found[CAMERA] = [self._png(100 * episode + t) for t in range(length)]
        return found | {name: values for (number, name), values in self.columns.items() if number == episode}

    @staticmethod
    def _png(number: int) -> dict[str, Any]:
        return {"bytes": cv2.imencode(".png", image(number))[1].tobytes(), "path": f"frame_{number}.png"}

    def table(self, episodes: Iterable[int]) -> pyarrow.Table:
        kind = pyarrow.list_(pyarrow.float32())
        tables = []
        for episode in episodes:
            rows = self.rows(episode)
            arrays = {
                name: pyarrow.array(v, kind if name in ("action", "observation.state") else None)
                for name, v in rows.items()
            }
            tables.append(pyarrow.table(arrays))
        return pyarrow.concat_tables(tables)

    def _save(self, table: pyarrow.Table, file: str) -> None:
        path = self.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, path, row_group_size=self.row_group_size)

    def _write_v2(self) -> None:
        lines = [
            {"episode_index": e, "tasks": ["lift"], "length": length} for e, length in enumerate(self.lengths)
        ]
        (self.path / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for episode, length in enumerate(self.lengths):
            names = {"episode_chunk": episode // 2, "episode_index": episode, "video_key": CAMERA}
            self._save(self.table([episode]), V2_PATHS["data_path"].format(**names))
            if self.dtype == "video":
                numbers = range(100 * episode, 100 * episode + length)
                write_video(self.path / V2_PATHS["video_path"].format(**names), numbers, self.fps)

    def _write_v3(self) -> None:
        rows = []
        for episode, length in enumerate(self.lengths):
            pair = episode // 2
            before = sum(self.lengths[2 * pair : episode])
            rows.append({"episode_index": episode, "tasks": ["lift"], "length": length})
            rows[-1] |= {"data/chunk_index": 0, "data/file_index": episode // self.per_file}
            if self.dtype == "video":
                place = {"chunk_index": 0, "file_index": pair, "from_timestamp": before / self.fps}
                place["to_timestamp"] = (before + length) / self.fps
                rows[-1] |= {f"videos/{CAMERA}/{name}": value for name, value in place.items()}
        self._save(pyarrow.Table.from_pylist(rows), "meta/episodes/chunk-000/file-000.parquet")
        everything = range(len(self.lengths))
        for file in range(0, len(self.lengths), self.per_file):
            names = {"chunk_index": 0, "file_index": file // self.per_file}
            episodes = everything[file : file + self.per_file]
            self._save(self.table(episodes), V3_PATHS["data_path"].format(**names))
        for file in range(0, len(self.lengths) if self.dtype == "video" else 0, 2):
            names = {"chunk_index": 0, "file_index": file // 2, "video_key": CAMERA}
            numbers = [100 * e + t for e in everything[file : file + 2] for t in range(self.lengths[e])]
            write_video(self.path / V3_PATHS["video_path"].format(**names), numbers, self.fps)
