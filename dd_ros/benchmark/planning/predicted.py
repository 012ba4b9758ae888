# SPDX-License-Identifier: Apache-2.0
"""The row that acts on predictions: it sees pictures, and knows nothing of the simulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dd_ros.benchmark.planning.rows import Search, View
from dd_ros.demo.simulate import STEP_NS
from dd_ros.demo.table import WORLD, Vector
from dd_ros.planning.bounds import Bounds
from dd_ros.planning.costs import Goal, make_cost, rate
from dd_ros.planning.solvers import shifted
from dd_ros.predictor import Predictor

MARGIN = 28.0  # units from the edge of the table, within which the pusher was seen in training
CHANGE = 20.0  # units that its target moves in a step at most, about as in training


class Predicted:
    """Searches among targets of the pusher for the future that is rated best.

    Args:
        name: of the row.
        predictor: predicts; it is used for nothing else.
        cost: by name, of the goal's picture.
        search: how it searches; the horizon is cut to whole chunks.
    """

    def __init__(self, name: str, predictor: Predictor, cost: str, search: Search):
        self.name, self._cost, self._search = name, cost, search
        frames = search.horizon - search.horizon % predictor.chunk_frames
        self._predictor = predictor if frames == predictor.horizon else predictor.with_horizon(frames)
        self._bounds = Bounds(
            low=np.full(2, MARGIN, np.float32), high=np.full(2, WORLD - MARGIN, np.float32),
            change=np.full(2, CHANGE, np.float32),
        )  # fmt: skip

    def begin(self, rng: np.random.Generator) -> None:
        """A new search."""
        self._rng = rng
        self._last: NDArray[np.float32] | None = None

    def plan(self, view: View) -> Vector:
        """The best targets found [horizon, 2]."""
        predictor, before = self._predictor, view.commands[-1]
        predictor.reset()
        for index, (image, command) in enumerate(zip(view.images, view.commands, strict=True)):
            predictor.observe(image, index * STEP_NS, command)
        cost = make_cost(self._cost, goal=Goal(image=view.goal_image), predictor=predictor)
        mean = np.repeat(before[None], predictor.horizon, axis=0)
        if self._last is not None:
            mean = shifted(self._last, view.executed)
        found = self._bounds.search(
            lambda actions: rate(predictor, actions, cost), before=before, mean=mean,
            settings=self._search.settings, rng=self._rng,
        )  # fmt: skip
        self._last = found.actions
        return found.actions.astype(np.float64)
