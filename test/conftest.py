# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import randomised, tiny_config

from dd_ros.checkpoint import Model, save_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a real checkpoint with random weights (untrained, hence only good for tests)."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    config = tiny_config()
    save_checkpoint(folder, config, randomised(Model(config)), "# tiny\nRandom weights for tests.\n")
    return folder
