# SPDX-License-Identifier: Apache-2.0
"""The inference thread: observes waiting frames, predicts, hands on each chunk as it is decoded; requests in between."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from dd_ros.data.commands import Commands
from dd_ros.data.images import decode_rgb, image_size
from dd_ros.errors import InputError
from dd_ros.live.ladder import Keep, Kind, Rung, Speed, StreamLadder, Wanted, rungs
from dd_ros.live.mailbox import Mailbox
from dd_ros.live.pace import Pace
from dd_ros.live.problems import Level, Problems
from dd_ros.live.requests import Job, Requests
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.sharing import Sharing
from dd_ros.live.statistics import Statistics
from dd_ros.predictions import Chunk
from dd_ros.predictor import Predictor

IDLE = 0.005  # s to wait for an image where a piece of a request does not fit before it


class Frame(NamedTuple):
    """A camera frame that is due as a model step.

    Attributes:
        message: Image or CompressedImage, not yet converted.
        stamp_ns: its time.
        frame_id: the camera's.
        step: number of the model step, by the ``StepClock`` that made it one.
    """

    message: Any
    stamp_ns: int
    frame_id: str
    step: int


class Prediction(NamedTuple):
    """What the chunks of one prediction have in common.

    Attributes:
        observed: last observed frame, uint8 RGB [H, W, 3].
        stamp_ns: its stamp.
        frame_id: the camera's.
        actions: float32 [horizon, A], assumed.
    """

    observed: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str
    actions: NDArray[np.float32]


class Output(Protocol):
    """Takes chunks as they are decoded; called from the inference thread."""

    def chunk(self, prediction: Prediction, chunk: Chunk) -> None: ...


class Worker:
    """Owns the predictor: nothing else may call it while the thread runs.

    Args:
        predictor: loaded and warm.
        commands: executed and planned actions.
        output: where chunks go.
        problems, statistics: where to report.
        settings: parameter values; replace the attribute to change them.
        now_ns: the clock of stamps and deadlines.

    Attributes:
        camera: width and height of the newest image; None before the first.
        requests: what is worked at beside the stream.
        device_error: what a GPU said when it failed; from then on nothing is observed or predicted. Else empty.
    """

    def __init__(
        self,
        predictor: Predictor,
        commands: Commands,
        output: Output,
        *,
        problems: Problems,
        statistics: Statistics,
        settings: PredictorParameters,
        now_ns: Callable[[], int] = time.time_ns,
    ):
        self.settings = settings
        self.mailbox: Mailbox[Frame] = Mailbox(predictor.config.context_frames)
        self.frame_id = self.device_error = ""
        self._predictor, self._commands, self._output = predictor, commands, output
        self._problems, self._statistics = problems, statistics
        self._tasks: deque[Callable[[], None]] = deque()
        self._speed, self._now_ns = Speed(), now_ns
        self.requests = Requests(self._speed, predictor.part_sizes)
        self._sharing = Sharing(self._new_ladder(), self.requests, step_ms=predictor.step_ns / 1e6)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.camera: tuple[int, int] | None = None
        self._new = False  # whether something was observed since the last prediction
        self._predicted_ns: int | None = None
        self._pace, self._step = Pace(predictor.step_ns / 1e6), 0

    def start(self) -> None:
        """Begin with empty hands: observations from before do not count."""
        self._stopping.clear()
        self.device_error = ""
        self.mailbox.clear()
        self._reset()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the chunk or piece under way; jobs that are not done are cancelled."""
        self._stopping.set()
        self.mailbox.wake()
        self._commands.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        while (job := self.requests.first()) is not None:
            self.requests.remove(job)
            job.pieces.close()
            job.cancelled()

    def submit(self, task: Callable[[], None]) -> None:
        """Run ``task``, which is short, on the inference thread before the next frame."""
        self._tasks.append(task)
        self.mailbox.wake()

    def begin(self, job: Job) -> None:
        """Work at a long job on the inference thread, in pieces that fit between two predictions of the stream.

        Raises:
            InputError: too many are not done yet.
        """
        self.requests.add(job)
        self.mailbox.wake()

    def rungs(self) -> tuple[Rung, ...]:
        """The ladder of requests and of the stream, the best first."""
        predictor = self._predictor
        return rungs(predictor.schedule, predictor.horizon, fixed=predictor.records)

    def _new_ladder(self) -> StreamLadder:
        return StreamLadder(self.rungs(), step_ms=self._predictor.step_ns / 1e6, speed=self._speed)

    def rewind(self) -> None:
        """The clock was reset: forget waiting frames and all observations."""
        self.mailbox.clear()
        self.submit(self._reset)

    def _reset(self) -> None:
        self._predictor.reset()
        self._predicted_ns, self._new = None, False
        self._pace.restart()

    def _run(self) -> None:
        patience: float | None = None
        while not self._stopping.is_set():
            self.mailbox.wait(patience)
            idle = False
            try:
                idle = not self._turn()
            except torch.AcceleratorError as error:
                self.device_error = str(error).splitlines()[0]
                return
            except Exception as error:  # the thread must outlive whatever one frame brings
                self._problems.failed("prediction", error)
            patience = None if not self.requests else IDLE if idle else 0.0

    def _turn(self) -> bool:
        """Observe what came; a prediction where it is due, else a piece of a request where it fits; whether there was any."""
        while self._tasks:
            self._tasks.popleft()()
        self._expire()
        self._observe_all()
        if self._stopping.is_set():
            return False
        job = self.requests.first()
        piece_ms = None if job is None else self.requests.piece_ms(job.next)
        begins = job is not None and not job.begun
        turn = "request" if begins else self._sharing.next(piece_ms, self._wanted(), image=self._new)
        if turn == "stream":
            self._new = False
            self._predict()
        elif turn == "request" and job is not None:
            self._work(job)
        return turn is not None

    def _observe_all(self) -> None:
        began = time.perf_counter()
        taken = [self._observe(frame) for frame in self.mailbox.take() if not self._stopping.is_set()]
        if any(taken):
            self._speed.ran("observe", 1e3 * (time.perf_counter() - began))
            self._new = self._due()

    def _work(self, job: Job) -> None:
        """One piece of a job."""
        piece, began = job.next, time.perf_counter()
        job.begun = True
        try:
            job.next = next(job.pieces)
        except StopIteration:
            self.requests.remove(job)
        except BaseException:
            self.requests.remove(job)
            raise
        if piece is not None:
            self._predictor.settle()
            took = 1e3 * (time.perf_counter() - began)
            self.requests.ran(piece, took)
            self._sharing.worked(took)
        if job.next is not None and job.next.begins:
            self.requests.pass_on()

    def _expire(self) -> None:
        """Requests whose deadline has passed are answered with what there is."""
        for job in self.requests.take_expired(self._now_ns()):
            job.pieces.close()
            job.expired()

    def _wanted(self) -> Wanted:
        """What the stream should be."""
        rate, step_ms = self.settings.rate, self._predictor.step_ns / 1e6
        period = max(step_ms, 1e3 / rate if rate > 0.0 else 0.0)
        return Wanted(cast(Keep, self.settings.keep), period, 1e3 * self.settings.deadline)

    def _observe(self, frame: Frame) -> bool:
        try:
            pixels = decode_rgb(
                frame.message, self._predictor.width, self._predictor.height,
                most_pixels=self.settings.max_image_pixels,
            )  # fmt: skip
        except InputError as error:
            self._problems.report("image", str(error))
            return False
        self._note_size(*image_size(frame.message))
        self._commands.wait_newer(frame.stamp_ns, self.settings.action_wait, unless=self._stopping.is_set)
        action = self._commands.at(frame.stamp_ns)
        if action is None:
            self._statistics.add("unmatched_frames")
            return False
        self.frame_id = frame.frame_id
        self._predictor.observe_step(pixels, frame.stamp_ns, action, step=frame.step)
        self._step = frame.step
        self._statistics.add("observed_frames")
        self._problems.solved("image")
        return True

    def _note_size(self, width: int, height: int) -> None:
        if self.camera not in (None, (width, height)):
            before, model = (
                f"{self.camera[0]}x{self.camera[1]}",
                f"{self._predictor.width}x{self._predictor.height}",
            )
            self._problems.report(
                "image size",
                f"expected {before} as before, got {width}x{height}; stretched to {model}",
                Level.WARN,
            )
        else:
            self._problems.solved("image size")
        self.camera = (width, height)

    def _due(self) -> bool:
        """Whether the rate limit allows a prediction from the newest frame."""
        stamp, step = self._predictor.stamp_ns, self._predictor.step_ns
        if stamp is None:
            return False
        rate, last = self.settings.rate, self._predicted_ns
        return rate <= 0.0 or last is None or stamp - last >= 1e9 / rate - step / 4

    def _predict(self) -> None:
        predictor = self._predictor
        stamp, observed = predictor.stamp_ns, predictor.observed
        if stamp is None or observed is None:
            return
        actions = self._commands.ahead(
            stamp, predictor.step_ns, predictor.horizon, hold=self.settings.hold_last_action
        )
        if actions is None:
            self._predicted_ns = stamp
            wanted, got = (
                ("", "got none since the clock was reset")
                if self.settings.hold_last_action
                else (" (hold_last_action is off)", self._commands.gap(stamp, predictor.step_ns))
            )
            text = f"expected commands for the whole horizon{wanted}, {got}"
            self._problems.report("plan horizon", text, Level.WARN)
            return
        self._problems.solved("plan horizon")
        rung = self._choose(stamp)
        if rung is None:
            return
        self._predicted_ns = stamp
        prediction = Prediction(observed, stamp, self.frame_id, actions)
        began = last = time.perf_counter()
        for chunk in predictor.predict_chunks(actions, schedule=rung.schedule, horizon=rung.frames):
            now = time.perf_counter()
            kind: Kind = "rest" if chunk.index else "first"
            self._speed.ran(kind, 1e3 * (now - last), units=rung.units(chunk.index))
            last = now
            if chunk.index == 0:
                self._statistics.sample("first_chunk", 1e3 * (now - began))
            self._output.chunk(prediction, chunk)
            if self._stopping.is_set():
                return
            self._expire()
        took = 1e3 * (time.perf_counter() - began)
        self._statistics.sample("horizon", took)
        self._statistics.predictions.count()
        self._problems.solved("prediction")
        self._judge_pace(took)

    def _choose(self, stamp_ns: int) -> Rung | None:
        """How to predict from the image of that stamp; None where it is left out."""
        if self._sharing.ladder.rungs[0].schedule != self._predictor.schedule:
            self._sharing.ladder = self._new_ladder()
        ladder = self._sharing.ladder
        rung = self._sharing.choose((self._now_ns() - stamp_ns) / 1e6, self._wanted())
        self._statistics.rung = ladder.state()
        complaint = ladder.complaint()
        if complaint is None:
            self._problems.solved("prediction rung")
        else:
            self._problems.report("prediction rung", complaint, Level.WARN, kind="rung")
        return rung

    def _judge_pace(self, milliseconds: float) -> None:
        self._pace.predicted(self._step, milliseconds)
        complaint = self._pace.complaint(self.settings.rate)
        if complaint is None:
            self._problems.solved("prediction pace")
        else:
            self._problems.report("prediction pace", complaint, Level.WARN, kind="pace")
