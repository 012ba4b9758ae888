# SPDX-License-Identifier: Apache-2.0
"""Which number format this machine trains fastest in without loss."""

from __future__ import annotations

from typing import Literal

import torch


def precision() -> Literal["bf16-mixed", "32-true"]:
    """Lightning's name of the format: bfloat16 where GPU or CPU multiply it natively, else float32."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"
