# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node ``planner``, each written once, as in ``live.settings``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import ActionSpec
from dd_ros.errors import InputError
from dd_ros.live.settings import parameter
from dd_ros.planning.bounds import Bounds

WITHIN = 3.0  # deviations from the mean of training that actions stay within where no bounds are given


@dataclass(frozen=True)
class PlannerParameters:
    """Values of all parameters at one moment."""

    checkpoint: str = parameter("pusht", "The predictor's checkpoint.", read_only=True)
    predictor: str = parameter(
        "predictor", "Name of the predictor, relative to the namespace; it may run on another machine.", read_only=True
    )  # fmt: skip
    in_process: bool = parameter(
        False, "Run that predictor in the planner's process, which then has its parameters too: candidates and costs do not "
        "travel. Off asks the one there is.", read_only=True,
    )  # fmt: skip
    action_topic: str = parameter(
        "", "Topics of the commands as executed, as the predictor's parameter of that name.", read_only=True
    )
    autostart: bool = parameter(
        True, "Configure and activate at start; off leaves that to a lifecycle manager.", read_only=True
    )
    cost: str = parameter("readouts:least", "What plans are rated by, as in a request of predict_rollouts.")
    low: str = parameter(
        "", f"Least value of each action value, with spaces between, or one for all; empty: {WITHIN:g} deviations below "
        "the mean of training.", read_only=True,
    )  # fmt: skip
    high: str = parameter("", "The greatest values, in the same way.", read_only=True)
    change: str = parameter(
        "", "Most change of each action value from one model step to the next, in the same way; empty: any.",
        read_only=True,
    )  # fmt: skip
    stop_action: str = parameter(
        "", "Action values that hold the robot still, such as zeros where they are velocities; empty: the last command, "
        "held.", read_only=True,
    )  # fmt: skip
    solver: str = parameter("icem", "How plans are searched for.", read_only=True, choices=("cem", "icem"))
    samples: int = parameter(16, "Candidates of an iteration.", read_only=True, limits=(2, 4096))
    iterations: int = parameter(
        4, "Iterations of a plan at most; it ends sooner when the robot needs it.", read_only=True, limits=(1, 1000)
    )  # fmt: skip
    elites: int = parameter(
        4, "Best candidates that the next iteration learns from.", read_only=True, limits=(1, 1024)
    )
    block: int = parameter(
        2,
        "Steps that an action's change is kept for: fewer numbers to search for.",
        read_only=True,
        limits=(1, 64),
    )
    period: float = parameter(0.5, "Seconds from plan to plan at least.", read_only=True, limits=(0.0, 60.0))
    seed: int = parameter(0, "Seed of the samples.", read_only=True, limits=(0, 2**31 - 1))


def numbers(text: str, dim: int, *, name: str) -> NDArray[np.float32] | None:
    """Numbers of a parameter, float32 [dim]; None where it is empty.

    Raises:
        InputError: other words than numbers, or another count than one or ``dim``.
    """
    words = text.replace(",", " ").split()
    if not words:
        return None
    try:
        values = np.array([float(word) for word in words], np.float32)
    except ValueError:
        values = np.full(1, np.nan, np.float32)
    if len(values) not in (1, dim) or not np.isfinite(values).all():
        raise InputError(f"parameter {name}: expected one number or {dim} with spaces between, got {text!r}")
    return np.broadcast_to(values, (dim,)).copy()


def bounds_of(settings: PlannerParameters, action: ActionSpec) -> Bounds:
    """What actions must stay within.

    Raises:
        InputError: as ``numbers``; or a low that is not below high, or a change that is not above zero.
    """
    mean, std = np.asarray(action.mean, np.float32), np.asarray(action.std, np.float32)
    low = numbers(settings.low, action.dim, name="low")
    high = numbers(settings.high, action.dim, name="high")
    change = numbers(settings.change, action.dim, name="change")
    low = mean - WITHIN * std if low is None else low
    high = mean + WITHIN * std if high is None else high
    _check(low < high, "low", "values below those of high", low)
    if change is not None:
        _check(change > 0.0, "change", "values above 0", change)
    return Bounds(low=low, high=high, change=change)


def _check(
    fine: NDArray[np.bool_], name: str, expected: str, got: Sequence[float] | NDArray[np.float32]
) -> None:
    if not fine.all():
        raise InputError(
            f"parameter {name}: expected {expected}, got {', '.join(f'{value:g}' for value in got)}"
        )
