# SPDX-License-Identifier: Apache-2.0
"""Predictive display in figures: what a viewer sees behind a delayed camera, with and without prediction."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from dd_ros.evaluation.metrics import jsonable

LONGEST_DELAY = 0.5  # s, and the model step that first covers it

Values = NDArray[np.float64]


def display_figures(
    predicted: Values, stale: Values, interval: NDArray[np.float64], fps: float
) -> dict[str, list[Any]]:
    """PSNR in dB against the true frame of now, where the camera's frame is as old as each of the first model steps.

    A delay of k steps makes the newest camera frame k steps old: a viewer sees that one, or the prediction for k steps after
    it. Nothing is interpolated: there are no true frames between two steps.

    Args:
        predicted: [W, K], PSNR of the predictions.
        stale: [W, K], of the last observed frame.
        interval: [K, 2], 95% of the mean difference.
        fps: model steps per second.

    Returns:
        Lists with an entry per delay: ``delay_ms``, ``stale``, ``predicted``, ``gain``, ``gain_ci95``, and ``nearer``, the
        share of windows in which the prediction is nearer to the truth.
    """
    shown = slice(0, min(predicted.shape[1], max(1, ceil(LONGEST_DELAY * fps - 1e-9))))
    gain = (predicted - stale)[:, shown]
    return {
        "delay_ms": [round(1e3 * (step + 1) / fps, 1) for step in range(gain.shape[1])],
        "stale": jsonable(stale[:, shown].mean(axis=0)),
        "predicted": jsonable(predicted[:, shown].mean(axis=0)),
        "gain": jsonable(gain.mean(axis=0)),
        "gain_ci95": jsonable(interval[shown]),
        "nearer": jsonable((gain > 0.0).mean(axis=0)),
    }


def display_table(figures: dict[str, list[Any]]) -> Table:
    """For people: a column per delay."""
    names = {"stale": "stale frame", "predicted": "predicted", "nearer": "predicted is nearer"}
    heads = ("camera late by", *(f"{delay:.0f} ms" for delay in figures["delay_ms"]))
    table = Table(*heads, box=None, title="predictive display: PSNR in dB against the true frame of now")
    for name, label in names.items():
        digits = ".0%" if name == "nearer" else ".2f"
        table.add_row(label, *(format(value, digits) for value in figures[name]))
    return table
