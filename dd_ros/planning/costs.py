# SPDX-License-Identifier: Apache-2.0
"""What rollouts are rated by: the lower its cost, the better a candidate.

A cost is named by a text: terms with plus signs between, each a name, before it a weight if it is not 1, and after it how
the steps of the horizon count if that is not the term's own way. ``readouts:least + 0.1*smoothness`` is the distance to a
goal state where the rollout comes nearest to it, and a tenth of how jerky the actions are.

Costs of one's own come by the entry point group ``dd_ros.costs``: a name, and a function of (``Goal``, ``Predictor``) that
gives a ``StepCost``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dd_ros.data.images import check_image, resize
from dd_ros.data.numbers import for_people
from dd_ros.errors import InputError, one_line
from dd_ros.predictions import Frames, Rollouts
from dd_ros.predictor import Predictor

GROUP = "dd_ros.costs"
TERM = re.compile(r"(?:(?P<weight>[-+.\de]+)\s*\*\s*)?(?P<name>[\w.-]+)(?::(?P<over>\w+))?")
Values = NDArray[np.float64]


class Candidates(NamedTuple):
    """What a cost may read of N candidates over K steps.

    Attributes:
        actions: float32 [N, K, A], in deviations from the mean of training.
        rollouts: what they lead to; frames and latents only where the cost reads them.
    """

    actions: NDArray[np.float32]
    rollouts: Rollouts


class StepCost(NamedTuple):
    """One term of a cost.

    Attributes:
        of: candidates -> cost of each step [N, K], or [N, 1] for the last step alone.
        over: how the steps count where the text does not say: ``last``, ``mean`` or ``least``.
        reads: which of ``frames`` and ``latents`` it needs.
    """

    of: Callable[[Candidates], Values]
    over: str = "last"
    reads: frozenset[str] = frozenset()


class Goal(NamedTuple):
    """Where to get to; what a cost does not read may be None.

    Attributes:
        image: uint8 RGB [any height, any width, 3].
        state: [D], as the checkpoint's read-outs, in their units; NaN where any value will do.
    """

    image: NDArray[np.uint8] | None = None
    state: NDArray[np.floating] | None = None


class Term(NamedTuple):
    """A part of a cost: its weight, how steps count, and what each step costs."""

    weight: float
    over: str
    step: StepCost


def last(costs: Values) -> Values:
    """Of the last step."""
    return costs[:, -1]


def mean(costs: Values) -> Values:
    """Of all steps alike."""
    return costs.mean(axis=1)


def least(costs: Values) -> Values:
    """Of the step that costs least: for goals that only need to be touched."""
    return costs.min(axis=1)


OVER: dict[str, Callable[[Values], Values]] = {"last": last, "mean": mean, "least": least}


class Cost:
    """A sum of terms.

    Args:
        terms: its parts.

    Attributes:
        frames: which frames must be decoded for it.
        latents: whether it reads latents.
    """

    def __init__(self, terms: Sequence[Term]):
        self._terms = tuple(terms)
        reading = [term for term in terms if "frames" in term.step.reads]
        all_of_them = any(term.over != "last" for term in reading)
        self.frames: Frames | None = ("all" if all_of_them else "last") if reading else None
        self.latents = any("latents" in term.step.reads for term in terms)

    def __call__(self, candidates: Candidates) -> Values:
        """Cost of each candidate, [N]; infinite where it is no number."""
        total = sum(term.weight * OVER[term.over](term.step.of(candidates)) for term in self._terms)
        return np.nan_to_num(np.asarray(total, np.float64), nan=np.inf, posinf=np.inf)


def candidates_of(actions: ArrayLike, rollouts: Rollouts, predictor: Predictor) -> Candidates:
    """What a cost reads of the rollouts of ``actions`` [N, K, A], in the robot's units; the rollouts may be shorter."""
    spec = predictor.config.action
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    scaled: NDArray[np.float32] = (np.asarray(actions, np.float32) - mean) / std
    return Candidates(scaled[:, : rollouts.uncertainty.shape[1]], rollouts)


def rate(predictor: Predictor, actions: ArrayLike, cost: Cost, **rollouts: Any) -> Values:
    """Costs [N] of candidates from what ``predictor`` has observed.

    Args:
        predictor: which has observed something.
        actions: [N, K, A], in the robot's units.
        cost: what to rate them by.
        rollouts: more arguments of ``Predictor.rollouts``, such as the context to start from.

    Raises:
        InputError: as ``Predictor.rollouts``.
    """
    found, done, candidates = [], 0, np.asarray(actions, np.float32)
    for part in predictor.rollouts(candidates, frames=cost.frames, latents=cost.latents, **rollouts):
        own = candidates[done : done + len(part.uncertainty)]
        found.append(cost(candidates_of(own, part, predictor)))
        done += len(own)
    return np.concatenate(found)


def make_cost(text: str, *, goal: Goal, predictor: Predictor) -> Cost:
    """The cost that ``text`` names, as said at the top of this file.

    Raises:
        InputError: an unknown name, a goal that it needs and lacks, or one that does not fit the predictor.
    """
    terms = []
    for part in re.split(r"\s+\+\s+|\s*\+\s*(?=[A-Za-z_])", text.strip()):
        found = TERM.fullmatch(part.strip())
        if not found:
            raise InputError(
                f"cost: expected terms such as readouts or 0.1*smoothness with + between, got {one_line(part)!r}"
            )
        step = step_cost(found["name"], goal, predictor)
        over = found["over"] or step.over
        if over not in OVER:
            raise InputError(f"cost {found['name']}: expected :last, :mean or :least after it, got :{over}")
        terms.append(Term(weight_of(found["weight"]), over, step))
    return Cost(terms)


def weight_of(text: str | None) -> float:
    """A term's weight; 1 where none is said."""
    if text is None:
        return 1.0
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    if not np.isfinite(weight):
        raise InputError(f"cost: expected a number before *, got {text!r}")
    return weight


def step_cost(name: str, goal: Goal, predictor: Predictor) -> StepCost:
    """The term of this name, supplied or installed; InputError for an unknown one, or as it raises itself."""
    if name in SUPPLIED:
        return SUPPLIED[name](goal, predictor)
    own = {point.name: point for point in entry_points(group=GROUP)}
    if name in own:
        return own[name].load()(goal, predictor)
    raise InputError(
        f"cost: expected {', '.join([*SUPPLIED, *own])}, or a sum of them, got {one_line(name)!r}"
    )


def pixels(goal: Goal, predictor: Predictor) -> StepCost:
    """Mean squared error of the frame to the goal image, pixels from 0 to 1. Small things count for little."""
    wanted = goal_image(goal, predictor, "pixels") / 255.0

    def of(candidates: Candidates) -> Values:
        assert candidates.rollouts.frames is not None
        # Step by step, since all frames as floats would take gigabytes.
        steps = np.moveaxis(candidates.rollouts.frames, 1, 0)
        return np.stack([np.square(frames / 255.0 - wanted).mean(axis=(1, 2, 3)) for frames in steps], axis=1)

    return StepCost(of, reads=frozenset({"frames"}))


def features(goal: Goal, predictor: Predictor) -> StepCost:
    """Distance of deep features to the goal image, see ``evaluation.features``."""
    from dd_ros.evaluation.features import feature_distance, network

    wanted = goal_image(goal, predictor, "features")
    if network() is None:
        raise InputError(
            "cost features: needs the extra evaluate; run make setup, or pip install '.[evaluate]'"
        )

    def of(candidates: Candidates) -> Values:
        assert candidates.rollouts.frames is not None
        steps = np.moveaxis(candidates.rollouts.frames, 1, 0)
        found = [feature_distance(wanted[None], frames[:, None])[:, 0] for frames in steps]
        return np.stack(found, axis=1)

    return StepCost(of, reads=frozenset({"frames"}))


def latents(goal: Goal, predictor: Predictor) -> StepCost:
    """Mean squared error of the latent to the goal image's; nothing is decoded."""
    image = goal_image(goal, predictor, "latents")
    wanted = cache(lambda: predictor.encode(image[None])[0][0])  # by the thread that predicts

    def of(candidates: Candidates) -> Values:
        assert candidates.rollouts.latents is not None
        return np.square(candidates.rollouts.latents - wanted()).mean(axis=(2, 3, 4), dtype=np.float64)

    return StepCost(of, reads=frozenset({"latents"}))


def readouts(goal: Goal, predictor: Predictor) -> StepCost:
    """Mean squared distance of the read-outs to the goal state, each in its deviation over training; or, without a state,
    to what is read off the goal image."""
    spec = predictor.config.readouts
    if spec is None:
        raise InputError(
            f"cost readouts: checkpoint {predictor.config.name} reads nothing off its frames; see dd_ros readout --help"
        )
    std = np.asarray(spec.std)
    if goal.state is not None:
        state = np.asarray(goal.state, np.float64)
        if state.shape != (len(spec.names),):
            raise InputError(
                f"goal state: expected {len(spec.names)} values ({', '.join(for_people(spec.names))}), got {state.size}"
            )
        if np.isinf(state).any() or np.isnan(state).all():
            raise InputError("goal state: expected finite numbers, or NaN for any value, but not all NaN")
    elif goal.image is None:
        raise InputError("cost readouts: expected a goal state or a goal image, got neither")
    image = None if goal.image is None else goal_image(goal, predictor, "readouts")

    @cache
    def wanted() -> Values:  # by the thread that predicts
        if goal.state is not None:
            return np.asarray(goal.state, np.float64)
        assert image is not None
        _, found = predictor.encode(image[None])
        assert found is not None
        return found[0].astype(np.float64)

    def of(candidates: Candidates) -> Values:
        found = candidates.rollouts.readouts
        assert found is not None
        counted = ~np.isnan(wanted())
        return np.square((found[..., counted] - wanted()[counted]) / std[counted]).mean(axis=-1)

    return StepCost(of)


def magnitude(goal: Goal, predictor: Predictor) -> StepCost:
    """Mean square of the action, in deviations from the mean of training."""
    return StepCost(lambda c: np.square(c.actions, dtype=np.float64).mean(axis=-1), over="mean")


def smoothness(goal: Goal, predictor: Predictor) -> StepCost:
    """Mean square of the change from one action to the next, in deviations of training."""
    return StepCost(
        lambda c: np.square(np.diff(c.actions, axis=1, prepend=c.actions[:, :1]), dtype=np.float64).mean(
            axis=-1
        ),
        over="mean",
    )


def uncertainty(goal: Goal, predictor: Predictor) -> StepCost:
    """Expected error of the frame: keeps a planner where the predictor knows what happens."""
    return StepCost(lambda c: c.rollouts.uncertainty.astype(np.float64), over="mean")


SUPPLIED: dict[str, Callable[[Goal, Predictor], StepCost]] = {
    "pixels": pixels,
    "latents": latents,
    "features": features,
    "readouts": readouts,
    "magnitude": magnitude,
    "smoothness": smoothness,
    "uncertainty": uncertainty,
}


def goal_image(goal: Goal, predictor: Predictor, name: str) -> NDArray[np.uint8]:
    """The goal image at the model's size; InputError where there is none."""
    if goal.image is None:
        raise InputError(f"cost {name}: expected a goal image, got none")
    check_image(goal.image)
    return resize(goal.image, predictor.width, predictor.height)
