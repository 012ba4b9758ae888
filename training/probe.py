# SPDX-License-Identifier: Apache-2.0
"""What commands say about the motion to come, and how long after they are sent; measured on bags before training.

Ridge regression from the commands of a step, and how they changed, to what moves up to that step, beside the motion of
some time before. Its errors are those on stretches of time that it was not fitted to. What the commands explain is the share
of the error without them that is gone with them; chance is what commands of another time explain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dd_ros.report import Report
from dd_ros.settings import Settings
from dd_ros.streams import StreamSpec
from dd_ros_training.data.index import TrainingEpisode, index_bags
from dd_ros_training.motion import Motion, Piece, motion, pieces_of

FARTHEST = 0.5  # s of lag, either way, that are tried
MOST_BAGS = 16  # that a lag is looked for in before the others are read
STEPS = 1800  # model steps that are looked at: three minutes at 10 Hz
BEFORE = 0.3  # s before the motion that the motion is known up to, as of a prediction so far ahead
BLOCK = 6.0  # s that are held out or fitted to together
FOLDS = 8
LEAST_ROWS = 100  # steps that a regression is worth it with
PAST_PARTS = 16  # principal components of the past motion
WAVES = 40  # cosines of commands in random directions, for what is not linear in them (Rahimi and Recht 2007)
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)  # of ridge regression, per row; the best one counts
SHUFFLES = 10
ELSEWHEN = 1.5  # times what the best of these explain
# Share from which on commands say something, and the same times steps: few steps explain some by chance.
SOMETHING = 0.01, 15.0
BETTER = 0.02, 1.25  # by how much, and how many times, another lag must explain more
ALIKE = 0.02  # of the most that a lag explains: among lags within it the latest counts, as a step sees the command before, too
SURE = 3.0  # standard errors over the folds that it must be better by
STILL = 1.0  # grey levels: where no cell changes by more in 19 of 20 steps, nothing moves
DARK = 30.0  # grey levels of the mean
SHAKES = -0.25  # correlation of a shift with the next one: it goes back and forth
SHAKEN = 0.1  # pixels of 32 that such shifts must have

Array = NDArray[np.float64]


class Probe(Settings):
    """What was found in bags.

    Attributes:
        seconds: of bags that were looked at.
        lags: seconds that were tried, increasing.
        shares: of the motion, that the commands explain at each; empty where there is too little to tell.
        lag: that the bags were read with.
        chance: share that commands may explain by chance: more than those of another time do, and more of few steps.
        suggested: lag that is clearly better; None where none is.
        constant: whether no command changes.
        still, dark, shaky: whether nothing moves, there is no light, the camera shakes.
    """

    seconds: float
    lags: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    lag: float = 0.0
    chance: float = 0.0
    suggested: float | None = None
    constant: bool = False
    still: bool = False
    dark: bool = False
    shaky: bool = False

    @property
    def share(self) -> float:
        """What the commands explain at the lag that the bags were read with."""
        return self.shares[int(np.abs(np.subtract(self.lags, self.lag)).argmin())]

    @property
    def best(self) -> float:
        """What they explain at the best lag."""
        return max(self.shares)

    @property
    def silent(self) -> bool:
        """Whether the commands say nothing about the motion at any lag."""
        return bool(self.shares) and self.best < self.chance

    def remarks(self) -> list[str]:
        """A plain sentence for each thing that a user should know before hours go by."""
        found = []
        if self.dark:
            found.append("the images are dark: predictions will be of little but noise; record with light")
        if self.still:
            found.append("nothing moves in the images: there is nothing to predict; is it the right camera?")
        if self.shaky:
            found.append(
                "the camera shakes: shifts back and forth that commands do not explain; fix it to what it looks from"
            )
        if self.constant:
            found.append("the commands are constant: predictions will be of motion that nobody commands")
        elif self.silent and not self.still:
            found.append(
                f"no link is seen between the commands and the motion, {self.lags[0]:g} s before it to {self.lags[-1]:g} s after: is "
                "--action-topic what moves what the camera sees, by the same clock, and does the camera stand alike in all bags?"
            )
        elif self.shares and not self.silent:
            found.append(
                f"the commands explain {self.share:.0%} of the motion that the past does not, at a lag of {self.lag:g} s"
            )
        if self.suggested is not None:
            found.append(
                f"at a lag of {self.suggested:.2g} s they explain {self.best:.0%}: --action-lag {self.suggested:.2g}, or auto, with "
                "another --out trains so"
            )
        return found


def probed(episodes: Sequence[TrainingEpisode], streams: StreamSpec) -> Probe:
    """What the commands of ``episodes`` say about their motion; takes seconds."""
    rate = streams.rate_hz
    shifts, back = shifts_of(streams), max(1, round(BEFORE * rate))
    reach = max(map(abs, shifts))
    pieces = pieces_of(episodes, rate_hz=rate, steps=STEPS, least=max(reach, back + 1) + reach + 3)
    if not pieces:
        return Probe(seconds=0.0, lag=streams.action_lag_s)
    with threadpool_limits(1):  # threads that wait for one another cost more than they bring here
        return judged(pieces, streams, shifts=shifts, back=back)


def suggested_lag(bags: Sequence[Path], streams: StreamSpec, *, cache: Path) -> float:
    """The lag in seconds that is clearly better for some of ``bags``, spread evenly; that of ``streams`` where none is.

    ``cache`` is the folder of their index.
    """
    some = [bags[index] for index in sorted({*np.linspace(0, len(bags) - 1, MOST_BAGS).round().astype(int)})]
    found = probed(index_bags(some, streams, cache, problems=Report()), streams)
    return streams.action_lag_s if found.suggested is None else found.suggested


def shifts_of(streams: StreamSpec) -> list[int]:
    """Model steps by which commands are tried later than they are now: those within FARTHEST, and none."""
    most = math.ceil((FARTHEST + abs(streams.action_lag_s)) * streams.rate_hz)
    lags = {k: streams.action_lag_s + k / streams.rate_hz for k in range(-most, most + 1)}
    return [k for k, lag in lags.items() if k == 0 or abs(lag) <= FARTHEST + 0.25 / streams.rate_hz]


def judged(pieces: Sequence[Piece], streams: StreamSpec, *, shifts: list[int], back: int) -> Probe:
    """What ``pieces`` show; commands are tried ``shifts`` steps later, beside the motion up to ``back`` steps before."""
    moves = [motion(piece.grey) for piece in pieces]
    actions = np.concatenate([piece.actions for piece in pieces])
    found = Probe(
        seconds=len(actions) / streams.rate_hz,
        lag=streams.action_lag_s,
        constant=bool((actions == actions[0]).all()),
        still=bool(np.quantile(np.concatenate([move.change for move in moves]), 0.95) < STILL),
        dark=bool(np.mean([piece.grey.mean() for piece in pieces]) < DARK),
        shaky=shaky(moves),
    )
    table = Table(pieces, moves, shifts=shifts, back=back, block=round(BLOCK * streams.rate_hz))
    if found.constant or found.still or len(table.motion) < LEAST_ROWS or table.folds < 3:
        return found
    without = table.errors(None)
    errors = {shift: table.errors(table.commands[shift]) for shift in shifts}
    shares = {shift: 1.0 - error.sum() / without.sum() for shift, error in errors.items()}
    most = max(shares.values())
    best = max(shift for shift in shifts if shares[shift] >= most - abs(most) * ALIKE)
    luck = (
        1.0
        - min(table.errors(table.elsewhen(best, number)).sum() for number in range(SHUFFLES)) / without.sum()
    )
    gain = (errors[0] - errors[best]) / without
    found = found.model_copy(
        update={
            "lags": tuple(streams.action_lag_s + shift / streams.rate_hz for shift in shifts),
            "shares": tuple(float(shares[shift]) for shift in shifts),
            "chance": float(max(SOMETHING[0], SOMETHING[1] / len(table.motion)) + ELSEWHEN * max(0.0, luck)),
        }
    )
    sure = gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain))
    more = shares[best] - max(0.0, shares[0]) > BETTER[0] and shares[best] > BETTER[1] * shares[0]
    if best and sure and more and not found.silent:
        lag = streams.action_lag_s + best / streams.rate_hz
        found = found.model_copy(update={"suggested": round(float(lag), 3)})
    return found


def shaky(moves: Sequence[Motion]) -> bool:
    """Whether the whole image goes back and forth from step to step, more than now and then."""
    shifts = [move.whole[:, :2].astype(np.float64) for move in moves]
    before, after = (np.concatenate([s[part] for s in shifts]) for part in (slice(None, -1), slice(1, None)))
    power = (before**2).mean() + (after**2).mean()
    return bool(power > 2.0 * SHAKEN**2 and 2.0 * (before * after).mean() < SHAKES * power)


class Table:
    """Motion of all steps, with the past motion and the commands at each lag beside it.

    Args:
        pieces, moves: recordings, and what moves in them.
        shifts: steps by which commands are tried later.
        back: steps before the motion that the past ends.
        block: steps that are held out together.

    Attributes:
        motion: [N, M]; each of the parts of a motion has the same share in its square.
        commands: shift -> [N, 2 * A], values and how they changed, in deviations from their mean.
        folds: number of groups, of which each is held out once.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        moves: Sequence[Motion],
        *,
        shifts: Sequence[int],
        back: int,
        block: int,
    ):
        reach = max(map(abs, shifts))
        moved: list[Array] = []
        past: list[Array] = []
        commands: dict[int, list[Array]] = {shift: [] for shift in shifts}
        blocks: list[NDArray[np.int64]] = []
        for piece, move in zip(pieces, moves, strict=True):
            whole = np.concatenate([move.whole, move.cells], axis=1).astype(np.float64)
            rows = np.arange(max(reach, back + 1), len(whole) - reach)  # motion from frame row to the next
            moved.append(whole[rows])
            past.append(np.concatenate([whole[rows - back], whole[rows - back - 1]], axis=1))
            values = piece.actions.astype(np.float64)
            for shift in shifts:
                now, before = values[rows + 1 - shift], values[rows - shift]
                commands[shift].append(np.concatenate([now, now - before], axis=1))
            begun = int(blocks[-1][-1]) + 1 if blocks and len(blocks[-1]) else 0
            blocks.append(begun + np.arange(len(rows)) // block)
        number = np.concatenate(blocks)
        self.folds = min(FOLDS, len(np.unique(number)))
        self._fold = number % self.folds
        self.motion = balanced(np.concatenate(moved))
        self._past = principal(scaled(np.concatenate(past)), PAST_PARTS)
        self.commands = {shift: scaled(np.concatenate(rows)) for shift, rows in commands.items()}
        self._penalty = PENALTIES[0]  # of the past

    def elsewhen(self, shift: int, number: int) -> Array:
        """The commands of another time, the ``number``th of SHUFFLES."""
        rows = len(self.motion)
        return np.roll(self.commands[shift], rows // 4 + number * rows // (2 * SHUFFLES), axis=0)

    def errors(self, commands: Array | None) -> Array:
        """Squared errors [folds] of the motion where it is held out, with commands beside the past or without.

        The past has the penalty that is best for it alone, so that ask without commands first.
        """
        more = np.zeros((len(self.motion), 0)) if commands is None else widened(commands)
        inputs = np.concatenate([np.ones((len(self.motion), 1)), self._past, more], axis=1)
        held = [self._fold == fold for fold in range(self.folds)]
        squares = np.stack([inputs[rows].T @ inputs[rows] for rows in held])
        products = np.stack([inputs[rows].T @ self.motion[rows] for rows in held])
        found: dict[float, Array] = {}
        for penalty in PENALTIES:
            past = penalty if commands is None else self._penalty
            ridge = np.concatenate(
                [[1e-9], np.full(self._past.shape[1], past), np.full(more.shape[1], penalty)]
            )
            left = squares.sum(axis=0) - squares + len(inputs) * np.diag(ridge)
            weights = np.linalg.solve(left, products.sum(axis=0) - products)
            off = [self.motion[rows] - inputs[rows] @ w for rows, w in zip(held, weights, strict=True)]
            found[penalty] = np.array([np.square(rows).sum() for rows in off])
        best = min(found, key=lambda penalty: float(found[penalty].sum()))
        if commands is None:
            self._penalty = best
        return found[best]


def balanced(moved: Array) -> Array:
    """Motion [N, M] less its mean, so that shift, zoom and turn of the whole image and the cells together have equal power."""
    moved = moved - moved.mean(axis=0)
    whole, cells = moved[:, :4], moved[:, 4:]
    power = np.sqrt(np.square(cells).sum(axis=1).mean())
    return np.concatenate([scaled(whole) / 2.0, cells / max(power, 1e-9)], axis=1)


def scaled(values: Array) -> Array:
    """Columns in deviations from their mean; constant ones are 0."""
    deviation = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(deviation > 1e-9, deviation, np.inf)


def principal(values: Array, count: int) -> Array:
    """The first ``count`` principal components of columns, each of deviation 1."""
    _, vectors = np.linalg.eigh(values.T @ values)
    return scaled(values @ vectors[:, ::-1][:, :count])


def widened(commands: Array) -> Array:
    """Commands with the sizes of their changes, and cosines of them."""
    clipped = np.clip(commands, -5.0, 5.0)
    random = np.random.default_rng(0)
    directions = random.normal(size=(clipped.shape[1], WAVES)) / np.sqrt(clipped.shape[1])
    waves = np.cos(clipped @ directions + random.uniform(0.0, 2.0 * np.pi, WAVES))
    return np.concatenate([clipped, np.abs(clipped[:, clipped.shape[1] // 2 :]), waves], axis=1)
