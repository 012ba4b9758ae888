# SPDX-License-Identifier: Apache-2.0
"""What the machine has: a GPU that torch sees, and memory."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

from dd_ros.doctor.finding import Finding, Level

DEVICES, DRIVER = Path("/sys/bus/pci/devices"), Path("/proc/driver/nvidia/version")
NVIDIA, DISPLAY = "0x10de", "0x03"  # vendor; first byte of the class
MEMINFO, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def gpu() -> Finding:
    """Which GPU there is, and whether torch can use it."""
    seen, broken = "", ""
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        seen = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
        try:
            torch.ones(8, 8, device="cuda").matmul(torch.ones(8, 8, device="cuda")).sum().item()
        except RuntimeError as error:  # such as a GPU that this torch has no code for
            broken = str(error).splitlines()[0]
    return judged_gpu(
        nvidia_gpus(), driver_version(), built_for=torch.version.cuda or "", seen=seen, broken=broken
    )


def judged_gpu(present: int, driver: str, *, built_for: str, seen: str, broken: str = "") -> Finding:
    """What to say of a GPU.

    Args:
        present: NVIDIA GPUs in the machine, whatever the software sees of them.
        driver: version of the driver; empty where none is loaded.
        built_for: CUDA that torch was built for; empty for a torch without.
        seen: the GPU that torch sees; empty where it sees none.
        broken: what it says when it is used; empty where that works.
    """
    if seen and broken:
        text = f"{seen}, driver {driver}, but torch cannot use it: {broken}"
        return Finding("gpu", Level.FAIL, text, "install a torch built for this GPU, or run with device:=cpu")
    if seen:
        return Finding("gpu", Level.OK, f"{seen}, driver {driver}, CUDA {built_for}")
    if not present and not driver:
        return Finding("gpu", Level.OK, "none: predictions run on the CPU")
    if not driver:
        return Finding("gpu", Level.WARN, f"{present} without a driver", "install NVIDIA's driver")
    if not built_for:
        text, cure = f"driver {driver}, but this torch is built without CUDA", "install a torch with CUDA"
        return Finding("gpu", Level.WARN, text, cure)
    cure = (
        "in a container: --gpus all; else a driver that is new enough for this CUDA, and CUDA_VISIBLE_DEVICES"
    )
    return Finding("gpu", Level.WARN, f"driver {driver}, but torch (CUDA {built_for}) sees no GPU", cure)


def nvidia_gpus(devices: Path = DEVICES) -> int:
    """NVIDIA GPUs among the PCI devices."""
    found = 0
    for device in devices.glob("*"):
        with suppress(OSError):
            vendor = (device / "vendor").read_text().strip()
            found += vendor == NVIDIA and (device / "class").read_text().startswith(DISPLAY)
    return found


def driver_version(file: Path = DRIVER) -> str:
    """Version of NVIDIA's driver; empty where it is not loaded."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", file.read_text())
    except OSError:
        return ""
    return found[1] if found else "of an unknown version"


def memory(needed: int) -> Finding:
    """Whether ``needed`` bytes, those of a predictor's process, are free."""
    return judged_memory(available_memory(), needed)


def judged_memory(available: int, needed: int) -> Finding:
    text = f"{available / 2**30:.1f} GiB free, the predictor takes {needed / 2**30:.1f}"
    if available >= 2 * needed:
        return Finding("memory", Level.OK, text)
    level = Level.WARN if available >= needed else Level.FAIL
    return Finding("memory", level, text, "end other programs, or give the container more")


def available_memory(meminfo: Path = MEMINFO, group: Path = GROUP) -> int:
    """Bytes that programs can still get here; the limit of a container counts."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
    free = int(found[1]) << 10 if found else 0
    with suppress(OSError, ValueError):  # no such limit
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        free = min(free, max(0, limit))
    return free
