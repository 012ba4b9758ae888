# SPDX-License-Identifier: Apache-2.0
"""Tables and plots of a study, from the figures of its rows."""

from __future__ import annotations

from statistics import stdev
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

from dd_ros.evaluation.drift import MEASURES
from dd_ros.evaluation.metrics import bootstrap_interval
from dd_ros_training.experiments.study.rows import STRIP
from dd_ros_training.experiments.study.settings import Study

BEGIN, END = "<!-- study -->", "<!-- end of study -->"
PLOT = "study.png"


def table(rows: dict[str, dict[str, Any]], study: Study, kind: str) -> str:
    """Markdown rows of the method and all variants of ``kind``."""
    lines = [
        "| variant | passes | first frame | horizon | PSNR | step 4 | step 16 | above ours | SSIM | features | moving | true best |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in rows.items():
        if name == study.method or study.variants[name].kind == kind:
            method = None if name == study.method else rows[study.method]
            lines.append(line(study.variants[name].title, figures, method))
    return "\n".join(lines)


def line(title: str, figures: dict[str, Any], method: dict[str, Any] | None) -> str:
    """One row of a table; the difference to the method, None for its own, is by episode, with its 95% interval."""
    mean, steps = figures["mean"]["model"], figures["predictors"]["model"]["psnr"]
    difference = "" if method is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(*above(figures, method))
    features = "-" if mean["features"] is None else f"{mean['features']:.4f}"
    seeds = figures["psnr_of_seeds"]
    psnr = f"{mean['psnr']:.2f}" + (f" ± {stdev(seeds):.2f}" if len(seeds) > 1 else "")
    cells = (
        title, figures["passes"], f"{figures['first_ms']:.0f} ms", f"{figures['horizon_ms']:.0f} ms",
        psnr, f"{steps[3]:.2f}", f"{steps[-1]:.2f}", difference, f"{mean['ssim']:.4f}",
        features, f"{mean['psnr_moving']:.2f}", f"{figures['actions']['true_best_fraction']:.0%}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def above(figures: dict[str, Any], method: dict[str, Any]) -> tuple[float, float, float]:
    """Mean PSNR above the method's, and the ends of its interval: bootstrap over episodes."""
    windows = np.array([episode["windows"] for episode in figures["per_episode"]])
    pairs = zip(figures["per_episode"], method["per_episode"], strict=True)
    gains = np.array([own["model"] - other["model"] for own, other in pairs])
    groups = np.repeat(np.arange(len(gains)), windows)
    low, high = bootstrap_interval(np.repeat(gains, windows)[:, None], groups)[0]
    return float(np.average(gains, weights=windows)), float(low), float(high)


def features_table(rows: dict[str, dict[str, Any]], study: Study) -> str:
    """Markdown: distance of features at every step, of the method and its rivals."""
    steps = rows[study.method]["steps"]
    lines = [f"| step | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 1) + "|"]
    for name, figures in rows.items():
        if study.variants[name].kind == "rival":
            distances = figures["predictors"]["model"]["features"]
            cells = ("-" if distance is None else f"{distance:.3f}" for distance in distances)
            lines.append(f"| {study.variants[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drift_tables(rows: dict[str, dict[str, Any]], study: Study) -> str:
    """Markdown: own output span by span, and the chunks after one real frame, of the variants that have it."""
    lines = [f"| variant | steps from | PSNR | {' | '.join(MEASURES)} |", "|---|---|---|---|---|---|"]
    recovered = ["| variant | chunk | after one real frame | without drift |", "|---|---|---|---|"]
    for name, figures in rows.items():
        if "drift" in figures:
            title, found = study.variants[name].title, figures["drift"]
            for part in (
                found["spans"] if "spans" in found else found["segments"]
            ):  # as older versions kept them
                ratios = " | ".join(f"{part[measure]:.3f}" for measure in MEASURES)
                lines.append(f"| {title} | {part['from']} | {part['psnr']:.2f} | {ratios} |")
            pairs = zip(found["recovery"]["one_real_frame"], found["recovery"]["no_drift"], strict=True)
            recovered += [
                f"| {title} | {chunk} | {own:.2f} | {real:.2f} |"
                for chunk, (own, real) in enumerate(pairs, 1)
            ]
    return "\n".join([*lines, "", *recovered])


def plot(rows: dict[str, dict[str, Any]], study: Study) -> Figure:
    """PSNR above copy-last, and features' distance, against seconds ahead; quality against milliseconds."""
    figure = Figure(figsize=(16, 4.5), dpi=110, layout="constrained")
    skill, features, cost = axes = figure.subplots(1, 3)
    for axis in axes:
        axis.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for name, figures in rows.items():
        title = study.variants[name].title
        seconds = np.array(figures["steps"]) / figures["fps"]
        width = 2.5 if name == study.method else 1.0
        style = "-" if study.variants[name].kind == "rival" else ":"
        skill.plot(seconds, figures["skill_psnr"], style, linewidth=width, label=title)
        features.plot(
            seconds, np.array(figures["predictors"]["model"]["features"], float), style, linewidth=width
        )
        cost.semilogx(figures["horizon_ms"], figures["mean"]["model"]["psnr"], "o")
    skill.axhline(0.0, color="tab:gray", linestyle="--")
    skill.set(xlabel="seconds ahead", ylabel="PSNR above copy-last in dB")
    figure.legend(loc="outside right center", fontsize=8)
    features.set(xlabel="seconds ahead", ylabel="distance of features")
    cost.set(xlabel="milliseconds for the horizon", ylabel="PSNR in dB")
    cost.xaxis.set_minor_locator(LogLocator(subs=(2.0, 3.0, 5.0)))
    for axis in (cost.xaxis.set_major_formatter, cost.xaxis.set_minor_formatter):
        axis(ScalarFormatter())
    return figure


def report(rows: dict[str, dict[str, Any]], study: Study, text: str) -> str:
    """``text`` with what lies between the marks replaced by the study's tables."""
    first = rows[study.method]
    seeds = f"; {study.seeds} seeds, ± their deviation" if study.seeds > 1 else ""
    body = f"""
{first["windows"]} windows of {first["episodes"]} held-back episodes, on {first["device"]}; PSNR in dB, intervals 95% over episodes{seeds}.

{table(rows, study, "rival")}

What each part brings:

{table(rows, study, "ablation")}

Distance of features by step:

{features_table(rows, study)}

Long rollouts, on the cache of own chunks; brightness, saturation and sharpness over the
real video's. Then one real frame:

{drift_tables(rows, study)}

![true frames, and those on own output at the same steps]({STRIP})

![skill, features, cost]({PLOT})
"""
    before, rest = text.split(BEGIN, 1)
    return before + BEGIN + "\n" + body + END + rest.split(END, 1)[1]
