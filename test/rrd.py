# SPDX-License-Identifier: Apache-2.0
"""Recordings of rerun read back through its own reader."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.images import decode_bytes


class Row(NamedTuple):
    """What was logged at one place.

    Attributes:
        target_ns, capture_ns: on the two timelines; 0 for what has no time.
        value: an image uint8 RGB [H, W, 3], numbers float64 [n], or text.
    """

    target_ns: int
    capture_ns: int
    value: Any


def read(path: Path) -> dict[str, list[Row]]:
    """Entity -> all that was logged to it, by the time it is for; static data are left out."""
    from rerun.chunk import RrdReader

    found: defaultdict[str, list[Row]] = defaultdict(list)
    for chunk in RrdReader(path).stream():
        if chunk.is_static:
            continue
        batch = chunk.to_record_batch()
        targets, captures = (times(batch, name) for name in ("target_time", "capture_time"))
        for target, capture, value in zip(targets, captures, values(batch), strict=True):
            found[str(chunk.entity_path).lstrip("/")].append(Row(target, capture, value))
    return {entity: sorted(rows, key=lambda row: row[:2]) for entity, rows in found.items()}


def names(path: Path, entity: str) -> list[str]:
    """Names of the lines that the numbers of an entity are drawn with."""
    from rerun.chunk import RrdReader

    batches = [
        chunk.to_record_batch() for chunk in RrdReader(path).stream() if chunk.entity_path == f"/{entity}"
    ]
    (found,) = (
        batch.column("SeriesLines:names").to_pylist()
        for batch in batches
        if "SeriesLines:names" in batch.schema.names
    )
    return found[0]


def times(batch: Any, name: str) -> list[int]:
    if name not in batch.schema.names:
        return [0] * batch.num_rows
    return [int(value) for value in batch.column(name).to_numpy(zero_copy_only=False).astype(np.int64)]


def values(batch: Any) -> list[Any]:
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name, column in columns.items():
        if name == "EncodedImage:blob":
            return [picture(row.values[0].values.to_numpy()) for row in column]
        if name in ("Scalars:scalars", "TextLog:text"):
            return [np.array(row) if name[0] == "S" else row[0] for row in column.to_pylist()]
        if name == "BarChart:values":
            return [row[0]["buffer"] if isinstance(row[0], dict) else row for row in column.to_pylist()]
    raise AssertionError(f"nothing known in {list(columns)}")


def picture(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found = decode_bytes(data)
    assert found is not None
    return found
