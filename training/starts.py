# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint knows a robot best already, measured on its bags: the one to train on from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from pydantic import ValidationError

from dd_ros.checkpoint import Model, load_checkpoint
from dd_ros.config import ActionSpec, CheckpointConfig
from dd_ros.data.steps import Episode
from dd_ros.device import native_dtype, prepare_for_inference, resolve_device
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import psnr
from dd_ros.evaluation.scores import observe
from dd_ros.evaluation.windows import clip_of, make_windows
from dd_ros.predictor import Predictor
from dd_ros.progress import progress
from dd_ros.streams import StreamSpec
from dd_ros_training.adopt import adopt
from dd_ros_training.data.clips import fit_actions
from dd_ros_training.data.index import TrainingEpisode

WINDOWS = 6  # that each checkpoint is measured on: seconds on a CPU
BASE = "base"  # the checkpoint that knows several robots
AHEAD = 0.5  # dB by which another one must predict better as it is, to be the better start


class Start(NamedTuple):
    """A checkpoint, and how well it predicts a robot as it is.

    Attributes:
        name: of the checkpoint.
        skill: PSNR above copy-last in dB, mean over the windows and steps.
    """

    name: str
    skill: float


def measured(names: Sequence[str], episodes: Sequence[TrainingEpisode], streams: StreamSpec) -> list[Start]:
    """Each of the checkpoints with its skill, the best first; those that cannot predict such images are left out, and
    all where no episode is long enough.

    Args:
        names: of checkpoints.
        episodes: of the robot, some at least as long as a checkpoint's context and horizon.
        streams: of the robot; a checkpoint sees its images at that size and rate.

    """
    if not episodes:
        return []
    action = fit_actions(episodes)
    found = []
    for name in progress(list(names), "looking for the best start"):
        skill = skill_of(name, episodes, streams=streams, action=action)
        if skill is not None:
            found.append(Start(name, skill))
    return sorted(found, key=lambda start: -start.skill)


def skill_of(
    name: str, episodes: Sequence[TrainingEpisode], *, streams: StreamSpec, action: ActionSpec
) -> float | None:
    """PSNR above copy-last of checkpoint ``name`` with these streams; None where it does not fit them.

    Its weights for another number of actions than its own are untrained. Of its own number, actions are scaled as it knows
    them and as ``action`` says, and the better counts: two numbers may be two joints, or a speed and an angle.
    """
    settings, weights = load_checkpoint(name)
    scales = [action, *([settings.action] if settings.action.dim == action.dim else [])]
    changes = {"streams": streams, "readouts": None, "error_intervals": None, "gate": None}
    try:
        configs = [
            CheckpointConfig.model_validate(
                settings.model_copy(update=changes | {"action": scale}).model_dump()
            )
            for scale in scales
        ]
        windows = make_windows(
            episodes,
            context=settings.context_frames,
            horizon=settings.horizon,
            stride=settings.horizon,
            limit=WINDOWS,
        )
    except (ValidationError, InputError):
        return None
    torch.manual_seed(0)
    model, device = Model(configs[0]), resolve_device("auto")
    adopt(model, weights)
    dtype = native_dtype(device)
    model = prepare_for_inference(model.to(device), dtype)
    clips = [
        clip_of(episodes[window.episode], window, context=settings.context_frames, horizon=settings.horizon)
        for window in windows
    ]
    return max(skill_on(clips, Predictor(config, model, dtype=dtype)) for config in configs)


def skill_on(clips: Sequence[Episode], predictor: Predictor) -> float:
    """PSNR above copy-last, mean over steps and clips of context and horizon."""
    skills = []
    for clip in clips:
        frames = predictor.predict(clip.actions[observe(predictor, clip) :])
        true, last = clip.frames[-predictor.horizon :], clip.frames[-predictor.horizon - 1]
        still = np.broadcast_to(last, true.shape)
        skills.append(float((psnr(true, frames) - psnr(true, still)).mean()))
    return float(np.mean(skills))


def chosen(starts: Sequence[Start]) -> Start:
    """The best, of which the first is; BASE unless that is clearly better as it is: what knows several robots learns
    another one sooner.
    """
    base = next((start for start in starts if start.name == BASE), starts[0])
    return base if starts[0].skill - base.skill < AHEAD else starts[0]


def said(starts: Sequence[Start]) -> str:
    """A line on which of them was chosen, and why."""
    best = chosen(starts)
    rest = ", ".join(f"{start.name} {start.skill:+.1f}" for start in starts if start is not best)
    others = f" ({rest})" if rest else ""
    if best is starts[0]:
        why = f"which predicts these bags best as it is: {best.skill:+.1f} dB above copy-last{others}"
    else:
        why = f"which knows several robots: no other predicts these bags {AHEAD:g} dB better as it is{others}"
    return f"training starts from {best.name}, {why}; --init names another"
