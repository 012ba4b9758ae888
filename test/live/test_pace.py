# SPDX-License-Identifier: Apache-2.0
"""A device that is too slow for the model's steps: the newest frame is predicted from, and it is said."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator

import numpy as np
import pytest
from sensor_msgs.msg import Image
from tiny import random_model, tiny_config

from dd_ros import Predictor
from dd_ros.data.commands import Commands
from dd_ros.live.pace import REMEMBERED, Pace, ordinal
from dd_ros.live.problems import Level, Problems
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Frame, Prediction, Worker
from dd_ros.predictions import Chunk

RATE = 50.0  # Hz of the model: 20 ms per step
STEP = round(1e9 / RATE)


class Stamps:
    """Output that keeps from which images predictions were made."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.done = threading.Semaphore(0)

    def chunk(self, prediction: Prediction, chunk: Chunk) -> None:
        if chunk.index + 1 == chunk.count:
            self.stamps.append(prediction.stamp_ns)
            self.done.release()


class Slow:
    """A live predictor whose network takes longer than a model step, and a camera that goes on meanwhile."""

    def __init__(self) -> None:
        config = tiny_config()
        streams = config.streams.model_copy(update={"rate_hz": RATE})
        predictor = Predictor(config.model_copy(update={"streams": streams}), random_model(config))
        self.output, self.statistics, self.step = Stamps(), Statistics(), 0
        self.problems = Problems(lambda level, text: None)
        self.commands = Commands((2,))
        settings = PredictorParameters(keep="all", action_wait=0.0)
        self.worker = Worker(
            predictor,
            self.commands,
            self.output,
            problems=self.problems,
            statistics=self.statistics,
            settings=settings,
        )
        chunks = predictor._engine.chunks

        def slow(*args: object, **kwargs: object) -> Iterator[object]:
            for _ in range(3):
                self.feed()
            time.sleep(1.5 * STEP / 1e9)
            yield from chunks(*args, **kwargs)

        predictor._engine.chunks = slow

    def feed(self) -> None:
        """Command and image of the next model step."""
        self.step += 1
        stamp = self.step * STEP
        self.commands.push(stamp, np.zeros(2))
        blank = Image(height=32, width=48, encoding="rgb8", step=144, data=array("B", bytes(32 * 144)))
        self.worker.mailbox.put(Frame(blank, stamp, "camera", step=self.step))

    def predict(self, count: int) -> None:
        """Until that many predictions were made."""
        for _ in range(count):
            self.output.done.acquire()


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    made.worker.start()
    yield made
    made.worker.stop()


def test_the_newest_frame_is_predicted_from_and_the_share_of_steps_is_said(slow: Slow) -> None:
    slow.feed()
    slow.predict(REMEMBERED + 2)
    slow.worker.stop()
    assert slow.output.stamps[:4] == [STEP, 4 * STEP, 7 * STEP, 10 * STEP]
    # Of each three the context of two holds the newer ones.
    assert slow.worker.mailbox.dropped in (REMEMBERED + 1, REMEMBERED + 2)
    (problem,) = slow.problems.current("prediction")
    assert problem.level is Level.WARN
    assert problem.text.startswith("predicts every 3rd step: this device takes ")
    assert problem.text.endswith(" ms per prediction, the model step is 20 ms")


def paced(took: float, stride: int) -> Pace:
    """Many equal predictions at 10 Hz."""
    pace = Pace(100.0)
    for k in range(2 * REMEMBERED):
        pace.predicted(k * stride, took)
    return pace


def test_a_device_that_keeps_up_is_not_blamed_for_steps_that_are_not_wanted() -> None:
    assert paced(90.0, 1).complaint(0.0) is None
    assert paced(90.0, 5).complaint(0.0) is None  # images were lost
    assert paced(450.0, 5).complaint(2.0) is None
    assert "every 6th step: this device takes 550 ms" in str(paced(550.0, 6).complaint(2.0))


def test_one_pause_and_a_few_predictions_prove_nothing() -> None:
    pace = paced(50.0, 1)
    pace.predicted(100, 5000.0)
    assert pace.complaint(0.0) is None
    early = Pace(100.0)
    early.predicted(0, 500.0)
    early.predicted(5, 500.0)
    assert early.complaint(0.0) is None


def test_steps_after_a_restart_are_not_compared_with_those_before() -> None:
    pace = paced(250.0, 3)
    pace.restart()
    pace.predicted(0, 250.0)
    assert "every 3rd step" in str(pace.complaint(0.0))


def test_ordinals() -> None:
    assert [ordinal(n) for n in (2, 3, 4, 11, 12, 13, 21, 22, 103, 111)] == [
        "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "103rd", "111th"
    ]  # fmt: skip
