# SPDX-License-Identifier: Apache-2.0
"""``dd_ros bench``: how long predictions take, beside other schedules of the same network."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dd_ros.benchmark.node import bench_node
from dd_ros.benchmark.roofline import roofline, synchronise
from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor

RIVAL_SCHEDULES = ("teacher", "uniform4_clean_context", "uniform2", "one_step")
CAMERA = (640, 480)  # width and height of the images given to observe
WARM_UP = 5  # runs before measuring
LATENCY_RUNS = (30, 200)  # at least, at most
PAIRED_RUNS = (3, 30)
CANDIDATES = (1, 8, 64, 256)
CANDIDATE_RUNS = (2, 20)

DEFINITIONS = {
    "latency_ms": "from a 640x480 uint8 RGB camera image in memory to predicted uint8 frames in memory: "
    "resizing, encoding and caching the observation, denoising, decoding, copy back from the device; "
    "first_chunk up to the first chunk's frames, horizon up to the last one's",
    "frames_per_second": "frames of the horizon over the median horizon latency",
    "versus": "same network, weights and process; each run is paired with one of ours right before it; "
    "medians of paired runs; speedups are medians of the pairs' ratios (that row's time over ours); "
    "clean-context rows refresh a chunk before the next one begins: the first frame does not wait for it",
    "candidates_ms": "median time of one call for N action sequences from one context, whole horizon, without "
    "observe; null where it would have exceeded the time allowed; candidates has its quantiles with frames, and for "
    "costs alone, when nothing is decoded",
    "floor": "flops of matrix products, convolutions and attention; bytes of weights per pass and of cached "
    "keys and values; kernels that the device runs (on a CPU operators), each at least as long as a trivial one; "
    "ms is the largest of the three at the rates measured here; ratio is the median horizon latency over it",
}

T = TypeVar("T")


class Stream:
    """An endless camera in memory: every run observes the next image and predicts the horizon.

    Args:
        predictor: what sees it.
        candidates: action sequences of a call at most.
        seed: of images and actions.
    """

    def __init__(self, predictor: Predictor, candidates: int = 1, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.predictor = predictor
        self.images = rng.integers(0, 256, (2, CAMERA[1], CAMERA[0], 3), np.uint8)
        self.mean = np.asarray(predictor.config.action.mean)
        self.actions = self.mean + np.asarray(predictor.config.action.std) * rng.standard_normal(
            (candidates, predictor.horizon, predictor.action_dim)
        )
        self.tick = 0

    def observe(self) -> None:
        """Take in the next image, one model step later."""
        self.predictor.observe(self.images[self.tick % 2], self.tick * self.predictor.step_ns, self.mean)
        self.tick += 1

    def run(self) -> tuple[float, float]:
        """Milliseconds from image in to (first chunk, whole horizon) out."""
        synchronise(self.predictor.device)
        start = time.perf_counter()
        self.observe()
        times = [time.perf_counter() for _ in self.predictor.predict_chunks(self.actions[0])]
        return 1e3 * (times[0] - start), 1e3 * (times[-1] - start)

    def candidates(self, count: int, *, frames: bool = True) -> float:
        """Milliseconds of one call for ``count`` action sequences, with their ``frames`` or without."""
        synchronise(self.predictor.device)
        start = time.perf_counter()
        for _ in self.predictor.rollouts(self.actions[:count], frames="all" if frames else None):
            pass
        return 1e3 * (time.perf_counter() - start)


def bench(
    checkpoint: str | Path,
    json_path: str | Path | None,
    *,
    device: str = "auto",
    node: bool = False,
    horizon: int | None = None,
    seconds: float = 30.0,
) -> dict[str, Any]:
    """Measure a checkpoint's speed; writes and returns the figures.

    Args:
        checkpoint: folder or shipped name.
        json_path: where the figures go, after each row, so that a run cut short leaves those it has; None: they are
            only returned.
        device: ``auto``, ``cpu`` or ``cuda``.
        node: also run the real node, fed by a camera in another process, and measure through topics.
        horizon: frames to predict; None: the checkpoint's.
        seconds: as for ``measure``.

    Raises:
        InputError: unusable checkpoint, device or horizon; with ``node``, no ROS environment.
    """
    if node and horizon:
        raise InputError(f"--horizon {horizon}: the node predicts as far as its checkpoint; leave out --node")
    console = Console(stderr=True)
    predictor = Predictor.load(checkpoint, device)
    predictor = predictor.with_horizon(horizon) if horizon else predictor
    result: dict[str, Any] = {}
    with console.status("warming up") as status:
        for result in measure(predictor, seconds=seconds, say=status.update):
            write_json(json_path, result)
    if node:
        with console.status("measuring the node through real topics"):
            result |= bench_node(checkpoint, predictor.device.type)
        write_json(json_path, result)
    summarise(result)
    return result


def measure(
    predictor: Predictor,
    *,
    seconds: float,
    rivals: Sequence[str] = RIVAL_SCHEDULES,
    candidates: Sequence[int] = CANDIDATES,
    say: Callable[[str], object] = lambda text: None,
) -> Iterator[dict[str, Any]]:
    """The figures of a predictor so far, after each row.

    Args:
        predictor: the one to measure, which observes made-up images.
        seconds: aimed at for each of the three parts; the teacher may exceed its part, since one
            run of it on a CPU takes long.
        rivals: schedules to compare with, as ``schedule.preset`` names them.
        candidates: numbers of action sequences of one call.
        say: is told what is measured next.
    """
    stream = Stream(predictor, max(candidates, default=1))
    say("warming up")
    predictor.warm_up()
    for _ in range(WARM_UP):
        stream.run()
    say("measuring latency")
    runs = np.array(repeated(stream.run, LATENCY_RUNS, seconds))
    latency = latencies(runs, predictor.horizon)
    result = about(predictor) | {"runs": len(runs)} | latency
    result |= {"versus": {}, "candidates_ms": {}, "candidates": {}, "definitions": DEFINITIONS}
    say("counting operations")
    result["floor"] = roofline(predictor, stream.run, latency["latency_ms"]["horizon"]["p50"])
    yield result
    for name in rivals:
        say(f"comparing with {name}")
        result["versus"][name] = compare(predictor, stream, name, seconds=seconds / len(rivals))
        yield result
    say("measuring candidates")
    for count, row in measure_candidates(stream, candidates, seconds):
        result["candidates"][str(count)] = row
        result["candidates_ms"][str(count)] = row and row["frames"]["p50"]
        yield result


def about(predictor: Predictor) -> dict[str, Any]:
    """What was measured, and on what."""
    schedule, horizon = predictor.schedule, predictor.horizon
    return {
        "checkpoint": predictor.config.name,
        "parameters": sum(parameter.numel() for parameter in predictor.model.parameters()),
        "device": device_name(predictor.device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if predictor.device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "dtype": str(predictor.dtype).removeprefix("torch."),
        "image": [predictor.width, predictor.height],
        "horizon": horizon,
        "chunk_frames": predictor.chunk_frames,
        "schedule": [len(schedule.chunk_levels(i)) for i in range(schedule.chunks(horizon))],
    }


def latencies(runs: NDArray[np.float64], horizon: int) -> dict[str, Any]:
    """Quantiles of ``runs`` [R, 2], milliseconds to the first chunk and to the horizon, and frames per second."""
    first, whole = quantiles(runs[:, 0]), quantiles(runs[:, 1])
    return {
        "latency_ms": {"first_chunk": first, "horizon": whole},
        "frames_per_second": round(horizon / whole["p50"] * 1e3, 2),
    }


def repeated(run: Callable[[], T], bounds: tuple[int, int], seconds: float) -> list[T]:
    """Results of ``run``, called at least and at most ``bounds`` times, for about ``seconds``."""
    results: list[T] = []
    start = time.perf_counter()
    while len(results) < bounds[0] or (len(results) < bounds[1] and time.perf_counter() - start < seconds):
        results.append(run())
    return results


def quantiles(values: Any) -> dict[str, float]:
    """p50, p95, p99 and max of milliseconds."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {"p50": ms(p50), "p95": ms(p95), "p99": ms(p99), "max": ms(np.max(values))}


def ms(value: Any) -> float:
    return round(float(value), 3)


def compare(ours: Predictor, stream: Stream, name: str, *, seconds: float) -> dict[str, Any]:
    """One row of ``versus``: the same network with schedule ``name``, alternating with ours."""
    schedule = preset(name, ours.chunk_frames, ours.horizon)
    rival = Stream(ours.with_schedule(schedule))
    passes = schedule.passes(ours.horizon)
    if ours.device.type == "cuda":
        for _ in range(2):  # it may capture graphs
            rival.run()
    elif passes <= 4 * ours.schedule.passes(ours.horizon):  # minutes of teacher need no warm-up
        rival.run()
    rival.observe()
    pairs = np.array(repeated(lambda: (*stream.run(), *rival.run()), PAIRED_RUNS, seconds))
    first, horizon, rival_first, rival_horizon = pairs.T
    return {
        **latencies(pairs[:, 2:], ours.horizon),
        "first_frame_ms": ms(np.median(rival_first)),
        "horizon_ms": ms(np.median(rival_horizon)),
        "speedup_first_frame": ms(np.median(rival_first / first)),
        "speedup_horizon": ms(np.median(rival_horizon / horizon)),
        "passes": passes,
        "passes_ours": ours.schedule.passes(ours.horizon),
        "runs": len(pairs),
    }


def measure_candidates(
    stream: Stream, counts: Sequence[int], seconds: float
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Per number of candidates what a call takes; None where the fewest calls would exceed ``seconds``."""
    per_candidate = 0.0
    calls = 1 + CANDIDATE_RUNS[0]
    for count in counts:
        if calls * per_candidate * count > 1e3 * seconds:
            yield count, None
            continue
        row: dict[str, Any] = {}
        for name, frames in (("frames", True), ("costs", False)):
            call = partial(stream.candidates, count, frames=frames)
            call()
            row[name] = quantiles(repeated(call, CANDIDATE_RUNS, 0.5 * seconds / len(counts)))
        per_candidate = row["frames"]["p50"] / count
        row["frames_per_second"] = round(1e3 * stream.predictor.horizon / per_candidate, 2)
        yield count, row


def device_name(device: torch.device) -> str:
    """Kind and model of a device, such as ``cpu (x86_64, 2 cores)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {len(os.sched_getaffinity(0))} cores)"


def summarise(result: dict[str, Any]) -> None:
    """Print a table and one line."""
    latency = result["latency_ms"]
    floor = result["floor"]
    table = Table("schedule", "first chunk ms", "horizon ms", "first chunk", "horizon")
    steps = "-".join(map(str, result["schedule"]))
    table.add_row(
        f"ours ({steps})",
        f"{latency['first_chunk']['p50']:.1f}",
        f"{latency['horizon']['p50']:.1f}",
        "1x",
        "1x",
    )
    for name, row in result["versus"].items():
        speedups = (f"{row[key]:.2f}x" for key in ("speedup_first_frame", "speedup_horizon"))
        table.add_row(name, f"{row['first_frame_ms']:.1f}", f"{row['horizon_ms']:.1f}", *speedups)
    Console().print(table)
    age = f", age in the node {result['age_ms']['p50']:.0f} ms" if "age_ms" in result else ""
    print(
        f"{result['checkpoint']} on {result['device']}: first chunk {latency['first_chunk']['p50']:.0f} ms, "
        f"horizon of {result['horizon']} frames {latency['horizon']['p50']:.0f} ms (medians), "
        f"{floor['ratio']:.1f}x the floor of {floor['ms']:.3g} ms ({floor['operations_ms']:.3g} by operations, "
        f"{floor['bytes_ms']:.3g} by bytes, {floor['kernels_ms']:.3g} by {floor['kernels']} kernels){age}"
    )
