# SPDX-License-Identifier: Apache-2.0
"""The least time a horizon can take on a device: its operations and bytes at measured rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from dd_ros.predictor import Predictor

MATRIX = {"cpu": 1024, "cuda": 8192}  # side of the matrices whose product measures operations per second
COPY_BYTES = 256 * 2**20  # bytes whose copy measures bytes per second; more than any CPU cache here
REPEATS = 5


def roofline(predictor: Predictor, run: Callable[[], object], measured_ms: float) -> dict[str, Any]:
    """Lower bound of one horizon, against what was measured.

    Args:
        predictor: the predictor that ``run`` uses.
        run: observes one frame and predicts one horizon.
        measured_ms: what ``run`` takes.

    Returns:
        ``flops`` (of matrix products, convolutions and attention), ``bytes`` (weights of every
        network pass, and keys and values that the passes read), ``ms`` (the larger of both at the
        device's measured rates), ``ratio`` (measured over ``ms``), and the two rates.
    """
    operations = count_flops(run)
    traffic = count_bytes(predictor)
    flops_rate, bytes_rate = product_rate(predictor.device, predictor.dtype), copy_rate(predictor.device)
    least = 1e3 * max(operations / flops_rate, traffic / bytes_rate)
    return {
        "flops": operations,
        "bytes": traffic,
        "ms": round(least, 3),
        "ratio": round(measured_ms / least, 2),
        "flops_per_second": round(flops_rate),
        "bytes_per_second": round(bytes_rate),
    }


def count_flops(run: Callable[[], object]) -> int:
    """Floating point operations of ``run``; the CPU's fused attention included, which torch leaves out."""

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # nothing runs beside it then; the counter sees its own thread alone
    try:
        with FlopCounterMode(display=False, custom_mapping={fused: attention}) as counter:
            run()
    finally:
        torch.set_num_threads(threads)
    return int(counter.get_total_flops())


def count_bytes(predictor: Predictor) -> int:
    """Bytes that one observe and one horizon must read at least: weights once per pass, and the cache."""
    config, schedule, model = predictor.config, predictor.schedule, predictor.model
    transformer = config.transformer
    chunks = schedule.chunks(predictor.horizon)
    size = predictor.dtype.itemsize
    frame = 2 * model.transformer.tokens * transformer.width * transformer.depth * size  # keys and values
    window = transformer.window_frames // schedule.chunk_frames
    total = weight_bytes(model.autoencoder.encoder) + chunks * weight_bytes(model.autoencoder.decoder)
    total += (schedule.passes(predictor.horizon) + 1) * weight_bytes(model.transformer)
    for chunk in range(chunks):
        passes = len(schedule.chunk_levels(chunk)) * (2 if schedule.guidance else 1) + schedule.clean_context
        total += passes * frame * (config.context_frames + min(chunk, window) * schedule.chunk_frames)
    return total


def weight_bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def best_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Shortest of some runs, in seconds, device work finished."""
    times = []
    for _ in range(REPEATS + 1):
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def synchronise(device: torch.device) -> None:
    """Wait for the device's work; nothing to do on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, as torch is set up now."""
    side = MATRIX[device.type]
    a = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / best_seconds(lambda: a @ a, device)


def copy_rate(device: torch.device) -> float:
    """Bytes per second read and written by a large copy."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2 * COPY_BYTES / best_seconds(lambda: target.copy_(source), device)
