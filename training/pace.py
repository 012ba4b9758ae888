# SPDX-License-Identifier: Apache-2.0
"""How the time that was asked for is shared out, so that a run is over when it is up: training/finetune.py goes by it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dd_ros.evaluation.evaluate import evaluate_episodes
from dd_ros.evaluation.gating import moments
from dd_ros.evaluation.windows import make_windows
from dd_ros.predictor import Predictor
from dd_ros_training.data.batches import VALIDATION_CLIPS
from dd_ros_training.data.index import TrainingEpisode

SHARES = {"autoencoder": 2, "teacher": 1, "distillation": 6}  # of the time that the stages have
EVALUATION, VALIDATION = (
    0.1,
    0.05,
)  # of all the time: for the card's figures, and for each look at validation clips
FEWEST_WINDOWS, FEWEST_CLIPS = 4, 4  # figures of fewer say nothing
WINDOWS_PER_MINUTE, MOST_WINDOWS = 3, 300
END = 0.03  # of all the time: to write the checkpoint and to end


@dataclass(frozen=True)
class Pace:
    """Time until a run must be over, and what fits into it.

    Attributes:
        seconds: for all, from ``start`` on.
        start: when the command began, by ``now``.
        window_seconds: that the evaluation of a window takes on this machine, with its part of the plots; see
            ``probe``.
        stages: that are trained, in order.
        now: what tells the time, in seconds.
    """

    seconds: float
    start: float
    window_seconds: float
    stages: tuple[str, ...] = tuple(SHARES)
    now: Callable[[], float] = field(default=time.monotonic, repr=False)

    @property
    def windows(self) -> int:
        """Windows of the evaluation at the end."""
        asked = round(self.seconds / 60.0 * WINDOWS_PER_MINUTE)
        fit = int(EVALUATION * self.seconds / self.window_seconds)
        return max(FEWEST_WINDOWS, min(MOST_WINDOWS, asked, fit))

    @property
    def validation_clips(self) -> int:
        """Clips of each look at the validation episodes; one takes as long as half a window, its rollouts being half."""
        fit = int(VALIDATION * self.seconds / (0.5 * self.window_seconds))
        return max(FEWEST_CLIPS, min(VALIDATION_CLIPS, fit))

    @property
    def validation_seconds(self) -> float:
        """Time that one such look is expected to take."""
        return 0.5 * self.window_seconds * self.validation_clips

    @property
    def end_seconds(self) -> float:
        """Time kept for evaluating and for writing the checkpoint."""
        return self.windows * self.window_seconds + END * self.seconds

    def left(self) -> float:
        """Seconds left for the stages."""
        return self.seconds - self.end_seconds - (self.now() - self.start)

    def stage_seconds(self, stage: str) -> float:
        """Seconds for ``stage``, which begins now: its share of what is left for it and those after it."""
        after = sum(SHARES[name] for name in self.stages[self.stages.index(stage) :])
        return max(0.0, self.left()) * SHARES[stage] / after

    def least_seconds(self) -> float:
        """Time that a run takes on this machine, however little it learns: a validation of each stage, and the end."""
        begun = self.now() - self.start
        least = FEWEST_WINDOWS * self.window_seconds + len(self.stages) * (
            0.5 * FEWEST_CLIPS * self.window_seconds
            + self.window_seconds  # a step takes a window's time or so
        )
        return begun + least


def probe(predictor: Predictor, episodes: Sequence[TrainingEpisode]) -> float:
    """Seconds that fitting a gate to one window and evaluating it takes on this machine as busy as it is, plots and all.

    Raises:
        InputError: as ``evaluate_episodes``.
    """
    with tempfile.TemporaryDirectory(prefix="dd_ros_") as folder, redirect_stdout(StringIO()):
        path = Path(folder)
        evaluate_episodes(
            predictor, episodes, path / "e.json", plots=path, max_windows=1
        )  # loads what it takes
        context, horizon = predictor.config.context_frames, predictor.horizon
        (window,) = make_windows(episodes, context=context, horizon=horizon, stride=1, limit=1)
        start = time.monotonic()
        moments(predictor, episodes, window)
        evaluate_episodes(predictor, episodes, path / "e.json", plots=path, max_windows=1)
        return time.monotonic() - start
