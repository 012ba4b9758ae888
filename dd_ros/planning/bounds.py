# SPDX-License-Identifier: Apache-2.0
"""Actions that a robot may take, and the search among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dd_ros.planning.solvers import Settings, Solution, solve

Actions = NDArray[np.float32]


@dataclass(frozen=True)
class Bounds:
    """What actions must stay within.

    Attributes:
        low, high: float32 [A], least and greatest values.
        change: float32 [A], the most that an action differs from the one before; None: by anything.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    change: NDArray[np.float32] | None = None

    def search(
        self, cost: Callable[[Actions], ArrayLike], *, before: ArrayLike, mean: ArrayLike, settings: Settings,
        rng: np.random.Generator, stop: Callable[[], bool] | None = None,
    ) -> Solution:  # fmt: skip
        """The best sequence of actions that ``solvers.solve`` finds within these bounds.

        Where changes are bounded the search is among changes, as it is for places to go to: blocks of equal changes are
        straight ways, blocks of equal places would be jumps and stops.

        Args:
            cost: candidates float32 [N, K, A] -> [N].
            before: [A], the action before the first.
            mean: [K, A], where to search first.
            settings, rng, stop: as of ``solve``.
        """
        start = np.clip(np.asarray(before, np.float64), self.low, self.high)
        mean = np.clip(np.asarray(mean, np.float64), self.low, self.high)
        if self.change is None:
            return solve(
                cost=cost, horizon=len(mean), low=self.low, high=self.high, rng=rng, settings=settings, mean=mean,
                previous=start, stop=stop,
            )  # fmt: skip
        changes = np.clip(np.diff(mean, axis=0, prepend=start[None]), -self.change, self.change)
        found = solve(
            cost=lambda candidates: cost(self.along(candidates, start)), horizon=len(mean), low=-self.change,
            high=self.change, rng=rng, settings=settings, mean=changes, stop=stop,
        )  # fmt: skip
        (actions,), (mean_actions,) = (self.along(part[None], start) for part in (found.actions, found.mean))
        return replace(found, actions=actions, mean=mean_actions)

    def along(self, changes: Actions, start: NDArray[np.float64]) -> Actions:
        """Actions [N, K, A] that ``changes`` [N, K, A] lead to from ``start`` [A], kept within low and high."""
        actions, action = np.empty(changes.shape, np.float32), start
        for step in range(changes.shape[1]):
            action = np.clip(action + changes[:, step], self.low, self.high)
            actions[:, step] = action
        return actions
