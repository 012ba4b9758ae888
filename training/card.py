# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint: what it is for, how it was made, how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from dd_ros.about import Figures
from dd_ros.config import CheckpointConfig
from dd_ros.described import lagging
from dd_ros.evaluation.calibrate import Calibration, with_sections
from dd_ros.evaluation.plots import FILMSTRIP, SKILL
from dd_ros_training.probe import Probe
from dd_ros_training.recipe import Recipe

MOST_PROBLEMS = 20  # lines of unusable data listed
# Shares of windows in which the true actions predict best: from which on actions matter, below which they are ignored.
MATTER, IGNORED = 0.9, 0.6
FEW = 5.0  # minutes of bags that are few
RISE = 0.1  # dB
LEAST_SCORES = 4  # validations from which on it can be told whether they rise


@dataclass(frozen=True)
class Evidence:
    """What tells why a checkpoint is as good as it is.

    Attributes:
        minutes: of bags that it was trained on.
        scores: skill in dB of all validations of the last stage, in order.
        probe: what a look at the bags has shown.
    """

    minutes: float
    scores: Sequence[float] = ()
    probe: Probe | None = None


@dataclass(frozen=True)
class Facts:
    """How a checkpoint came about.

    Attributes:
        made_by: command and start, such as ``dd_ros finetune`` from which checkpoint.
        training, validation: the data, in words.
        device: what it was trained on.
        problems: a line for everything that could not be used.
        interrupted: the stage that the user ended early, if any.
        remarks: a sentence for each thing about the data that a user should know.
        evidence: for the verdict.
    """

    made_by: str
    training: str
    validation: str
    device: str
    problems: Sequence[str] = ()
    interrupted: str = ""
    remarks: Sequence[str] = ()
    evidence: Evidence | None = None


def card(
    config: CheckpointConfig,
    recipe: Recipe,
    *,
    facts: Facts,
    figures: dict[str, Any] | None = None,
    robots: Mapping[str, dict[str, Any]] | None = None,
) -> str:
    """Markdown text of the card.

    ``figures`` are as ``dd_ros evaluate`` gives them, None before there are any; ``robots`` those of each robot, where
    several were trained on.
    """
    streams = config.streams
    stages = "\n".join(
        f"| {name} | {stage.minutes:.3g} | {stage.batch_size} | {stage.learning_rate:g} |"
        for name, stage in (
            ("autoencoder", recipe.autoencoder),
            ("teacher", recipe.teacher),
            ("distillation", recipe.distillation),
        )
    )
    extra = f"\n{recipe.notes}\n" if recipe.notes else ""
    early = f"\nEnded early by the user, in the stage {facts.interrupted}.\n" if facts.interrupted else ""
    text = f"""# {config.name}
{extra}
Predicts {config.horizon} frames of {streams.width}x{streams.height} pixels at {streams.rate_hz:g} Hz
({config.horizon / streams.rate_hz:.2f} s) from {config.context_frames} observed frames and {config.action.dim} action
values per frame.

- image: `{streams.image_topic}`
- action: {", ".join(f"`{source}`" for source in streams.actions)}{lagging(streams)}
- denoising steps per chunk of {config.schedule.chunk_frames} frames: {recipe.schedule}

## Training
Made by {facts.made_by}.
{early}
- data: {facts.training}; held back: {facts.validation}
- device: {facts.device}

| stage | minutes | batch | learning rate |
|---|---|---|---|
{stages}
{listed("Left out:", facts.problems)}{listed("Seen in the data:", facts.remarks)}
## Figures
{results_by_robot(robots) if robots else results(figures, facts.evidence)}
"""
    return with_sections(text, Calibration(config.gate, config.error_intervals))


def listed(heading: str, lines: Sequence[str]) -> str:
    """Lines under a heading, such as what of the data could not be used; nothing without lines."""
    if not lines:
        return ""
    shown = [f"- {line}" for line in lines[:MOST_PROBLEMS]]
    more = len(lines) - len(shown)
    return "\n".join(["", heading, "", *shown, *([f"- and {more} more"] if more else []), ""])


def results_by_robot(robots: Mapping[str, dict[str, Any]]) -> str:
    """Table with a row for each robot, on its held-back episodes."""
    rows = []
    for name, found in robots.items():
        model, last = (found["predictors"][key]["psnr"] for key in ("model", "copy_last"))
        figures = Figures.of(found)
        shown = sorted({1, len(model) // 4, len(model)})
        steps = ", ".join(f"{step}: {model[step - 1] - last[step - 1]:+.2f}" for step in shown)
        rows.append(
            f"| {name} | {figures.windows} | {figures.psnr['model']:.2f} | {figures.above('copy_last'):+.2f} | {steps} | "
            f"{figures.above('optical_flow'):+.2f} | {figures.true_best_fraction:.0%} |"
        )
    table = "\n".join(rows)
    return f"""As `dd_ros evaluate` has them, on held-back episodes of each robot; PSNR in dB.

| robot | windows | mean | above copy-last | at step | above optical flow | true actions best |
|---|---|---|---|---|---|---|
{table}

It is a start for `dd_ros finetune`, which knows several robots; gate and error intervals come with your own."""


def results(figures: dict[str, Any] | None, evidence: Evidence | None = None) -> str:
    """Table and verdict on the validation episodes."""
    if figures is None:
        return "Not evaluated."
    shown = sorted({1, len(figures["steps"]) // 4, len(figures["steps"]) // 2, len(figures["steps"])})
    header = " | ".join(f"step {step}" for step in shown)
    rows = "\n".join(
        f"| {name} | {figures['mean'][name]['psnr']:.2f} | "
        + " | ".join(f"{values['psnr'][step - 1]:.2f}" for step in shown)
        + f" | {figures['mean'][name]['ssim']:.4f} |"
        for name, values in figures["predictors"].items()
    )
    return f"""`dd_ros evaluate`, {figures["windows"]} windows of {figures["episodes"]} held-back episodes, as many as there was time for; PSNR in dB.

| predictor | mean | {header} | SSIM |
|---|---|{"---|" * len(shown)}---|
{rows}

{verdict(figures, evidence)}

![PSNR above copy-last against seconds ahead]({SKILL})
![true, predicted and difference]({FILMSTRIP})"""


def verdict(figures: dict[str, Any], evidence: Evidence | None = None) -> str:
    """One plain sentence on skill, one on actions and why they matter no more, one on the uncertainty."""
    rate, skill = figures["fps"], figures["skill_psnr"]
    beaten = [step for step, value in zip(figures["steps"], skill, strict=True) if value > 0]
    from_step = next(
        (s for s in figures["steps"] if all(t in beaten for t in range(s, len(skill) + 1))), None
    )
    first = f"Beats copy-last from {from_step / rate:.2f} s on" if from_step else "Does not beat copy-last"
    share = figures["actions"]["true_best_fraction"]
    second = (
        "actions matter" if share >= MATTER else f"actions matter, but less than they should: {why(evidence)}"
    )
    if share < IGNORED:
        second = f"ignores actions: {why(evidence)}"
    ranks = [value for value in figures["uncertainty"]["rank_correlation"] if value is not None]
    third = (
        f"\nThe uncertainty {trust(mean(ranks))}: rank correlation with the true error {mean(ranks):.2f}."
        if ranks
        else ""
    )
    return f"{first}; true actions are the best of true, zero and shuffled in {share:.1%} of the windows: {second}.{third}"


def why(evidence: Evidence | None) -> str:
    """The causes that there is evidence for; without any, what it mostly is."""
    found = causes(evidence) if evidence else []
    probe = evidence.probe if evidence else None
    if not found and probe and probe.shares:
        return (
            f"the commands explain {probe.share:.0%} of the motion that the past does not, so that it is most often too little "
            "training or data, or too small a network"
        )
    return "; ".join(found) or (
        "most often too little training or data; after an hour of training, see whether the action topic is what the robot "
        "executes, and time-aligned with the camera (dd_ros inspect shows the clocks)"
    )


def causes(evidence: Evidence) -> list[str]:
    """Why actions matter less than they should, as far as there is evidence; what weighs most comes first."""
    probe, found = evidence.probe, []
    if probe and probe.constant:
        return ["the commands are constant, and teach nothing"]
    if probe and probe.still:
        return ["nothing moves in the bags that it was trained on"]
    if probe and probe.silent:
        found.append(
            "no link is seen between the commands and the motion, at no lag: see whether the action topic is what moves what the camera sees"
        )
    if probe and probe.suggested is not None:
        found.append(
            f"a shift in time: the commands explain {probe.best:.0%} of the motion at a lag of {probe.suggested:.2g} s, and "
            f"{probe.share:.0%} at the one of {probe.lag:g} s that it was trained with (--action-lag)"
        )
    if rising(evidence.scores):
        found.append("too little training: it was still getting better at the end (--max-minutes)")
    if evidence.minutes < FEW:
        found.append(f"few data: {evidence.minutes:.1f} minutes of bags, {FEW:g} or more are wanted")
    return found


def rising(scores: Sequence[float]) -> bool:
    """Whether the last third of the validations was better than the best before, by RISE dB."""
    before = len(scores) - len(scores) // 3
    return len(scores) >= LEAST_SCORES and max(scores[before:]) > max(scores[:before]) + RISE


def trust(correlation: float) -> str:
    """What an uncertainty is good for that ranks windows with this correlation."""
    if correlation >= 0.5:
        return "tells hard moments from easy ones"
    return "tells hard moments from easy ones a little" if correlation >= 0.2 else "is not to be trusted yet"
