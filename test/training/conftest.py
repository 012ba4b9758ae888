# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bag_writer import robot_messages, write_bag


@pytest.fixture(scope="session")
def robot_bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short drives of a robot; the one with number 4 is for validation."""
    folder = tmp_path_factory.mktemp("robot_bags")
    for number in (1, 2, 4):
        write_bag(folder / f"episode_{number:06d}", robot_messages(30))
    return folder
