# SPDX-License-Identifier: Apache-2.0
"""The gate of a checkpoint fitted to recorded episodes: how much of a predicted change came true, by step and size.

The error of a gated frame is a quadratic function of the shares. So a window is summed
up once (``moments``), and the fit works on the sums. It seeks the best mean PSNR, by which checkpoints are judged. That is the mean
of the logarithm of the squared error, and its gradient is that of least squares with each frame weighted by one over its error:
so rounds of least squares, with the weights of the round before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros.evaluation.metrics import decibel
from dd_ros.evaluation.scores import observe
from dd_ros.evaluation.windows import RecordedEpisode, Window, clip_of
from dd_ros.gate import LEVELS, REACH, Gate
from dd_ros.predictor import Predictor
from dd_ros.progress import progress

FEWEST_WINDOWS = 8  # that a gate is fitted to
BLOCKS = 4  # of windows that take the place of episodes where there is one
ROUNDS, SWEEPS = 20, 8  # of reweighting, and over the levels in each
NEIGHBOURS = np.array([0.25, 0.5, 1.0, 0.5, 0.25])  # weight of the steps around a step in its fit
PRIOR = 1e-5  # of the predicted change, as evidence that it is right: decides where nothing was seen
LEAST_ERROR = 0.5  # grey levels squared, of which rounding to 8 bits makes 0.1: a better frame counts no more
# Parts of a step's shares that are tried until left-out episodes are no worse than copy-last.
REDUCED = (1.0, 0.75, 0.5, 0.25, 0.0)

Values = NDArray[np.float64]
Images = NDArray[np.uint8]


class Moments(NamedTuple):
    """Squared errors of W windows as functions of the shares s: ``still - 2 s . gain + s . square . s``, grey levels squared.

    Attributes:
        still: of the last observed frame, [W, K].
        gain: [W, K, levels].
        square: [W, K, levels, levels].
    """

    still: Values
    gain: Values
    square: Values

    def errors(self, shares: Values) -> Values:
        """Mean squared error of each frame [W, K] with shares [K, levels]."""
        squares = np.einsum("kb,wkbc,kc->wk", shares, self.square, shares)
        return np.maximum(self.still - 2.0 * np.einsum("kb,wkb->wk", shares, self.gain) + squares, 0.0)

    def part(self, chosen: NDArray[np.bool_]) -> Moments:
        """The windows that are ``chosen`` [W]."""
        return Moments(*(part[chosen] for part in self))


def fitted_gate(
    predictor: Predictor, episodes: Sequence[RecordedEpisode], windows: Sequence[Window]
) -> Gate | None:
    """A gate for what ``predictor``, which has none, predicts of the windows; None where they are too few to tell."""
    if len(windows) < FEWEST_WINDOWS:
        return None
    predictor.warm_up()
    found = [moments(predictor, episodes, window) for window in progress(windows, "fitting the gate")]
    summed = Moments(*(np.stack(part) for part in zip(*found, strict=True)))
    return gate_of(summed, np.array([window.episode for window in windows]))


def moments(
    predictor: Predictor, episodes: Sequence[RecordedEpisode], window: Window
) -> tuple[Values, Values, Values]:
    """Of one window, as ``Moments`` without W."""
    context, horizon = predictor.config.context_frames, predictor.horizon
    clip = clip_of(episodes[window.episode], window, context=context, horizon=horizon)
    frames = predictor.predict(clip.actions[observe(predictor, clip) :])
    rows = [
        row_of(frame, true, clip.frames[-horizon - 1])
        for frame, true in zip(frames, clip.frames[-horizon:], strict=True)
    ]
    still, gain, square = (np.stack(part) for part in zip(*rows, strict=True))
    return still, gain, square


def row_of(predicted: Images, true: Images, last: Images) -> tuple[Values, Values, Values]:
    """Of one frame [H, W, 3], as ``Moments`` without W and K."""
    change, wanted = (image.astype(np.float64) - last for image in (predicted, true))
    squared, common, still = (
        (a * b).mean(axis=-1) for a, b in ((change, change), (change, wanted), (wanted, wanted))
    )
    weights = np.stack(list(levels_of(np.sqrt(around_each(squared)).ravel())))  # [levels, pixels]
    squared, common = squared.ravel(), common.ravel()
    return (
        np.asarray(still.mean()),
        (weights * common).mean(axis=1),
        (weights * squared) @ weights.T / squared.size,
    )


def around_each(image: Values) -> Values:
    """Means over the pixels around each of an image [H, W], as far as they are there."""
    box = (2 * REACH + 1, 2 * REACH + 1)
    total, count = (
        cv2.boxFilter(part, -1, box, normalize=False, borderType=cv2.BORDER_CONSTANT)
        for part in (image, np.ones_like(image))
    )
    return np.asarray(total / count).clip(0.0)


def levels_of(size: Values) -> Iterator[Values]:
    """How much each of LEVELS counts for changes of these sizes, as ``model.gate`` interpolates."""
    octave = np.log2(np.clip(size / LEVELS[0], 1.0, LEVELS[-1] / LEVELS[0]))
    for number in range(len(LEVELS)):
        yield np.maximum(1.0 - np.abs(octave - number), 0.0)


def gate_of(summed: Moments, episodes: NDArray[np.int64]) -> Gate:
    """The gate for windows of these ``episodes`` [W], no worse than copy-last on episodes that are left out."""
    shares, groups = fitted(summed), groups_of(episodes)
    left_out = np.empty((len(REDUCED), *summed.still.shape))
    for name in np.unique(groups):
        own = groups == name
        others = fitted(summed.part(~own))
        for place, part in zip(left_out, REDUCED, strict=True):
            place[own] = summed.part(own).errors(part * others)
    better = (psnr(left_out) - psnr(summed.still)).mean(axis=1)  # [reductions, K], above copy-last
    chosen = np.where(better[0] >= 0.0, 0, better.argmax(axis=0))
    whole = np.ones_like(shares)
    steps = np.arange(len(chosen))
    gain = (better[chosen, steps] - (psnr(summed.errors(whole)) - psnr(summed.still)).mean(axis=0)).mean()
    reduced = np.array(REDUCED)[chosen][:, None] * shares
    return Gate(
        shares=tuple(tuple(round(float(share), 3) for share in row) for row in reduced),
        windows=len(episodes),
        episodes=len(np.unique(episodes)),
        gain=round(float(gain), 3),
    )


def groups_of(episodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """What is left out together: an episode, or a stretch where there is one episode."""
    if len(np.unique(episodes)) > 1:
        return episodes
    return np.arange(len(episodes)) * BLOCKS // len(episodes)


def fitted(summed: Moments) -> Values:
    """Shares [K, levels] with the best mean PSNR."""
    shares = np.ones(summed.gain.shape[1:])
    for _ in range(ROUNDS):
        weights = 1.0 / (summed.errors(shares) + LEAST_ERROR)
        gain = around(np.einsum("wk,wkb->kb", weights, summed.gain))
        square = around(np.einsum("wk,wkbc->kbc", weights, summed.square))
        evidence = PRIOR * np.trace(square, axis1=1, axis2=2)[:, None] + 1e-12
        for _ in range(SWEEPS):
            for level in range(shares.shape[1]):
                own = square[:, level, level]
                rest = np.einsum("kc,kc->k", square[:, level], shares) - own * shares[:, level]
                best = (gain[:, level] - rest + evidence[:, 0]) / (own + evidence[:, 0])
                shares[:, level] = np.clip(best, 0.0, 1.0)
    return shares


def around(values: Values) -> Values:
    """Sums over each step [K, ...] and those around it."""
    reach = len(NEIGHBOURS) // 2
    padded = np.concatenate([values[:1]] * reach + [values] + [values[-1:]] * reach)
    return np.sum([weight * padded[i : i + len(values)] for i, weight in enumerate(NEIGHBOURS)], axis=0)


def psnr(error: Values) -> Values:
    """PSNR in dB of mean squared errors in grey levels squared."""
    return decibel(error / 255.0**2)


def described(gate: Gate) -> str:
    """For people."""
    first, last = (float(np.mean(gate.shares[step])) for step in (0, -1))
    return (
        f"Fitted to {gate.windows} windows of {gate.episodes} episodes: of predicted changes {100 * first:.0f}% are shown one "
        f"step ahead, {100 * last:.0f}% at the horizon, on average over their sizes, {gate.gain:+.2f} dB on episodes left out of the fit"
    )
