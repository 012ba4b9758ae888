# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tiny import randomised, tiny_config

from dd_ros.checkpoint import Model, save_checkpoint

# A busy machine is no reason to fail: no example has a deadline.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a real checkpoint with random weights (untrained, hence only good for tests)."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    config = tiny_config()
    save_checkpoint(folder, config, randomised(Model(config)), "# tiny\nRandom weights for tests.\n")
    return folder
