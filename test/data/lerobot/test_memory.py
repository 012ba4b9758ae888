# SPDX-License-Identifier: Apache-2.0
"""Memory does not grow with the files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow
from lerobot_writer import CAMERA, Writer

from dd_ros.data.lerobot import LeRobotReader, LeRobotSet


def test_images_of_a_table_are_read_page_by_page(tmp_path: Path) -> None:
    # Pages have at most 1024 rows; the whole column is one row group, as a converted data set has it.
    length, rng = 4096, np.random.default_rng(0)
    noise = (rng.integers(0, 256, (56, 56, 3), np.uint8) for _ in range(length))
    cells = [{"bytes": cv2.imencode(".png", rgb)[1].tobytes(), "path": ""} for rgb in noise]
    size = len(cells[0]["bytes"])
    writer = Writer(
        tmp_path / "set", (length,), dtype="image", columns={(0, CAMERA): cells}, row_group_size=10**6
    )
    reader = LeRobotReader(LeRobotSet(writer.write()), CAMERA)
    before, most = pyarrow.total_allocated_bytes(), 0
    for rgb in reader.frames(0, 0, length):
        assert rgb.shape == (56, 56, 3)
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert most < 3 * 1024 * size < length * size
