# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint: what it is for, how it was made, how good it is."""

from __future__ import annotations

from typing import Any

from dd_ros.config import CheckpointConfig
from dd_ros_training.recipe import Recipe


def card(
    config: CheckpointConfig, recipe: Recipe, facts: dict[str, str], figures: dict[str, Any] | None
) -> str:
    """Markdown text of the card; ``figures`` as ``dd_ros evaluate`` gives them, or None."""
    streams, schedule = config.streams, config.schedule
    steps = "-".join(str(len(schedule.chunk_levels(i))) for i in range(schedule.chunks(config.horizon)))
    stages = "\n".join(
        f"| {name} | {stage.minutes:g} | {stage.batch_size} | {stage.rate:g} |"
        for name, stage in (
            ("autoencoder", recipe.autoencoder),
            ("teacher", recipe.teacher),
            ("distillation", recipe.distillation),
        )
    )
    extra = f"\n{recipe.notes}\n" if recipe.notes else ""
    return f"""# {config.name}
{extra}
Predicts {config.horizon} frames of {streams.width}x{streams.height} pixels at {streams.rate_hz:g} Hz
({config.horizon / streams.rate_hz:.2f} s) from {config.context_frames} observed frames and {config.action.dim} action
values per frame.

- image: `{streams.image_topic}`
- action: {", ".join(f"`{source}`" for source in streams.actions)}
- denoising steps per chunk of {schedule.chunk_frames} frames: {steps}

## Training
Made by `python -m dd_ros_training.train`, every stage from scratch unless said otherwise.

- data: {facts["training"]}; held back: {facts["validation"]}
- device: {facts["device"]}

| stage | minutes | batch | rate |
|---|---|---|---|
{stages}

## Figures
{results(figures)}
"""


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
    return f"""`dd_ros evaluate`, {figures["windows"]} windows of {figures["episodes"]} held-back episodes; PSNR in dB.

| predictor | mean | {header} | SSIM |
|---|---|{"---|" * len(shown)}---|
{rows}

{verdict(figures)}"""


def verdict(figures: dict[str, Any]) -> str:
    """One plain sentence on skill, one on actions."""
    rate, skill = figures["fps"], figures["skill_psnr"]
    beaten = [step for step, value in zip(figures["steps"], skill, strict=True) if value > 0]
    from_step = next(
        (s for s in figures["steps"] if all(t in beaten for t in range(s, len(skill) + 1))), None
    )
    first = f"Beats copy-last from {from_step / rate:.2f} s on" if from_step else "Does not beat copy-last"
    share = figures["actions"]["true_best_fraction"]
    second = (
        "actions matter"
        if share >= 0.9
        else "actions matter little: check that the action topic is time-aligned"
    )
    return f"{first}; true actions are the best of true, zero and shuffled in {share:.0%} of the windows: {second}."
