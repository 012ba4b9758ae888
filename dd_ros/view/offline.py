# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes and a checkpoint -> a recording: what was seen, what had been predicted for it, and what else might be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.steps import Episode
from dd_ros.evaluation.playback import Played, played
from dd_ros.evaluation.video import side_by_side, tile
from dd_ros.predictor import Predictor
from dd_ros.view.log import ViewLog
from dd_ros.view.seen import Image, Predicted

PAUSE_NS = 1_000_000_000  # between two episodes that would lie in the same time
COLUMNS = 4  # of the picture of candidates


def written(
    predictor: Predictor, episodes: Sequence[Episode], log: ViewLog, *, candidates: int = 0
) -> Iterator[Iterator[Played]]:
    """Play episodes into ``log``: the model steps of each, as they are written. Take all of one before the next.

    Args:
        predictor: for the episodes' actions.
        episodes: where one would lie in the time of the one before, it follows that.
        log: where to write.
        candidates: action sequences to compare now and then, the first of which is what was done; 0: none.
    """
    rng, begin = np.random.default_rng(0), 0
    for episode in episodes:
        shift = max(0, begin - int(episode.stamps[0]))
        end = int(episode.stamps[0]) + shift + (len(episode) - 1) * predictor.step_ns
        begin = end + predictor.horizon * predictor.step_ns + PAUSE_NS
        every = max(1, predictor.horizon // 2)

        def compare(
            index: int, step: Played, stamp: int, episode: Episode = episode, every: int = every
        ) -> None:
            goal = index + predictor.horizon
            if candidates and goal < len(episode) and index % every == 0:
                actions = tried(step, episodes, number=candidates, rng=rng)
                log.candidates(stamp, *compared(predictor, actions, episode.frames[goal]))

        yield _written(predictor, episode, log, shift=shift, compare=compare)


def _written(
    predictor: Predictor,
    episode: Episode,
    log: ViewLog,
    *,
    shift: int,
    compare: Callable[[int, Played, int], None],
) -> Iterator[Played]:
    names = predictor.config.action.names
    for index, step in enumerate(played(predictor, episode)):
        stamp = step.stamp_ns + shift
        log.commands("action", stamp, step.action.astype(np.float64), joints=names)
        log.predicted(whole(step, stamp, predictor))
        log.camera(stamp, step.frame)
        compare(index, step, stamp)
        yield step


def whole(step: Played, stamp_ns: int, predictor: Predictor) -> Predicted:
    """The prediction of a model step as if it had come in one chunk."""
    return Predicted(
        stamp_ns=stamp_ns, step_ns=predictor.step_ns, horizon=predictor.horizon, first_step=1, frames=step.frames,
        uncertainty=step.uncertainty, actions=step.ahead,
    )  # fmt: skip


def tried(
    step: Played, episodes: Sequence[Episode], *, number: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Action sequences float32 [number, K, A]: what was done, and what this robot did at other times."""
    horizon = len(step.ahead)
    long = [episode for episode in episodes if len(episode) >= horizon]
    others = []
    for _ in range(number - 1):
        actions = long[rng.integers(len(long))].actions
        start = rng.integers(len(actions) - horizon + 1)
        others.append(actions[start : start + horizon])
    return np.stack([step.ahead, *others])


def compared(
    predictor: Predictor, actions: NDArray[np.float32], goal: Image
) -> tuple[Image, NDArray[np.float64]]:
    """Where action sequences [N, K, A] lead from what has been observed.

    Args:
        predictor: has observed the frame to start from.
        actions: in the robot's own units.
        goal: uint8 RGB [H, W, 3], what the camera should see at the end.

    Returns:
        A picture of the goal and of the last predicted frames, the cheapest first; and the costs, float64 [N]: mean
        squared error against the goal, pixels from 0 to 1, as ``predict_rollouts`` rates them.
    """
    parts = predictor.rollouts(actions, frames="last", context=predictor.context())
    last = np.concatenate([part.frames[:, 0] for part in parts if part.frames is not None])
    costs = np.square((last / 255.0) - goal / 255.0).mean(axis=(1, 2, 3))
    tiles = [tile(goal, "goal: what came")]
    for number in np.argsort(costs, kind="stable"):
        label = f"{number}{' (as it was done)' if number == 0 else ''}: {costs[number]:.5f}"
        tiles.append(tile(last[number], label))
    return grid(tiles), costs


def grid(tiles: Sequence[Image]) -> Image:
    """Tiles of one size in rows, with white where there is none."""
    count = -(-len(tiles) // COLUMNS) * COLUMNS if len(tiles) > COLUMNS else len(tiles)
    filled = [*tiles, *[np.full_like(tiles[0], 255)] * (count - len(tiles))]
    rows = [side_by_side(filled[first : first + COLUMNS]) for first in range(0, count, COLUMNS)]
    return np.concatenate(rows)
