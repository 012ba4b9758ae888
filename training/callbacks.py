# SPDX-License-Identifier: Apache-2.0
"""What runs beside a stage: its clock, its saver, its answer to Ctrl-C, and what people see of it."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import lightning
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from dd_ros_training.stages.base import Stage

VALIDATION_SHARE = 0.04  # of the time: looks at validation clips that take more become rarer
REFRESH_SECONDS = 0.5  # of the bar: its figures wait for the device
SAVE_SECONDS = 45.0  # a killed run loses at most this much and the step under way


class Interrupt:
    """Ctrl-C asks for an orderly end; a second one ends at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take over SIGINT as long as the context lasts."""
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        Console(stderr=True).print("ending after this step; Ctrl-C again ends at once")


class StageClock(Callback):
    """Time used of a stage's share, over interruptions too; ends the stage when it is up.

    All processes go by the first one's clock, so that they end at the same step. The stage is over in time with all
    that belongs to it: the clock begins to count when it is made, before the loaders start, and looks ahead to the
    end of the step that begins and of the validation that comes last, which take as long as those before. Where
    validations would take more than VALIDATION_SHARE of the time there are fewer of them.

    Args:
        minutes: the stage's share.
        interrupt: ends the stage early.
        now: what tells the time, in seconds.
        left: seconds left for the stage; where they are fewer than its share they count.
        validation: seconds that a validation is expected to take, until there was one.
    """

    def __init__(
        self,
        minutes: float,
        interrupt: Interrupt | None = None,
        now: Callable[[], float] = time.monotonic,
        *,
        left: float = math.inf,
        validation: float = 0.0,
    ):
        self.share, self.left, self.validation = 60.0 * minutes, left, validation
        self.interrupt, self.now = interrupt or Interrupt(), now
        self.before, self.start, self.used = 0.0, now(), 0.0
        self.step = 0.0  # the last step that had no validation after it, in seconds
        self._began = self._validating = 0.0
        self._counted, self._since = 0, now()  # steps done at the last validation, and when it ended

    @property
    def budget(self) -> float:
        """Seconds that the stage may take, with those it took before an interruption."""
        return max(1e-3, min(self.share, self.before + self.left))

    def elapsed(self) -> float:
        """Seconds used by now."""
        return self.before + self.now() - self.start

    def fraction(self) -> float:
        """Share of the time used at the end of the step under way, 0 to 1 and a little beyond."""
        return self.used

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self.used = self.elapsed() / self.budget
        self._counted, self._since = trainer.fit_loop.total_batch_idx + 1, self.now()

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: object) -> None:
        self._began = self.now()
        ahead = self.elapsed() + self.step + self.validation
        asked = (ahead / self.budget, self.interrupt.asked)
        self.used, stop = trainer.strategy.broadcast(asked)
        if stop:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        self.step = self.now() - self._began

    def on_validation_start(self, trainer: lightning.Trainer, *_: object) -> None:
        self._validating = self.now()

    def on_validation_end(self, trainer: lightning.Trainer, *_: object) -> None:
        now = self.now()
        self.validation = now - self._validating
        done = trainer.fit_loop.total_batch_idx + 1
        seconds = max(1e-6, self._validating - self._since)
        wanted = self.validation / VALIDATION_SHARE * (done - self._counted) / seconds
        self._counted, self._since = done, now
        asked = cast(int, trainer.val_check_interval)
        # Lightning validates after steps that this divides: that is the next time.
        trainer.val_check_batch = trainer.strategy.broadcast(done + asked * max(1, math.ceil(wanted / asked)))

    def state_dict(self) -> dict[str, float]:
        return {"elapsed": self.elapsed()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.before = state["elapsed"]


class Saver(Callback):
    """Saves the whole state of a stage now and then and at its end; the file is always a whole one.

    Lightning's ModelCheckpoint keeps no time interval under manual optimisation. Where saving fails
    (a full disk) training goes on with the file that was saved before.
    """

    def __init__(self, path: Path):
        self.path, self.saved = path, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        due = time.monotonic() - self.saved >= SAVE_SECONDS
        if trainer.strategy.broadcast(due):
            self.save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        staging = self.path.with_suffix(".tmp")
        try:
            trainer.save_checkpoint(staging)  # on every process: some strategies gather here
            if trainer.is_global_zero:
                staging.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            rank_zero_warn(f"{self.path}: not saved ({error}); training goes on")
            staging.unlink(missing_ok=True)
        self.saved = time.monotonic()


class StageProgress(ProgressBar):
    """A bar with the time left and the newest figures; where nobody watches, a line per validation."""

    def __init__(self, stage: str, clock: StageClock):
        super().__init__()
        self.stage, self.clock, self.console = stage, clock, Console(stderr=True)
        self.bar: Progress | None = None
        self.refreshed = -math.inf

    def disable(self) -> None:
        self.console.quiet = True

    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:
        if self.console.is_terminal and not self.console.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task(self.stage, total=1.0, text="")
            self.bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if self.bar and time.monotonic() - self.refreshed >= REFRESH_SECONDS:
            self.bar.update(self.task, completed=self.clock.fraction(), text=self.text(trainer))
            self.refreshed = time.monotonic()

    def on_validation_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if not self.bar:
            self.console.print(f"{self.stage}: {self.text(trainer)}", highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def on_exception(self, trainer: lightning.Trainer, *_: object) -> None:
        self.on_train_end(trainer)

    def text(self, trainer: lightning.Trainer) -> str:
        """Time left and figures, such as ``3:20 left, skill +1.42 dB over copy-last, loss 0.231``; what counts comes first."""
        left = max(0.0, self.clock.budget - self.clock.elapsed())
        loss = {
            name: value
            for name, value in cast(Stage, trainer.lightning_module).figures.items()
            if name.endswith("/loss")
        }
        shown = trainer.progress_bar_metrics | loss
        figures = [figure(name, float(value)) for name, value in shown.items()]
        return ", ".join([f"{int(left) // 60}:{int(left) % 60:02d} left", *figures])


def figure(name: str, value: Any) -> str:
    """A metric in words; skill is PSNR above copy-last."""
    label = name.rpartition("/")[2].replace("_", " ")
    if label == "skill":
        return f"skill {value:+.2f} dB over copy-last"
    if label.endswith("best"):
        return f"{label} {value:.0%}"
    return f"{label} {value:.2f} dB" if label.endswith("psnr") else f"{label} {value:.3f}"
