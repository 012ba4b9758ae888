# SPDX-License-Identifier: Apache-2.0
"""Parquet and mp4 files, read in small pieces; what is wrong with one is an InputError that names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.images import decode_bytes
from dd_ros.errors import InputError

if TYPE_CHECKING:
    import av
    import pyarrow
    from pyarrow.parquet import ParquetFile

# What FFmpeg may take a file for: a playlist would have it open others.
ONLY_VIDEO = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi", "protocol_whitelist": "file"}
BUFFER_BYTES = 1 << 20  # of a column of a parquet file


@contextmanager
def parquet(path: Path) -> Iterator[ParquetFile]:
    """An open parquet file; whatever is wrong with it while it is open becomes an InputError.

    Reading batches of a column keeps one page of it in memory: what a writer put into one, up to 1024 rows.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as parquet ({first_line(error)})") from error


def column_of(path: Path, table: pyarrow.Table | pyarrow.RecordBatch, name: str) -> Any:
    """A column of what was read from ``path``; InputError if it has no such."""
    if name not in table.schema.names:
        raise InputError(f"{path}: no column {name}")
    return table.column(table.schema.get_field_index(name))


def decode(cell: Any, size: tuple[int, int] | None = None) -> NDArray[np.uint8] | None:
    """The image of a parquet cell as ``decode_bytes`` has it; None if there is none or it does not decode."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return decode_bytes(data, size) if data else None


def video_frames(
    path: Path, times: Sequence[float], tolerance: float
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Frames of a video at increasing ``times`` (s), as (position in ``times``, uint8 RGB [H, W, 3]).

    A frame is at a time if it is less than ``tolerance`` (s) from it; times without one are left out.
    Memory holds one frame and what the decoder keeps.

    Raises:
        InputError: the file is missing, no video, or damaged; the frames before the damage have come.
    """
    import av

    position = 0
    try:
        with av.open(str(path), options=ONLY_VIDEO) as container:
            for time, frame in frames_from(container, times[0] + tolerance):
                while position < len(times) and times[position] <= time - tolerance:
                    position += 1  # no frame was at this time
                if position < len(times) and time > times[position] - tolerance:
                    yield position, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                    position += 1
                if position == len(times):
                    return
    except (av.FFmpegError, IndexError) as error:  # IndexError: no video in the file
        raise InputError(f"{path}: cannot be read as video ({first_line(error)})") from error


def frames_from(
    container: av.container.InputContainer, latest: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decoded frames with their times (s), from a key frame on that is before ``latest``."""
    stream = container.streams.video[0]
    unit = float(stream.time_base or 1)
    begin, back = latest, 1.0
    while True:
        container.seek(int(begin / unit), stream=stream)
        frames = ((frame.pts * unit, frame) for frame in container.decode(stream) if frame.pts is not None)
        first = next(frames, None)
        if begin == 0.0 or (first is not None and first[0] < latest):
            break
        # Seeking goes by decoding order, and may end too late.
        begin, back = max(0.0, begin - back), 2.0 * back
    if first is not None:
        yield first
        yield from frames


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
