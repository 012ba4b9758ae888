# SPDX-License-Identifier: Apache-2.0
"""Numbers that networks begin with, made on the CPU.

Also while a network is built without memory (device "meta") to learn its shapes: there torch makes such numbers by
means of its compiler, whose import takes as long as that of everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor


def counted(count: int) -> Tensor:
    """0 to ``count`` - 1, int64 [count]."""
    return torch.arange(count, device="cpu")


def spaced(first: float, last: float, count: int) -> Tensor:
    """``count`` numbers from ``first`` to ``last`` at equal distances, float32 [count]."""
    return torch.linspace(first, last, count, device="cpu")


def placed(numbers: Tensor) -> Tensor:
    """The same, on the device where new tensors are."""
    return numbers.to(torch.get_default_device())
