# SPDX-License-Identifier: Apache-2.0
"""What suits the machine that trains: number format, batch size, processes beside the one that trains."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Literal

import torch

from dd_ros.device import native_dtype, resolve_device

CPU_CLIPS = 8  # more clips per step are not faster on a CPU, and learn less per minute
MOST_CLIPS = 64
MOST_WORKERS = 8
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


def loader_workers() -> int:
    """Processes that decode images: half of the cores that this process may use, one at least."""
    return min(MOST_WORKERS, share_of_cores(2))


def share_of_cores(jobs: int) -> int:
    """Cores for each of ``jobs`` that share those which this process may use, one at least."""
    return max(1, len(os.sched_getaffinity(0)) // jobs)


def die_with_parent() -> None:
    """End this process when the one that started it ends, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
