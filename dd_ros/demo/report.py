# SPDX-License-Identifier: Apache-2.0
"""A recording of a live run -> report, curve, filmstrip and video. No ROS here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dd_ros.data.steps import StepClock
from dd_ros.demo.recording import Image, Recording
from dd_ros.errors import InputError
from dd_ros.evaluation.plots import filmstrip
from dd_ros.evaluation.video import side_by_side, tile, write_video

FILES = ("demo.mp4", "filmstrip.png", "psnr.png", "report.json", "report.md")
# Brightening of the error images, so that people see small errors.
ERROR_GAIN = 2.0


def figures(recording: Recording, checkpoint: str, node: dict[str, str] | None = None) -> dict[str, Any]:
    """Everything ``report.json`` holds; NaN becomes None.

    Args:
        recording: a finished recording.
        checkpoint: name of the weights.
        node: what the predictor said of itself last (diagnostics), key -> value.
    """
    width, height = recording.size or (0, 0)
    return {
        "checkpoint": checkpoint,
        "seconds": round(recording.duration_ns / 1e9, 3),
        "image": [width, height],
        "step_s": recording.step_ns / 1e9,
        "horizon": recording.horizon,
        "camera_frames": recording.camera_frames,
        "camera_steps": recording.camera_steps,
        "predictions": recording.predictions,
        "complete_predictions": len(recording.horizon_ages),
        "shorter_predictions": recording.predictions - recording.lengths[recording.horizon],
        "incomplete_predictions": recording.incomplete,
        "steps_without_prediction": recording.unpredicted_steps,
        "age_ms": {
            "first_chunk": percentiles(recording.first_chunk_ages),
            "horizon": percentiles(recording.horizon_ages),
        },
        "missed": {
            "chunks": recording.missed_chunks,
            "of_chunks": recording.chunks,
            "late_frames": recording.late_frames,
        },
        "psnr": quality(recording),
        "node": node or {},
    }


def percentiles(ages_ns: Sequence[int]) -> dict[str, float | None]:
    """p50, p95, p99 and the maximum in ms; None without a sample."""
    if not ages_ns:
        return dict.fromkeys(("p50", "p95", "p99", "max"))
    ages = np.asarray(ages_ns) / 1e6
    p50, p95, p99 = np.percentile(ages, (50, 95, 99))
    return {
        "p50": round(float(p50), 2),
        "p95": round(float(p95), 2),
        "p99": round(float(p99), 2),
        "max": round(float(ages.max()), 2),
    }


def quality(recording: Recording) -> dict[str, Any]:
    """Mean PSNR in dB of the predictions and of copy-last at every lead, with the number of frames."""
    model = stacked(recording.model_psnr, recording.horizon)
    copy = stacked(recording.copy_psnr, recording.horizon)
    known = np.isfinite(model)
    count = known.sum(axis=0)

    def mean(values: NDArray[np.float64]) -> list[float | None]:
        total = np.where(known, values, 0.0).sum(axis=0)
        return [round(float(t / n), 3) if n else None for t, n in zip(total, count, strict=True)]

    gain = mean(model - copy)
    from_second = [value for value in gain[1:] if value is not None]
    return {
        "steps": list(range(1, recording.horizon + 1)),
        "count": [int(n) for n in count],
        "model": mean(model),
        "copy_last": mean(copy),
        "gain": gain,
        "above_copy_last_from_step_2": bool(from_second) and min(from_second) > 0.0,
    }


def stacked(rows: Sequence[NDArray[np.float64]], length: int) -> NDArray[np.float64]:
    """Rows [k] of at most ``length`` values as one array [N, length], with NaN behind the shorter ones."""
    table = np.full((len(rows), length), np.nan)
    for place, row in zip(table, rows, strict=True):
        place[: len(row)] = row
    return table


def write_report(
    recording: Recording, folder: Path, *, checkpoint: str, node: dict[str, str]
) -> dict[str, Any]:
    """Write all ``FILES`` that the recording allows into ``folder`` and return the figures.

    Raises:
        InputError: the folder cannot be written.
    """
    recording.finish()
    result = figures(recording, checkpoint, node)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:  # none may be left from an earlier run
            (folder / name).unlink(missing_ok=True)
        if any(result["psnr"]["count"]):
            FigureCanvasAgg(curve(result)).print_png(folder / "psnr.png")
        if recording.best is not None:
            moment = recording.best
            scale = {"steps": result["psnr"]["steps"][: len(moment.real)], "fps": 1.0 / result["step_s"]}
            figure = filmstrip(scale, [(moment.observed, moment.real, moment.predicted)])
            FigureCanvasAgg(figure).print_png(folder / "filmstrip.png")
        if recording.predictions:
            write_video(folder / "demo.mp4", video(recording), 1.0 / result["step_s"])
        (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n")
        (folder / "report.md").write_text(markdown(result, folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return result


def video(recording: Recording) -> Iterator[Image]:
    """One image per model step: the camera, what had been predicted for that time, and the error."""
    leads, step = recording.leads(), recording.step_ns
    clock = StepClock(1e9 / step)
    for stamp in recording.frames.stamps:
        if clock.step_of(stamp) is None:
            continue
        real = recording.frames.near(stamp, 0)
        assert real is not None
        tiles = [tile(real, "camera")]
        for wanted in leads:
            found = recording.shown[wanted].near(stamp, step / 4)
            label = f"predicted {(wanted if found is None else found.lead) * step / 1e9:.2f} s ahead"
            tiles.append(tile(blank(real) if found is None else found.frame, label))
        last = recording.shown[leads[-1]].near(stamp, step / 4)
        error = blank(real) if last is None else difference(real, last.frame)
        tiles.append(tile(error, f"error of the last one, x{ERROR_GAIN:g}"))
        yield side_by_side(tiles)


def blank(like: Image) -> Image:
    """A grey image: nothing was predicted for this time."""
    return np.full_like(like, 128)


def difference(real: Image, predicted: Image) -> Image:
    """Absolute difference of two images, brightened."""
    error = np.abs(real.astype(np.int16) - predicted.astype(np.int16))
    return np.minimum(ERROR_GAIN * error, 255).astype(np.uint8)


def curve(result: dict[str, Any]) -> Figure:
    """PSNR of the predictions and of copy-last against the lead time."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    quality = result["psnr"]
    seconds = np.asarray(quality["steps"]) * result["step_s"]
    for name, label, style in (("model", "predicted", "o-"), ("copy_last", "copy of the last frame", "s--")):
        axes.plot(seconds, np.array(quality[name], float), style, markersize=3, label=label)
    axes.set(xlabel="seconds ahead", ylabel="PSNR in dB")
    axes.set_title(f"{result['checkpoint']}, live: {max(quality['count'])} predictions")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def markdown(result: dict[str, Any], folder: Path) -> str:
    """The report for people."""
    missed, quality = result["missed"], result["psnr"]
    images = [name for name in FILES if name.endswith(".png") and (folder / name).exists()]
    short = result["shorter_predictions"]
    shorter = f"; {short} of them shorter, as time was short" if short else ""
    lines = [
        f"# {result['checkpoint']}: predictions of a live camera",
        "",
        f"{result['predictions']} predictions in {result['seconds']:.1f} s, each {result['horizon']} frames of "
        f"{result['image'][0]}x{result['image'][1]} pixels, {result['horizon'] * result['step_s']:.2f} s ahead"
        f"{shorter}.",
        "",
        "Age: time of publication minus time stamp of the camera frame, in ms.",
        "",
        "| | p50 | p95 | p99 | max |",
        "|---|---|---|---|---|",
        *(_age_row(label, result["age_ms"][key]) for key, label in _AGES),
        "",
        f"- camera steps without a prediction: {result['steps_without_prediction']} of {result['camera_steps']}",
        f"- chunks published after their time: {missed['chunks']} of {missed['of_chunks']}; "
        f"single late frames: {missed['late_frames']}",
        f"- predictions with missing chunks: {result['incomplete_predictions']}",
        "",
        "PSNR in dB against the frames that came, beside a copy of the last frame:",
        "",
        "| lead (s) | predicted | copy-last | gain | frames |",
        "|---|---|---|---|---|",
    ]
    rows = zip(*(quality[key] for key in ("steps", "model", "copy_last", "gain", "count")), strict=True)
    for step, model, copy, gain, count in rows:
        values = " | ".join("-" if value is None else f"{value:.2f}" for value in (model, copy, gain))
        lines.append(f"| {step * result['step_s']:.2f} | {values} | {count} |")
    lines += ["", *(f"![{Path(name).stem}]({name})\n" for name in images)]
    return "\n".join(lines)


_AGES = (("first_chunk", "first chunk"), ("horizon", "whole horizon"))


def _age_row(label: str, ages: dict[str, float | None]) -> str:
    values = (ages[key] for key in ("p50", "p95", "p99", "max"))
    return f"| {label} | " + " | ".join("-" if value is None else f"{value:.1f}" for value in values) + " |"


def summary(result: dict[str, Any]) -> str:
    """One line with the key figures."""
    ages, quality = result["age_ms"], result["psnr"]
    gains = [value for value in quality["gain"][1:] if value is not None]
    skill = (
        f"PSNR above copy-last by {min(gains):+.1f} to {max(gains):+.1f} dB from the second frame on"
        if gains
        else "no PSNR"
    )
    age = f"age p50/p99 {ages['first_chunk']['p50']}/{ages['first_chunk']['p99']} ms (first chunk)"
    whole = f"{ages['horizon']['p50']}/{ages['horizon']['p99']} ms (whole horizon)"
    return f"{result['predictions']} predictions; {age}, {whole}; {skill}"
