# SPDX-License-Identifier: Apache-2.0
"""Devices, and the number format each multiplies fastest."""

from __future__ import annotations

import shutil
from typing import Any, TypeVar, cast

import torch
from torch import nn

from dd_ros.errors import InputError

Module = TypeVar("Module", bound=nn.Module)
MOST_SHAPES = 64  # that one function is compiled for: rollouts at once, chunks in the window, schedules


def resolve_device(device: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` -> torch device; InputError where there is no such device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device {device!r}: expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': this machine has no usable CUDA device; use auto or cpu")
    return torch.device(device)


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def prepare_for_inference(module: Module, dtype: torch.dtype) -> Module:
    """Lay out the weights of matrix products and convolutions of ``module`` as predictions want them; gives it back.

    In ``dtype``, so that autocast need not cast them; and channels last, as camera images lie in memory: a third
    faster on a CPU. Training there is a fourth slower with it, so this is for good.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.to(dtype)
        elif isinstance(part, nn.Conv2d):
            cast(Any, part).to(dtype=dtype, memory_format=torch.channels_last)
    return module.eval()


def compile_for_inference(model: Any, device: torch.device) -> None:
    """Let torch's compiler (Inductor) fuse kernels of what the predictor calls of a ``checkpoint.Model``, in place.

    Each part is compiled when it is first run with a shape: by ``warm_up``, in some minutes on a CPU and one on a GPU. What
    was made is kept on disk (``TORCHINDUCTOR_CACHE_DIR``) for the next start.

    Raises:
        InputError: a CPU needs a C++ compiler for it, and there is none.
    """
    if device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++")):
        raise InputError("compile: a CPU needs a C++ compiler; install g++, or leave compile off")
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    for part, names in (
        (model.autoencoder, ("encode", "decode")),
        (model.transformer, ("observe", "denoise")),
    ):
        for name in names:
            setattr(part, name, torch.compile(getattr(part, name), dynamic=False, fullgraph=True))
