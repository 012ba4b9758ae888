# SPDX-License-Identifier: Apache-2.0
"""Rows that search among places for the pusher to go to, by a cost of ``planning.costs``.

``Predicted`` sees pictures, and knows nothing of the simulator. ``Known`` makes the same search by the same cost with the
simulator in place of the predictor: what the two differ by is what predictions and read-outs cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dd_ros.benchmark.planning.rows import Search, View
from dd_ros.demo.simulate import STATE_NAMES, STEP_NS
from dd_ros.demo.table import WORLD, Table, Vector
from dd_ros.errors import InputError
from dd_ros.planning.bounds import Bounds
from dd_ros.planning.costs import Cost, Goal, candidates_of, make_cost, rate
from dd_ros.planning.solvers import shifted
from dd_ros.predictions import Rollouts
from dd_ros.predictor import Predictor

MARGIN = 28.0  # units from the edge of the table, within which the pusher was seen in training
CHANGE = 20.0  # units that its target moves in a step at most, about as in training
PLACES = Bounds(
    low=np.full(2, MARGIN, np.float32), high=np.full(2, WORLD - MARGIN, np.float32),
    change=np.full(2, CHANGE, np.float32),
)  # fmt: skip
Actions = NDArray[np.float32]


class AmongPlaces(ABC):
    """A row that searches among targets of the pusher; the kinds of it differ in how candidates are rated.

    Args:
        name: of the row.
        predictor: with whole chunks, see ``fitting``; it is used for nothing else.
        cost: by name.
        search: how it searches.
    """

    def __init__(self, name: str, predictor: Predictor, cost: str, search: Search):
        self.name, self.predictor, self.cost, self._search = name, predictor, cost, search

    def begin(self, rng: np.random.Generator) -> None:
        """A new search."""
        self._rng = rng
        self._last: Actions | None = None

    def plan(self, view: View) -> Vector:
        """The best targets found [horizon, 2]."""
        before = view.commands[-1]
        mean = np.repeat(before[None], self.predictor.horizon, axis=0)
        if self._last is not None:
            mean = shifted(self._last, view.executed)
        found = PLACES.search(
            self.rated(view), before=before, mean=mean, settings=self._search.settings, rng=self._rng
        )
        self._last = found.actions
        return found.actions.astype(np.float64)

    @abstractmethod
    def rated(self, view: View) -> Callable[[Actions], Vector]:
        """What gives candidates [N, K, 2] their costs [N]."""


class Predicted(AmongPlaces):
    """By what is predicted, against the goal's picture."""

    def rated(self, view: View) -> Callable[[Actions], Vector]:
        """From the pictures."""
        observe(self.predictor, view.images, view.commands)
        cost = make_cost(self.cost, goal=Goal(image=view.goal_image), predictor=self.predictor)
        return lambda actions: rate(self.predictor, actions, cost)


class Known(AmongPlaces):
    """By what the simulator does, against the goal's state; only costs of read-outs and actions can be had."""

    def rated(self, view: View) -> Callable[[Actions], Vector]:
        """From the true state."""
        cost = true_cost(self.cost, state=view.goal, image=view.goal_image, predictor=self.predictor)
        table = Table()
        return lambda actions: simulated_costs(
            cost, actions, table=table, state=view.truth, predictor=self.predictor
        )


def fitting(predictor: Predictor, horizon: int) -> Predictor:
    """The predictor with a horizon of so many frames, cut to whole chunks."""
    frames = horizon - horizon % predictor.chunk_frames
    return predictor if frames == predictor.horizon else predictor.with_horizon(frames)


def observe(predictor: Predictor, images: NDArray[np.uint8], commands: Vector) -> None:
    """Show it what came before: images [C, H, W, 3] with the commands [C, 2] in force at them."""
    predictor.reset()
    for index, (image, command) in enumerate(zip(images, commands, strict=True)):
        predictor.observe(image, index * STEP_NS, command)


def as_readouts(states: Vector, predictor: Predictor) -> NDArray[np.float32]:
    """What a checkpoint should read off frames that show these states [..., 5 or more], [..., D]; InputError where it
    reads other things than ``dd_ros.demo.simulate`` records of a table."""
    spec = predictor.config.readouts
    turn = states[..., 4]
    values = dict(
        zip(STATE_NAMES, (*np.moveaxis(states[..., :4], -1, 0), np.cos(turn), np.sin(turn)), strict=True)
    )
    names = () if spec is None else tuple(name.partition("[")[2].rstrip("]") for name in spec.names)
    if not names or not set(names) <= set(values):
        raise InputError(
            f"checkpoint {predictor.config.name}: expected read-outs of {', '.join(values)}, got "
            f"{', '.join(names) or 'none'}; make them with dd_ros readout --topic /pusht/state"
        )
    return np.stack([values[name] for name in names], axis=-1).astype(np.float32)


def true_cost(text: str, *, state: Vector, image: NDArray[np.uint8], predictor: Predictor) -> Cost:
    """The cost of that name against a goal's state [5], which ``image`` shows; InputError for one that reads frames or
    latents."""
    goal = Goal(image=image, state=as_readouts(state, predictor))
    cost = make_cost(text, goal=goal, predictor=predictor)
    if cost.frames is not None or cost.latents:
        raise InputError(f"cost {text}: expected one of read-outs and actions, which the simulator knows")
    return cost


def simulated_costs(
    cost: Cost, actions: Actions, *, table: Table, state: Vector, predictor: Predictor
) -> Vector:
    """Costs [N] of what actions [N, K, 2] lead to from ``state`` on ``table``, by ``true_cost``."""
    states = table.rollouts(state, actions.astype(np.float64))
    sure = np.zeros(states.shape[:2], np.float32)
    rollouts = Rollouts(frames=None, uncertainty=sure, readouts=as_readouts(states, predictor))
    return cost(candidates_of(actions, rollouts, predictor))
