# SPDX-License-Identifier: Apache-2.0
"""Images of an evaluation: skill and PSNR against the horizon, and a filmstrip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dd_ros.errors import InputError

SKILL, CURVES, FILMSTRIP, UNCERTAINTY = "skill.png", "psnr.png", "filmstrip.png", "uncertainty.png"
WHITE = 255
Images = NDArray[np.uint8]
STYLES = {"model": ("tab:blue", "-"), "copy_last": ("tab:gray", "--"), "optical_flow": ("tab:orange", "-.")}


def draw(
    result: dict[str, Any], examples: Sequence[tuple[Images, Images, Images]], folder: Path
) -> list[Path]:
    """Write ``skill.png``, ``psnr.png``, ``filmstrip.png`` and ``uncertainty.png`` into ``folder``.

    Args:
        result: what ``evaluate`` returns.
        examples: (last observed [H, W, 3], true [K, H, W, 3], predicted [K, H, W, 3]) per window.
        folder: made if it does not exist.

    Raises:
        InputError: the folder cannot be written.
    """
    drawings = {
        SKILL: skill(result),
        CURVES: curves(result),
        FILMSTRIP: filmstrip(result, examples),
        UNCERTAINTY: uncertainty(result),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawings.items():
            FigureCanvasAgg(figure).print_png(folder / name)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another --plots folder"
        ) from error
    return [folder / name for name in drawings]


def seconds(result: dict[str, Any]) -> NDArray[np.float64]:
    return np.asarray(result["steps"]) / result["fps"]


def skill(result: dict[str, Any]) -> Figure:
    """PSNR above copy-last at every step, with its 95% interval."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    low, high = np.asarray(result["skill_psnr_ci95"]).T
    copy = np.asarray(result["predictors"]["copy_last"]["psnr"])
    axes.fill_between(
        seconds(result), low, high, alpha=0.25, label=f"95%, bootstrap over {result['bootstrap_over']}"
    )
    axes.plot(seconds(result), result["skill_psnr"], "o-", label="model", markersize=3)
    flow = np.asarray(result["predictors"]["optical_flow"]["psnr"]) - copy
    axes.plot(seconds(result), flow, color="tab:orange", linestyle="-.", label="optical flow")
    axes.axhline(0.0, color="tab:gray", linestyle="--", label="copy last")
    axes.set(xlabel="seconds ahead", ylabel="PSNR above copy-last in dB")
    axes.set_title(f"{result['checkpoint']}: {result['windows']} windows of {result['episodes']} episodes")
    axes.legend()
    return figure


def curves(result: dict[str, Any]) -> Figure:
    """PSNR of every predictor, of wrong actions, and on moving pixels."""
    figure = Figure(figsize=(13, 4), dpi=120, layout="constrained")
    whole, moving, actions = figure.subplots(1, 3)
    for name, metrics in result["predictors"].items():
        color, line = STYLES[name]
        for axes, metric in ((whole, "psnr"), (moving, "psnr_moving")):
            values = np.array(metrics[metric], np.float64)  # null becomes NaN, a gap
            axes.plot(seconds(result), values, color=color, linestyle=line, label=name.replace("_", " "))
    for name in ("true", "hold", "zero", "shuffled"):
        actions.plot(seconds(result), result["actions"][name], label=f"{name} actions")
    for axes, title in (
        (whole, "whole image"),
        (moving, "moving pixels"),
        (actions, "model, by actions given"),
    ):
        axes.set(xlabel="seconds ahead", ylabel="PSNR in dB", title=title)
        axes.legend()
    return figure


def uncertainty(result: dict[str, Any]) -> Figure:
    """How often 80% intervals hold at each step, and the error of the frames that are left without the uncertain ones."""
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    held, risk = figure.subplots(1, 2)
    held.axhspan(75, 85, color="tab:gray", alpha=0.2, label="75 to 85%")
    for name, label in (("checkpoint", "the checkpoint's"), ("other_episodes", "from the other episodes")):
        found = result["uncertainty"]["intervals"][name]
        if found:
            held.plot(seconds(result), 100 * np.array(found["per_step"]), "o-", markersize=3, label=label)
    held.set(
        xlabel="seconds ahead",
        ylabel="frames within the interval in %",
        title="80% intervals",
        ylim=(50, 100),
    )
    curves = result["uncertainty"]["risk_coverage"]
    dropped = 100 * np.array(curves["dropped"])
    for name, label, line in (
        ("all", "of all frames", "o-"),
        ("within_steps", "of each step's frames", "s-"),
        ("best", "the worst of each step, by an oracle", "--"),
    ):
        risk.plot(dropped, curves[name], line, markersize=3, label=label)
    risk.set(xlabel="most uncertain frames dropped in %", ylabel="RMS error of the rest in grey levels")
    risk.set_ylim(bottom=0.0)
    for axes in (held, risk):
        axes.legend()
    return figure


def filmstrip(result: dict[str, Any], examples: Sequence[tuple[Images, Images, Images]]) -> Figure:
    """For each window: true frames, predicted ones, and their difference, along the horizon."""
    horizon = len(result["steps"])
    shown = np.unique(np.linspace(0, horizon, min(6, horizon) + 1).round().astype(int)[1:] - 1)
    rows = []
    for observed, true, predicted in examples:
        difference = np.abs(true.astype(np.int16) - predicted.astype(np.int16)).astype(np.uint8)
        nothing = np.full_like(observed, WHITE)
        firsts = (observed, nothing, nothing)
        rows += [
            [first, *images[shown]]
            for first, images in zip(firsts, (true, predicted, difference), strict=True)
        ]
    image, tops, lefts = mosaic(np.array(rows))
    height, width = image.shape[:2]
    size = (1.5 * len(lefts) + 0.5, (1.5 * len(lefts)) * height / width + 0.3)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.imshow(image)
    times = (f"+{(step + 1) / result['fps']:.2f} s" for step in shown)
    axes.set_xticks(lefts, ["observed", *times], fontsize=8)
    axes.set_yticks(
        tops, ["true", "predicted", "difference"] * len(examples), fontsize=8, rotation=90, va="center"
    )
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_frame_on(False)
    return figure


def mosaic(tiles: Images) -> tuple[Images, NDArray[np.floating], NDArray[np.floating]]:
    """Images [R, C, H, W, 3] side by side in one, which draws far quicker than axes for each; and the middles of its
    rows [R] and columns [C] in pixels."""
    rows, columns, height, width = tiles.shape[:4]
    gap = -(-width // 32)
    padded = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=WHITE)
    height, width = height + gap, width + gap
    image = padded.swapaxes(1, 2).reshape(rows * height, columns * width, 3)[:-gap, :-gap]
    return (
        image,
        height * np.arange(rows) + (height - gap) / 2,
        width * np.arange(columns) + (width - gap) / 2,
    )
