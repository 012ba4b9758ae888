# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests."""

from __future__ import annotations

import dd_ros  # noqa: F401  its settings for torch, before torch is loaded

# isort: split
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# isort: split
import pytest
import torch
from hypothesis import HealthCheck, settings
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint

# A busy machine is no reason to fail: no example has a deadline.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a real checkpoint with random weights (untrained, hence only good for tests)."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    config = tiny_config()
    save_checkpoint(folder, config, random_model(config), card="# tiny\nRandom weights for tests.\n")
    return folder


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers for a test whether it runs alone or after others."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """SVT-AV1's encoder, which makes some test videos, gives a process of root's real-time priority: what it does and starts
    from then on would starve all other processes."""
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch with one thread."""
    yield from with_threads(1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch with two threads, whatever the machine has."""
    yield from with_threads(2)


def with_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)
