# SPDX-License-Identifier: Apache-2.0
"""Search for the cheapest sequence of actions: the cross-entropy method (CEM), and its improved kind (iCEM).

Candidates are drawn around a mean, the best of them (the elites) give the next mean and spread, and so on. iCEM
(Pinneri et al. 2020) draws noise that is correlated in time and keeps some elites. Here both begin from a warm
start, try their mean as a candidate and answer with the best sequence seen, not with the last mean; candidates
leave the bounds at no time. Any cost will do: a predictor's, a simulator's, a formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dd_ros.errors import InputError

Floats = NDArray[np.float64]
Actions = NDArray[np.float32]
Cost = Callable[[Actions], ArrayLike]


@dataclass(frozen=True)
class Settings:
    """How a search goes about it; InputError if it cannot.

    Attributes:
        samples: new candidates per iteration; the cost is asked for this many at a time, always.
        iterations: how often.
        elites: best candidates that the next mean and spread are taken from.
        repeat: actions in a row that are equal (a block); the last block may be shorter.
        noise: first standard deviation, as a share of half the range between the bounds.
        least_noise: and what it never falls below.
        colour: power of the noise's spectrum along the horizon: 0 is white, 1 pink, 2 red, that is, smooth.
        keep: share of the elites that stay candidates in the next iteration, at no further cost.
        momentum: share of the last mean and spread in the next.
    """

    samples: int = 64
    iterations: int = 8
    elites: int = 8
    repeat: int = 1
    noise: float = 0.5
    least_noise: float = 0.02
    colour: float = 0.0
    keep: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("samples", "iterations", "elites", "repeat"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.elites > self.samples:
            raise InputError(f"elites: expected at most {self.samples}, the samples, got {self.elites}")
        for name, most in (("noise", 10.0), ("least_noise", 10.0), ("colour", 10.0), ("keep", 1.0)):
            if not 0.0 <= getattr(self, name) <= most:
                raise InputError(f"{name}: expected 0 to {most:g}, got {getattr(self, name)}")
        if not 0.0 <= self.momentum < 1.0:
            raise InputError(f"momentum: expected 0 or more and less than 1, got {self.momentum}")


CEM = Settings()
ICEM = Settings(colour=2.0, keep=0.3, momentum=0.1)


@dataclass(frozen=True)
class Solution:
    """What a search found.

    Attributes:
        actions: the cheapest sequence seen, float32 [K, A].
        cost: its cost.
        mean: where the search would go on, float32 [K, A].
        iterations: how many it made.
        evaluated: how many sequences the cost was asked for.
    """

    actions: Actions
    cost: float
    mean: Actions
    iterations: int
    evaluated: int


def solve(
    *,
    cost: Cost,
    horizon: int,
    low: ArrayLike,
    high: ArrayLike,
    rng: np.random.Generator,
    settings: Settings = CEM,
    mean: ArrayLike | None = None,
    previous: ArrayLike | None = None,
    max_change: ArrayLike | None = None,
    stop: Callable[[], bool] | None = None,
) -> Solution:
    """Search for the sequence of actions with the least cost.

    Args:
        cost: gives for candidates, float32 [N, K, A], their costs [N]; what is not finite never wins.
        horizon: actions in a sequence, K.
        low, high: bounds of the actions [A], or numbers for all of them.
        rng: source of all chance; equal ones give equal answers.
        settings: CEM, ICEM or the like.
        mean: warm start [K, A]: where to search first, itself the first candidate; the middle of the bounds without.
        previous: the action before the first [A], from which the change counts as well.
        max_change: bound on the change from one action to the next, or from one block of equal ones, [A]; the
            bounds on actions come first where ``previous`` is outside of them.
        stop: asked between iterations whether to leave it at what was found; one iteration is made in any case.

    Returns:
        The best sequence seen. It and all candidates keep to the bounds; changes do to float32's precision.

    Raises:
        InputError: bounds, warm start or costs of another shape, or not finite; no cost of an iteration is finite.
    """
    space = _Space.of(horizon, low, high, previous, max_change, settings.repeat)
    centre = space.blocks(mean)
    spread = np.broadcast_to(settings.noise * space.half, centre.shape)
    least = settings.least_noise * space.half
    best, best_cost = space.inside(centre[None])[0], np.inf
    kept, kept_costs = np.empty((0, *centre.shape)), np.empty(0)
    done = 0
    while done < settings.iterations:
        done += 1
        noise = coloured((settings.samples, *centre.shape), settings.colour, rng)
        noise[0] = 0.0  # the mean itself
        drawn = space.inside(centre + spread * noise)
        pool = np.concatenate([kept, drawn])
        costs = np.concatenate([kept_costs, _checked(cost(space.actions(drawn)), len(drawn))])
        order = np.argsort(costs, kind="stable")[: settings.elites]
        order = order[np.isfinite(costs[order])]
        elites, elite_costs = pool[order], costs[order]
        if elite_costs[0] < best_cost:
            best, best_cost = elites[0], float(elite_costs[0])
        centre = _mix(centre, elites.mean(0), settings.momentum)
        spread = np.maximum(_mix(spread, elites.std(0), settings.momentum), least)
        count = round(settings.keep * len(elites))
        kept, kept_costs = elites[:count], elite_costs[:count]
        if stop is not None and stop():
            break
    mean_actions = space.actions(space.inside(centre[None]))[0]
    return Solution(space.actions(best[None])[0], best_cost, mean_actions, done, done * settings.samples)


def shifted(actions: ArrayLike, steps: int) -> Actions:
    """A warm start for ``steps`` later: ``actions`` [K, A] without the first ones, the last one repeated."""
    actions = np.asarray(actions, np.float32)
    return actions[np.minimum(np.arange(len(actions)) + steps, len(actions) - 1)]


def coloured(shape: tuple[int, ...], power: float, rng: np.random.Generator) -> Floats:
    """Normal noise [N, T, A] of unit variance whose power falls along T with frequency to the ``power``."""
    white = rng.standard_normal(shape)
    steps = shape[-2]
    if power == 0.0 or steps == 1:
        return white
    frequencies = np.fft.rfftfreq(steps)
    frequencies[0] = frequencies[1]  # what is slower than the horizon is as strong as what just fits in
    weights = frequencies ** (-power / 2)
    shaped = np.fft.irfft(np.fft.rfft(white, axis=-2) * weights[:, None], steps, axis=-2)
    # Each frequency but the first, and the last of an even number, stands for two.
    twice = np.full(len(weights), 2.0)
    twice[0] = 1.0
    if steps % 2 == 0:
        twice[-1] = 1.0
    return np.asarray(shaped / np.sqrt((twice * weights**2).sum() / steps))


@dataclass(frozen=True)
class _Space:
    """The sequences that may be tried: blocks [B, A] of equal actions, within bounds."""

    horizon: int
    repeat: int
    low: Floats
    high: Floats
    previous: Floats | None
    max_change: Floats | None

    @classmethod
    def of(
        cls,
        horizon: int,
        low: ArrayLike,
        high: ArrayLike,
        previous: ArrayLike | None,
        max_change: ArrayLike | None,
        repeat: int,
    ) -> _Space:
        if horizon < 1:
            raise InputError(f"horizon: expected 1 or more actions, got {horizon}")
        least, most = (np.atleast_1d(np.asarray(bound, dtype=float)) for bound in (low, high))
        if least.ndim != 1 or least.shape != most.shape:
            raise InputError(
                f"low, high: expected one bound per number of an action, got {low!r} and {high!r}"
            )
        if not (np.isfinite(least).all() and np.isfinite(most).all() and (least <= most).all()):
            raise InputError(
                f"low, high: expected finite bounds, low not above high, got {low!r} and {high!r}"
            )
        least, most = _rounded(least, np.inf), _rounded(most, -np.inf)
        if previous is not None:
            previous = np.clip(_finite("previous", previous, least.shape), least, most)
        if max_change is not None:
            max_change = _finite("max_change", np.broadcast_to(max_change, least.shape), least.shape)
            if (max_change < 0).any():
                raise InputError(f"max_change: expected 0 or more, got {max_change.tolist()}")
        return cls(horizon, repeat, least, most, previous, max_change)

    @property
    def half(self) -> Floats:
        """Half the range between the bounds [A]."""
        return (self.high - self.low) / 2

    def blocks(self, mean: ArrayLike | None) -> Floats:
        """Blocks [B, A] nearest to the sequence ``mean`` [K, A]."""
        starts = np.arange(0, self.horizon, self.repeat)
        if mean is None:
            return np.tile((self.low + self.high) / 2, (len(starts), 1))
        mean = _finite("mean", mean, (self.horizon, len(self.low)))
        sums = np.add.reduceat(mean, starts, axis=0)
        return np.asarray(sums / np.diff(np.append(starts, self.horizon))[:, None])

    def inside(self, blocks: Floats) -> Floats:
        """``blocks`` [N, B, A] moved into the bounds on actions and on their changes."""
        blocks = np.clip(blocks, self.low, self.high)
        if self.max_change is None:
            return blocks
        before = self.previous
        for number in range(blocks.shape[1]):
            if before is not None:  # which is inside, so that this stays inside
                change = np.clip(blocks[:, number] - before, -self.max_change, self.max_change)
                blocks[:, number] = np.clip(before + change, self.low, self.high)
            before = blocks[:, number]
        return blocks

    def actions(self, blocks: Floats) -> Actions:
        """Sequences of actions [N, K, A]."""
        return np.repeat(blocks, self.repeat, axis=1)[:, : self.horizon].astype(np.float32)


def _rounded(bound: Floats, inwards: float) -> Floats:
    """The float32 number next to each ``bound`` that is not outside of it."""
    near = bound.astype(np.float32)
    outside = near < bound if inwards > 0 else near > bound
    return np.where(outside, np.nextafter(near, np.float32(inwards)), near).astype(float)


def _finite(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Floats:
    array = np.asarray(values, dtype=float)
    if array.shape != shape:
        raise InputError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: expected finite numbers, got {array.tolist()}")
    return array


def _checked(costs: ArrayLike, count: int) -> Floats:
    """Costs of ``count`` candidates; infinite where they are not finite."""
    found = np.array(costs, dtype=float)
    if found.shape != (count,):
        raise InputError(f"cost: expected one number for each of {count} candidates, got shape {found.shape}")
    found[~np.isfinite(found)] = np.inf
    if np.isinf(found).all():
        raise InputError(f"cost: none of {count} candidates has a finite one; see to the cost or its goal")
    return found


def _mix(old: Floats, new: Floats, share: float) -> Floats:
    return share * old + (1.0 - share) * new
