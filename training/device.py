# SPDX-License-Identifier: Apache-2.0
"""What suits the machine that trains: number format, batch size, processes beside the one that trains."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Literal

import torch

from dd_ros.device import native_dtype, resolve_device

CPU_CLIPS = 8  # more clips per step are not faster on a CPU, and learn less per minute
MOST_CLIPS = 64
MOST_WORKERS = 8
MOST_DECODERS = 16  # that fill a store
PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent ends
CLIP_BYTES_PER_PIXEL = 40_000  # distillation of an 18-frame clip, measured at 128x96 in float32, rounded up


def precision() -> Literal["bf16-mixed", "32-true"]:
    """Lightning's name of the format: bfloat16 where GPU or CPU multiply it natively, else float32."""
    return "bf16-mixed" if native_dtype(resolve_device("auto")) == torch.bfloat16 else "32-true"


def batch_size(width: int, height: int) -> int:
    """Clips of ``width`` x ``height`` pixels per step that suit this machine."""
    if not torch.cuda.is_available():
        return CPU_CLIPS
    free, _ = torch.cuda.mem_get_info()
    return clips_within(free // 2, width * height)


def clips_within(memory: int, pixels: int) -> int:
    """Clips whose training fits into ``memory`` bytes, from CPU_CLIPS to MOST_CLIPS."""
    return max(CPU_CLIPS, min(MOST_CLIPS, memory // (CLIP_BYTES_PER_PIXEL * pixels)))


def training_device(accelerator: str) -> torch.device:
    """Where this process of a run trains, ``accelerator`` as in a recipe."""
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def memory_for_frames(device: torch.device, share: float, processes: int = 1) -> int:
    """Bytes that each of ``processes`` may fill with frames: ``share`` of the device's memory, or of RAM on a CPU.

    No more than half of what is free there, as others may be at work.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(min(share * total, free / 2))
    free, total = free_and_total_ram()
    return int(min(share * total, free / 2) / processes)


def free_and_total_ram() -> tuple[int, int]:
    """Bytes of RAM that are free, and of all that this process may use."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    free, total = (1024 * kilobytes[name] for name in ("MemAvailable", "MemTotal"))
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # none of that kind, or "max"
        limit = total
    return min(free, limit), min(total, limit)


def loader_workers() -> int:
    """Processes that decode images: half of the cores that this process may use, one at least."""
    return min(MOST_WORKERS, share_of_cores(2))


def share_of_cores(jobs: int) -> int:
    """Cores for each of ``jobs`` that share those which this process may use, one at least."""
    return max(1, len(os.sched_getaffinity(0)) // jobs)


def die_with_parent() -> None:
    """End this process when the one that started it ends, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
