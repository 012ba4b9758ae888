# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of GPUs and memory, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dd_ros.doctor.finding import Level
from dd_ros.doctor.machine import (
    available_memory,
    driver_version,
    gpu,
    judged_gpu,
    judged_memory,
    memory,
    nvidia_gpus,
)

GIB = 1 << 30
DRIVER = """NVRM version: NVIDIA UNIX {kind}  570.86.15  Thu Jan 23 10:00:00 UTC 2025
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""


@pytest.mark.parametrize(
    ("present", "driver", "built_for", "seen", "broken", "level", "words"),
    [
        (1, "570.86", "12.8", "H100, 80 GiB", "", Level.OK, "H100, 80 GiB, driver 570.86, CUDA 12.8"),
        (0, "", "12.8", "", "", Level.OK, "none: predictions run on the CPU"),
        (0, "", "", "", "", Level.OK, "none"),
        (2, "", "12.8", "", "", Level.WARN, "2 without a driver; install NVIDIA's driver"),
        (1, "570.86", "", "", "", Level.WARN, "built without CUDA; install a torch with CUDA"),
        (1, "570.86", "12.8", "", "", Level.WARN, "sees no GPU; in a container: --gpus all"),
        (0, "570.86", "12.8", "", "", Level.WARN, "sees no GPU"),  # a container without the device
        (1, "570.86", "12.8", "K80", "no kernel image", Level.FAIL, "no kernel image; install a torch built for"),
    ],
)  # fmt: skip
def test_gpus(
    present: int, driver: str, built_for: str, seen: str, broken: str, level: Level, words: str
) -> None:
    found = judged_gpu(present, driver, built_for=built_for, seen=seen, broken=broken)
    assert found.level is level
    assert words in found.line


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_this_machine_without_a_gpu() -> None:
    assert gpu().level in (Level.OK, Level.WARN)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_this_machines_gpu() -> None:
    found = gpu()
    assert found.level is Level.OK
    assert torch.cuda.get_device_name(0) in found.text
    assert driver_version() in found.text


@pytest.mark.parametrize("kind", ["x86_64 Kernel Module", "Open Kernel Module for x86_64"])
def test_the_driver_tells_its_version(kind: str, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(DRIVER.format(kind=kind))
    assert driver_version(tmp_path / "version") == "570.86.15"
    assert driver_version(tmp_path / "none") == ""
    (tmp_path / "version").write_text("something else")
    assert driver_version(tmp_path / "version") == "of an unknown version"


def test_nvidias_displays_are_counted_and_nothing_else(tmp_path: Path) -> None:
    devices = {
        "gpu": ("0x10de", "0x030200"),
        "its sound": ("0x10de", "0x040300"),
        "other": ("0x1002", "0x030000"),
    }
    for name, (vendor, kind) in devices.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "half").mkdir()
    assert nvidia_gpus(tmp_path) == 1
    assert nvidia_gpus(tmp_path / "nowhere") == 0


@pytest.mark.parametrize(
    ("available", "needed", "level"),
    [(4 * GIB, GIB, Level.OK), (GIB, GIB, Level.WARN), (GIB, 2 * GIB, Level.FAIL)],
)
def test_memory(available: int, needed: int, level: Level) -> None:
    found = judged_memory(available, needed)
    assert found.level is level
    assert bool(found.cure) == (level is not Level.OK)


def test_this_machines_memory_is_enough_for_a_byte() -> None:
    assert memory(1).level is Level.OK


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert available_memory(tmp_path / "meminfo", tmp_path) == 2 << 20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_memory(tmp_path / "meminfo", tmp_path) == 2 << 20
    (tmp_path / "memory.max").write_text("5000\n")
    assert available_memory(tmp_path / "meminfo", tmp_path) == 4000
