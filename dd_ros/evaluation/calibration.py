# SPDX-License-Identifier: Apache-2.0
"""What a predictor's uncertainty is worth: intervals of the frame error, fitted to recorded episodes and tested on others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.error_intervals import LEAST_UNCERTAINTY, LEVELS, ErrorIntervals
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import jsonable

FEWEST_WINDOWS = 20  # that intervals are fitted to
EXPONENTS = np.arange(41) / 20.0
LEAST_ERROR = 0.1  # grey levels; rounding to 8 bits alone makes 0.3
DROPPED = tuple(round(0.1 * tenth, 1) for tenth in range(10))  # shares of frames, the most uncertain first
FIFTHS = 5

Values = NDArray[np.float64]
Intervals = NDArray[np.float32]  # [..., 3]: low, median, high


class Errors(NamedTuple):
    """Errors of predicted frames beside what the predictor said of them, a row for each window.

    Attributes:
        uncertainty: float [W, K].
        error: float [W, K], RMS in grey levels.
        episodes: [W], the episode of each window.
    """

    uncertainty: Values
    error: Values
    episodes: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> Errors:
        """The windows that are ``chosen`` [W]."""
        return Errors(self.uncertainty[chosen], self.error[chosen], self.episodes[chosen])


def calibrated(errors: Errors) -> ErrorIntervals:
    """Intervals that hold for 80% of frames such as those of ``errors``, step by step.

    Each quantile is a line of log error over log uncertainty. Of the EXPONENTS, its slope is the one with the least loss of
    quantile regression. Its height is such that low and high lie at those ranks between which a further window's error is
    with a probability of 80% or more (conformal prediction), if it is like these.

    Raises:
        InputError: fewer than FEWEST_WINDOWS.
    """
    if len(errors.error) < FEWEST_WINDOWS:
        raise too_few(len(errors.error))
    found, tested = _fitted(errors), left_out(errors)
    if tested is None:
        return found
    share = float(inside(tested, errors.error).mean())
    return found.model_copy(update={"coverage": round(share, 4)})


def too_few(windows: int) -> InputError:
    """What is said where there are fewer than FEWEST_WINDOWS."""
    return InputError(
        f"calibration: expected at least {FEWEST_WINDOWS} windows, got {windows}; give more bags, or a smaller stride"
    )


def _fitted(errors: Errors) -> ErrorIntervals:
    """As ``calibrated``, not tested."""
    count = len(errors.error)
    x = np.log(np.maximum(errors.uncertainty, LEAST_UNCERTAINTY))
    y = np.log(np.maximum(errors.error, LEAST_ERROR))
    heights = np.sort(y - EXPONENTS[:, None, None] * x, axis=1)  # [E, W, K]
    ranks = (floor(LEVELS[0] * (count + 1)) - 1, ceil(LEVELS[2] * (count + 1)) - 1)
    offsets = (heights[:, ranks[0]], np.median(heights, axis=1), heights[:, ranks[1]])
    exponents, factors = [], []
    for level, offset in zip(LEVELS, offsets, strict=True):
        over = heights - offset[:, None]
        loss = np.maximum(level * over, (level - 1.0) * over).mean(axis=1)
        best = loss.round(9).argmin(axis=0)  # the least exponent where all do as well
        exponents.append(EXPONENTS[best])
        factors.append(np.exp(offset[best, np.arange(len(best))]))
    return ErrorIntervals(
        exponents=_triples(exponents),
        factors=_triples(factors),
        windows=count,
        episodes=len(np.unique(errors.episodes)),
    )


def _triples(values: Sequence[Values]) -> tuple[tuple[float, float, float], ...]:
    """Three rows [K] -> K triples of four digits, as people read them."""
    rows = ([float(f"{value:.4g}") for value in row] for row in values)
    return tuple((low, median, high) for low, median, high in zip(*rows, strict=True))


def left_out(errors: Errors) -> Intervals | None:
    """Intervals [W, K, 3] of each episode's windows, fitted to those of the others alone; None where these are too few."""
    names = np.unique(errors.episodes)
    others = [errors.part(errors.episodes != name) for name in names]
    if min(len(rest.error) for rest in others) < FEWEST_WINDOWS:
        return None
    intervals = np.empty((*errors.error.shape, len(LEVELS)), np.float32)
    for name, rest in zip(names, others, strict=True):
        own = errors.episodes == name
        intervals[own] = _fitted(rest).of(errors.uncertainty[own])
    return intervals


def inside(intervals: Intervals, error: Values) -> NDArray[np.bool_]:
    """Which errors [...] lie within their intervals [..., 3]."""
    return (intervals[..., 0] <= error) & (error <= intervals[..., -1])


def uncertainty_figures(errors: Errors, known: ErrorIntervals | None) -> dict[str, Any]:
    """What ``dd_ros evaluate`` says of the uncertainty, see ``docs/results.md``.

    Args:
        errors: of the judged windows.
        known: the checkpoint's intervals.

    Returns:
        ``expected``: mean uncertainty per step. ``rank_correlation``: Spearman's, between expected and true error of windows
        at the same step: 1 sorts them as they turn out, 0 knows nothing but how far ahead a frame is; null where one of the
        two is the same in all windows. ``intervals``: how often the true error lies in the checkpoint's, and in those that
        the other episodes give each episode. ``calibrated``: what ``dd_ros calibrate`` would write after these windows.
        ``risk_coverage``: see ``risk_coverage``.
    """
    own = None if known is None else known.of(errors.uncertainty)
    others = left_out(errors)
    enough = len(errors.error) >= FEWEST_WINDOWS
    return {
        "expected": jsonable(errors.uncertainty.mean(axis=0)),
        "rank_correlation": jsonable(rank_correlations(errors)),
        "intervals": {
            "measure": "RMS error of a frame in grey levels",
            "levels": list(LEVELS),
            "checkpoint": None if own is None else coverage(own, errors),
            "other_episodes": None if others is None else coverage(others, errors),
        },
        "calibrated": calibrated(errors).model_dump(mode="json") if enough else None,
        "risk_coverage": risk_coverage(errors),
    }


def rank_correlations(errors: Errors) -> Values:
    """Spearman's, of each step, [K]."""
    from scipy.stats import ConstantInputWarning, spearmanr  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        pairs = zip(errors.uncertainty.T, errors.error.T, strict=True)
        return np.array([spearmanr(uncertainty, error).statistic for uncertainty, error in pairs])


def coverage(intervals: Intervals, errors: Errors) -> dict[str, Any]:
    """Shares of frames whose error lies in its interval [W, K, 3]: of all, per step, and by how uncertain they are.

    ``by_uncertainty`` has the fifths of the frames of a step, the most certain first; ``ratio`` is high over low, in the
    median.
    """
    found, errors_above = inside(intervals, errors.error), errors.error > intervals[..., -1]
    order = np.argsort(errors.uncertainty, axis=0, kind="stable")
    fifths = np.array_split(np.take_along_axis(found, order, axis=0), FIFTHS)
    return {
        "all": jsonable(found.mean()),
        "per_step": jsonable(found.mean(axis=0)),
        "by_uncertainty": jsonable(np.array([part.mean() if part.size else np.nan for part in fifths])),
        "above": jsonable(errors_above.mean()),
        "ratio": jsonable(np.median(intervals[..., -1] / intervals[..., 0])),
    }


def risk_coverage(errors: Errors) -> dict[str, list[Any]]:
    """Mean RMS error of the frames that are kept where a share of them is dropped, in grey levels.

    ``all``: the most uncertain of all frames are dropped, which are mostly late ones; ``within_steps``: of the frames of each
    step; ``best``: those with the largest error of each step, as only an oracle could.
    """
    every = Errors(errors.uncertainty.reshape(-1, 1), errors.error.reshape(-1, 1), errors.episodes)
    return {
        "dropped": list(DROPPED),
        "all": jsonable(_kept_errors(every.uncertainty, every.error)),
        "within_steps": jsonable(_kept_errors(errors.uncertainty, errors.error)),
        "best": jsonable(_kept_errors(errors.error, errors.error)),
    }


def _kept_errors(sure: Values, error: Values) -> Values:
    """Mean of ``error`` [W, K] once those DROPPED are gone that have the largest ``sure`` of their column."""
    order = np.argsort(sure, axis=0, kind="stable")
    ranked = np.take_along_axis(error, order, axis=0)
    kept = [max(1, len(error) - round(share * len(error))) for share in DROPPED]
    return np.array([ranked[:count].mean() for count in kept])


def in_a_line(figures: dict[str, Any]) -> str:
    """What ``uncertainty_figures`` found, for people."""
    names = {"checkpoint": "the checkpoint's", "other_episodes": "those from the other episodes"}
    found = [
        f"{figures['intervals'][name]['all']:.1%} of frames in {label}"
        for name, label in names.items()
        if figures["intervals"][name]
    ]
    risk = figures["risk_coverage"]
    fifth = DROPPED.index(0.2)
    return (
        f"80% intervals: {', '.join(found) or 'no calibration, and too few windows for one'}; RMS error in grey levels "
        f"{risk['all'][0]:.2f}, without the most uncertain fifth of frames {risk['all'][fifth]:.2f}"
    )


def described(intervals: ErrorIntervals) -> str:
    """What a card says of them."""
    tested = (
        "not tested, with one episode or few windows"
        if intervals.coverage is None
        else f"tested on each episode with those of the others alone, they cover {intervals.coverage:.1%} of its frames"
    )
    return (
        f"80% intervals of the RMS error of each predicted frame, in grey levels, from {intervals.windows} windows of "
        f"{intervals.episodes} episodes: {tested}. `Predictor` and the node give them; `dd_ros calibrate` makes them anew."
    )
