# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint: what it is for, how it was made, how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from dd_ros.config import CheckpointConfig
from dd_ros.described import lagging
from dd_ros.evaluation.calibrate import Calibration, with_sections
from dd_ros.evaluation.plots import FILMSTRIP, SKILL
from dd_ros_training.recipe import Recipe

MOST_PROBLEMS = 20  # lines of unusable data listed


@dataclass(frozen=True)
class Facts:
    """How a checkpoint came about.

    Attributes:
        made_by: command and start, such as ``dd_ros finetune`` from which checkpoint.
        training, validation: the data, in words.
        device: what it was trained on.
        problems: a line for everything that could not be used.
        interrupted: the stage that the user ended early, if any.
    """

    made_by: str
    training: str
    validation: str
    device: str
    problems: Sequence[str] = ()
    interrupted: str = ""


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
{left_out(facts.problems)}
## Figures
{results_by_robot(robots) if robots else results(figures)}
"""
    return with_sections(text, Calibration(config.gate, config.error_intervals))


def left_out(problems: Sequence[str]) -> str:
    """What of the data could not be used."""
    if not problems:
        return ""
    shown = [f"- {problem}" for problem in problems[:MOST_PROBLEMS]]
    more = len(problems) - len(shown)
    return "\n".join(["", "Left out:", "", *shown, *([f"- and {more} more"] if more else []), ""])


def results_by_robot(robots: Mapping[str, dict[str, Any]]) -> str:
    """Table with a row for each robot, on its held-back episodes."""
    rows = []
    for name, found in robots.items():
        model, last, flow = (
            found["predictors"][key]["psnr"] for key in ("model", "copy_last", "optical_flow")
        )
        shown = sorted({1, len(model) // 4, len(model)})
        steps = ", ".join(f"{step}: {model[step - 1] - last[step - 1]:+.2f}" for step in shown)
        rows.append(
            f"| {name} | {found['windows']} | {mean(model):.2f} | {mean(model) - mean(last):+.2f} | {steps} | "
            f"{mean(model) - mean(flow):+.2f} | {found['actions']['true_best_fraction']:.0%} |"
        )
    table = "\n".join(rows)
    return f"""As `dd_ros evaluate` has them, on held-back episodes of each robot; PSNR in dB.

| robot | windows | mean | above copy-last | at step | above optical flow | true actions best |
|---|---|---|---|---|---|---|
{table}

It is a start for `dd_ros finetune`, which knows several robots; gate and error intervals come with your own."""


def results(figures: dict[str, Any] | None) -> str:
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

{verdict(figures)}

![PSNR above copy-last against seconds ahead]({SKILL})
![true, predicted and difference]({FILMSTRIP})"""


def verdict(figures: dict[str, Any]) -> str:
    """One plain sentence on skill, one on actions, one on the uncertainty."""
    rate, skill = figures["fps"], figures["skill_psnr"]
    beaten = [step for step, value in zip(figures["steps"], skill, strict=True) if value > 0]
    from_step = next(
        (s for s in figures["steps"] if all(t in beaten for t in range(s, len(skill) + 1))), None
    )
    first = f"Beats copy-last from {from_step / rate:.2f} s on" if from_step else "Does not beat copy-last"
    share = figures["actions"]["true_best_fraction"]
    if share >= 0.9:
        second = "actions matter"
    elif share >= 0.6:
        second = "actions matter, but less than they should: more training or data may help"
    else:
        second = (
            "ignores actions: most often too little training or data; after an hour of training, see whether the action topic "
            "is what the robot executes, and time-aligned with the camera (dd_ros inspect shows the clocks)"
        )
    ranks = [value for value in figures["uncertainty"]["rank_correlation"] if value is not None]
    third = (
        f"\nThe uncertainty {trust(mean(ranks))}: rank correlation with the true error {mean(ranks):.2f}."
        if ranks
        else ""
    )
    return f"{first}; true actions are the best of true, zero and shuffled in {share:.1%} of the windows: {second}.{third}"


def trust(correlation: float) -> str:
    """What an uncertainty is good for that ranks windows with this correlation."""
    if correlation >= 0.5:
        return "tells hard moments from easy ones"
    return "tells hard moments from easy ones a little" if correlation >= 0.2 else "is not to be trusted yet"
