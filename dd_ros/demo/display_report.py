# SPDX-License-Identifier: Apache-2.0
"""A recorded predictive display -> figures, curve, film strip and video. No ROS here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dd_ros.demo.display import Display, Image, Moment
from dd_ros.demo.report import percentiles
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import decibel
from dd_ros.evaluation.plots import mosaic
from dd_ros.evaluation.video import side_by_side, tile, write_video

VIDEO, STRIP, CURVE = "display.mp4", "display.png", "error.png"
FILES = (VIDEO, STRIP, CURVE, "report.json", "report.md")
COLUMNS = 6  # moments of the film strip


def figures(display: Display, *, checkpoint: str, delay: float) -> dict[str, Any]:
    """Everything ``report.json`` holds; PSNR is of single frames, then averaged, as everywhere."""
    errors = np.array(display.errors, np.float64).reshape(-1, 2)
    psnr = decibel((errors / 255.0) ** 2)
    return {
        "checkpoint": checkpoint,
        "delay_s": delay,
        "moments": len(errors),
        "age_ms": percentiles(display.ages_ns),
        "ahead_ms": percentiles(display.aheads_ns),
        **{
            name: {"psnr": mean(psnr[:, column]), "rms": mean(errors[:, column])}
            for column, name in enumerate(("stale", "predicted"))
        },
        "nearer": mean(errors[:, 1] < errors[:, 0]),
    }


def mean(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 3) if len(values) else None


def write_report(display: Display, folder: Path, *, checkpoint: str, delay: float) -> dict[str, Any]:
    """Write all FILES that the recording allows into ``folder`` and return the figures.

    Raises:
        InputError: the folder cannot be written.
    """
    result = figures(display, checkpoint=checkpoint, delay=delay)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:  # none may be left from an earlier run
            (folder / name).unlink(missing_ok=True)
        if display.moments:
            FigureCanvasAgg(strip(list(display.moments))).print_png(folder / STRIP)
            FigureCanvasAgg(curve(display, result)).print_png(folder / CURVE)
            write_video(folder / VIDEO, video(display), rate(display))
        (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n")
        (folder / "report.md").write_text(markdown(result, folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return result


def rate(display: Display) -> float:
    """Moments per second."""
    times = np.array([moment.time_ns for moment in display.moments])
    return float(1e9 / np.median(np.diff(times))) if len(times) > 1 else 10.0


def tiles(moment: Moment) -> list[Image]:
    """The three images with their labels."""
    return [
        tile(moment.stale, f"camera, {moment.age_ns / 1e6:.0f} ms late"),
        tile(moment.predicted, "predicted for now"),
        tile(moment.true, "now"),
    ]


def video(display: Display) -> Iterator[Image]:
    """One image per moment: delayed, predicted, true."""
    return (side_by_side(tiles(moment)) for moment in display.moments)


def strip(moments: list[Moment]) -> Figure:
    """Stale, predicted and true frames around the moment at which the delay does most harm."""
    worst = int(np.argmax([np.abs(m.true.astype(np.int16) - m.stale).mean() for m in moments]))
    first = max(0, min(worst - COLUMNS // 2, len(moments) - COLUMNS))
    shown = moments[first : first + COLUMNS]
    rows = [[getattr(moment, name) for moment in shown] for name in ("stale", "predicted", "true")]
    image, tops, lefts = mosaic(np.array(rows))
    size = (1.5 * len(shown) + 0.5, 1.5 * len(shown) * image.shape[0] / image.shape[1] + 0.3)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.imshow(image)
    times = [f"{(moment.time_ns - shown[0].time_ns) / 1e9:.2f} s" for moment in shown]
    axes.set_xticks(lefts, times, fontsize=8)
    axes.set_yticks(tops, ["delayed", "predicted", "true"], fontsize=8, rotation=90, va="center")
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_frame_on(False)
    return figure


def curve(display: Display, result: dict[str, Any]) -> Figure:
    """Error of both screens over time."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    errors = np.array(display.errors)[-len(display.moments) :]
    times = np.array([moment.time_ns for moment in display.moments])
    for column, label in enumerate(("delayed frame", "predicted frame")):
        axes.plot((times - times[0]) / 1e9, errors[:, column], label=label, linewidth=1.0)
    axes.set(xlabel="seconds", ylabel="RMS error in grey levels", ylim=(0.0, None))
    axes.set_title(f"{result['checkpoint']}, camera {1e3 * result['delay_s']:.0f} ms late")
    axes.legend()
    return figure


def markdown(result: dict[str, Any], folder: Path) -> str:
    """The report for people."""
    lines = [
        f"# {result['checkpoint']}: a camera that is {1e3 * result['delay_s']:.0f} ms late",
        "",
        f"At {result['moments']} moments, one for each camera frame, what two screens showed was compared with what was there.",
        "",
        "| screen shows | PSNR in dB | RMS error in grey levels |",
        "|---|---|---|",
        *(
            f"| {label} | {number(result[name]['psnr'])} | {number(result[name]['rms'])} |"
            for name, label in (("stale", "the delayed camera"), ("predicted", "the predicted frame"))
        ),
        "",
        f"- the predicted frame is nearer to the truth at {number(result['nearer'])} of all moments",
        f"- age of the delayed frame in ms: p50 {number(result['age_ms']['p50'])}, p99 {number(result['age_ms']['p99'])}",
        f"- time that the predicted frame is for, less now, in ms: p50 {number(result['ahead_ms']['p50'])}, "
        f"p99 {number(result['ahead_ms']['p99'])}",
        "",
        *(f"![{name}]({name})\n" for name in (STRIP, CURVE) if (folder / name).exists()),
    ]
    return "\n".join(lines)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def summary(result: dict[str, Any]) -> str:
    """One line for the terminal."""
    if not result["moments"]:
        return "no moment at which both a delayed and a predicted frame were on a screen"
    return (
        f"{result['moments']} moments, camera {result['age_ms']['p50']:.0f} ms late: "
        f"{result['predicted']['psnr']:.2f} dB predicted, {result['stale']['psnr']:.2f} dB delayed; "
        f"predicted is nearer in {result['nearer']:.0%}"
    )
