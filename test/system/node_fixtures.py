# SPDX-License-Identifier: Apache-2.0
"""One node for all tests that leave it in good health; a pytest plugin of their modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Robot, predictor_command, robot_with_predictor


@pytest.fixture(scope="session")
def robot(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    """A running predictor with the tiny checkpoint, and the robot that talks to it."""
    log = tmp_path_factory.mktemp("node") / "predictor.log"
    with robot_with_predictor(log, *predictor_command(tiny_checkpoint)) as robot:
        yield robot
