# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes that a checkpoint is judged on, and whether they fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from dd_ros.config import CheckpointConfig
from dd_ros.data.bags import read_episodes
from dd_ros.data.numbers import beside
from dd_ros.data.steps import Episode
from dd_ros.errors import InputError
from dd_ros.predictor import Predictor
from dd_ros.progress import progress
from dd_ros.report import Report
from dd_ros.streams import StreamSpec


def read_all(bags: Sequence[Path], spec: StreamSpec, console: Console) -> list[Episode]:
    """Episodes of all ``bags``; what cannot be used of them is said on the console."""
    episodes: list[Episode] = []
    problems = Report()
    for bag in progress(bags, "reading bags"):
        episodes += read_episodes(bag, spec, problems)
    for problem in problems:
        console.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return episodes


def read_with_numbers(
    bags: Sequence[Path], spec: StreamSpec, config: CheckpointConfig, console: Console
) -> tuple[list[Episode], list[NDArray[np.float32]] | None]:
    """As ``read_all``, and the numbers [T, D] of each episode that the checkpoint reads off its frames.

    None where it reads none, or where the bags lack them, which is said.
    """
    if config.readouts is None:
        return read_all(bags, spec, console), None
    wanted = beside(spec, config.readouts.sources, action_dim=config.action.dim)
    try:
        episodes = read_all(bags, wanted.streams, console)
    except InputError as error:
        console.print(
            f"read-outs are not judged: {error}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return read_all(bags, spec, console), None
    numbers = [episode.actions[:, list(wanted.numbers)] for episode in episodes]
    return [replace(e, actions=e.actions[:, list(wanted.actions)]) for e in episodes], numbers


def check_actions(episodes: Sequence[Episode], predictor: Predictor, spec: StreamSpec) -> None:
    """InputError unless the recorded commands have the checkpoint's dimension."""
    for episode in episodes:
        got = episode.actions.shape[1]
        if got != predictor.action_dim:
            raise InputError(
                f"{episode.name}: {', '.join(map(str, spec.actions))}: expected {predictor.action_dim} action values as in "
                f"checkpoint {predictor.config.name}, got {got}; choose another --action-topic or checkpoint"
            )
