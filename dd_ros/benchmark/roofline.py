# SPDX-License-Identifier: Apache-2.0
"""The least time a horizon can take on a device: its operations, bytes and kernels at measured rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from dd_ros.checkpoint import Model
from dd_ros.diffusion.rollout import rollout
from dd_ros.model.autoencoder import to_model_range
from dd_ros.model.cache import KVCache
from dd_ros.model.transformer import LastObservation
from dd_ros.predictor import Predictor

MATRIX = {"cpu": 1024, "cuda": 8192}  # side of the matrices whose product measures operations per second
COPY_BYTES = 256 * 2**20  # bytes whose copy measures bytes per second; more than any CPU cache here
TRIVIAL = 1000  # kernels in a row that measure what one takes at least
REPEATS = 5
NO_KERNEL = ("aten::empty", "aten::new_empty", "aten::_local_scalar_dense")  # operators that compute nothing


def roofline(predictor: Predictor, run: Callable[[], object], measured_ms: float) -> dict[str, Any]:
    """Lower bound of one horizon, against what was measured.

    Args:
        predictor: the predictor that ``run`` uses.
        run: observes one frame and predicts one horizon.
        measured_ms: what ``run`` takes.

    Returns:
        ``flops`` (of matrix products, convolutions and attention), ``bytes`` (weights of every network pass, and keys
        and values that the passes read) and ``kernels`` (as ``count_kernels``); ``operations_ms``, ``bytes_ms`` and
        ``kernels_ms``, what each takes at the rates measured here; ``ms``, the largest of them, and ``ratio``, measured
        over ``ms``. ``operations_ms`` and ``bytes_ms`` are the network's, ``kernels_ms`` is the code's: fewer kernels
        make it less. The rates: ``flops_per_second``, ``bytes_per_second``, ``kernel_us`` (a trivial kernel behind
        another on the device, nobody waiting for its launch) and ``launch_us`` (the same launched one by one).
    """
    device = predictor.device
    operations, traffic = count_flops(predictor), count_bytes(predictor)
    kernels = count_kernels(run, device)
    flops_rate, bytes_rate = product_rate(device, predictor.dtype), copy_rate(device)
    kernel, launch = kernel_seconds(device)
    least = {
        "operations_ms": 1e3 * operations / flops_rate,
        "bytes_ms": 1e3 * traffic / bytes_rate,
        "kernels_ms": 1e3 * kernels * kernel,
    }
    floor = max(least.values())
    return {
        "flops": operations,
        "bytes": traffic,
        "kernels": kernels,
        **{name: round(value, 4) for name, value in least.items()},
        "ms": round(floor, 4),
        "ratio": round(measured_ms / floor, 2),
        "flops_per_second": round(flops_rate),
        "bytes_per_second": round(bytes_rate),
        "kernel_us": round(1e6 * kernel, 3),
        "launch_us": round(1e6 * launch, 3),
    }


def count_flops(predictor: Predictor) -> int:
    """Floating point operations of one observation and one horizon, from the shapes alone.

    Not from a run of the predictor: what a graph replays shows no operator.
    """
    config, schedule, frames = predictor.config, predictor.schedule, predictor.horizon
    with torch.device("meta"), torch.inference_mode(), flop_counter() as counter:
        model = Model(config).eval()
        image = torch.empty(1, config.streams.height, config.streams.width, 3, dtype=torch.uint8)
        latent, reference = model.autoencoder.encode(to_model_range(image))
        action = torch.empty(1, config.action.dim)
        cache = KVCache(config.context_frames, config.transformer.window_frames // schedule.chunk_frames)
        cache.observe(model.transformer.observe(latent[:, None], action[:, None]))
        chunks = rollout(
            model.transformer,
            cache,
            last_observation=LastObservation(latent, latent, action),
            actions=torch.empty(1, frames, config.action.dim),
            noise=torch.empty(1, frames, *latent.shape[1:]),
            schedule=schedule,
        )
        for _ in range(schedule.chunks(frames)):  # nobody asks for the refresh after the last one
            model.autoencoder.decode(next(chunks).latents.flatten(0, 1), reference)
    return int(counter.get_total_flops())


def flop_counter() -> FlopCounterMode:
    """Counts the CPU's fused attention as well, which torch leaves out."""

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={fused: attention})


def count_kernels(run: Callable[[], object], device: torch.device) -> int:
    """Kernels, copies and fills that ``run`` has the device do; on a CPU the operators that compute something."""
    if device.type == "cuda":
        return count_device_events(run, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # nothing runs beside it then; the counter sees its own thread alone
    try:
        with Operators() as counter:
            run()
    finally:
        torch.set_num_threads(threads)
    return counter.count


def count_device_events(run: Callable[[], object], device: torch.device) -> int:
    """What torch's profiler saw a CUDA device do, in graphs too."""
    run()
    synchronise(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        run()
        synchronise(device)
    events = seen.events() or ()
    return sum(event.device_type == DeviceType.CUDA and not event.is_user_annotation for event in events)


class Operators(TorchDispatchMode):
    """Counts the operators of its thread that are no view and no plain allocation."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view and not func.name().startswith(NO_KERNEL)
        return func(*args, **(kwargs or {}))


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


@torch.inference_mode()
def kernel_seconds(device: torch.device) -> tuple[float, float]:
    """Seconds of a trivial kernel behind another one: as the device gets it from a graph, and launched from Python.

    A CPU has no such graph: both are what an operator takes that does next to nothing.
    """
    x = torch.zeros(1, device=device)

    def launch() -> None:
        for _ in range(TRIVIAL):
            x.add_(1.0)

    launched = best_seconds(launch, device) / TRIVIAL
    if device.type != "cuda":
        return launched, launched
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    return best_seconds(graph.replay, device) / TRIVIAL, launched
