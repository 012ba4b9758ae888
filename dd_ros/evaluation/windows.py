# SPDX-License-Identifier: Apache-2.0
"""Windows of recorded episodes: what the model may see, what comes next, and other actions to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.steps import Episode
from dd_ros.errors import InputError


class RecordedEpisode(Protocol):
    """An episode to judge on; its images may be decoded only when a clip is asked for."""

    @property
    def name(self) -> str: ...

    @property
    def actions(self) -> NDArray[np.float32]:
        """float32 [T, A], the command in force at each model step."""
        ...

    def __len__(self) -> int: ...

    def clip(self, start: int, stop: int) -> Episode:
        """The model steps from ``start`` up to ``stop``."""
        ...


@dataclass(frozen=True)
class Window:
    """One prediction to judge.

    Attributes:
        episode: index of its episode.
        last: index in the episode of the last frame the model sees; the targets follow it.
    """

    episode: int
    last: int


def make_windows(
    episodes: Sequence[RecordedEpisode], *, context: int, horizon: int, stride: int, limit: int | None = None
) -> list[Window]:
    """Windows every ``stride`` frames, at most ``limit`` of them, spread evenly over all episodes.

    Args:
        episodes: recorded episodes.
        context: frames before the targets; the baselines need two.
        horizon: targets.
        stride: frames between the starts of two windows.
        limit: most windows to keep; None keeps all.

    Raises:
        InputError: stride or limit below 1, or no episode is long enough.
    """
    for name, value in (("stride", stride), ("max-windows", 1 if limit is None else limit)):
        if value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    first = max(context, 2) - 1
    windows = [
        Window(index, last)
        for index, episode in enumerate(episodes)
        for last in range(first, len(episode) - horizon, stride)
    ]
    if not windows:
        longest = max((len(episode) for episode in episodes), default=0)
        raise InputError(
            f"bags: no episode is long enough: a window needs {first + 1 + horizon} frames without gap "
            f"at the model's rate, the longest episode has {longest}"
        )
    if limit is None or limit >= len(windows):
        return windows
    return [windows[i] for i in np.linspace(0, len(windows) - 1, limit).round().astype(int)]


def clip_of(episode: RecordedEpisode, window: Window, *, context: int, horizon: int) -> Episode:
    """What the model may see, two frames at least, and after it the ``horizon`` targets."""
    first = max(0, window.last + 1 - max(context, 2))
    return episode.clip(first, window.last + 1 + horizon)


def shuffled_actions(
    episodes: Sequence[RecordedEpisode], window: Window, *, horizon: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Commands recorded elsewhere, float32 [horizon, A]: a random stretch of another episode.

    With a single usable episode, a stretch of it that starts elsewhere; where there is none, the
    window's own commands backwards.
    """
    usable = [i for i, episode in enumerate(episodes) if len(episode) >= horizon]
    others = [i for i in usable if i != window.episode] or usable
    other = int(rng.choice(others))
    starts = np.arange(len(episodes[other]) - horizon + 1)
    if other == window.episode:
        starts = starts[starts != window.last + 1]
    if not len(starts):
        return episodes[other].actions[window.last + 1 : window.last + 1 + horizon][::-1]
    start = int(rng.choice(starts))
    return episodes[other].actions[start : start + horizon]
