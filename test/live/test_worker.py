# SPDX-License-Identifier: Apache-2.0
"""The inference thread with a real network and no ROS communication; rollouts beside it."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from asking import PASS, answered
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from sensor_msgs.msg import Image

from dd_ros import Predictor
from dd_ros.data.commands import Commands
from dd_ros.data.plans import to_ns
from dd_ros.errors import InputError
from dd_ros.live.ladder import Speed
from dd_ros.live.problems import Problems
from dd_ros.live.requests import MOST_JOBS, Job
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Frame, Prediction, Worker
from dd_ros.predictions import Chunk
from dd_ros.ros.messages import header_at, to_time, video_frames

STEP = 100_000_000
START = 1_700_000_000_000_000_000


class Collected:
    """Output that keeps what it gets."""

    def __init__(self) -> None:
        self.chunks: list[tuple[Prediction, Chunk]] = []
        self.whole = threading.Semaphore(0)

    def chunk(self, prediction: Prediction, chunk: Chunk) -> None:
        self.chunks.append((prediction, chunk))
        if chunk.index + 1 == chunk.count:
            self.whole.release()


@pytest.fixture
def predictor(tiny_checkpoint: Path) -> Predictor:
    return Predictor.load(tiny_checkpoint, "cpu", seed=3)


class Bench:
    """A worker and all it talks to."""

    def __init__(self, predictor: Predictor, settings: PredictorParameters) -> None:
        self.output, self.statistics, self.said = Collected(), Statistics(), []
        self.problems = Problems(lambda level, text: self.said.append(text))
        self.commands = Commands((predictor.action_dim,))
        self.worker = Worker(
            predictor, self.commands, self.output, problems=self.problems, statistics=self.statistics,
            settings=settings,
        )  # fmt: skip

    def feed(self, k: int, **changes: object) -> None:
        """Command and image of model step ``k``."""
        self.commands.push(START + k * STEP, np.array([0.1 * k, -0.1 * k]))
        self.worker.mailbox.put(Frame(image(k, **changes), START + k * STEP, "camera", step=k))


def pixels(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 256, (32, 48, 3), np.uint8)


def image(k: int, **changes: object) -> Image:
    fields = {
        "height": 32,
        "width": 48,
        "encoding": "rgb8",
        "step": 144,
        "data": array("B", pixels(k).tobytes()),
    }
    return Image(header=header_at(START + k * STEP, "camera"), **(fields | changes))


@pytest.fixture
def bench(predictor: Predictor) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**settings: object) -> Bench:
        made.append(Bench(predictor, PredictorParameters(**({"action_wait": 0.0, "keep": "all"} | settings))))
        made[-1].worker.start()
        return made[-1]

    yield make
    for item in made:
        item.worker.stop()


def test_predicts_what_the_predictor_predicts(bench, tiny_checkpoint: Path) -> None:
    live, twin = bench(), Predictor.load(tiny_checkpoint, "cpu", seed=3)
    for k in range(4):
        live.feed(k)
        live.output.whole.acquire()
        twin.observe(pixels(k), START + k * STEP, [0.1 * k, -0.1 * k])
        wanted = twin.predict(np.tile([0.1 * k, -0.1 * k], (8, 1)))
        chunks = [
            chunk for prediction, chunk in live.output.chunks if prediction.stamp_ns == START + k * STEP
        ]
        assert [chunk.first_step for chunk in chunks] == [1, 3, 5, 7]
        assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), wanted)


def test_rate_limits_predictions_not_observations(bench) -> None:
    live = bench(rate=5.0)
    for k in range(6):
        live.feed(k)
        if k % 2 == 0:
            live.output.whole.acquire()
    done = threading.Event()
    live.worker.submit(done.set)
    done.wait()
    assert {p.stamp_ns for p, _ in live.output.chunks} == {START, START + 2 * STEP, START + 4 * STEP}


def test_bad_images_are_reported_once_and_good_ones_go_on(bench) -> None:
    live = bench()
    for k in range(3):
        live.feed(k, encoding="32FC1")
    live.feed(3)
    live.output.whole.acquire()
    assert sum("32FC1" in text for text in live.said) == 1


def test_no_plan_and_nothing_held_means_no_prediction(bench) -> None:
    live = bench(hold_last_action=False)
    live.feed(0)
    done = threading.Event()
    live.worker.begin(Job(iter_once(done.set), lambda: None))  # after the frame
    done.wait()
    assert live.output.chunks == []
    assert live.said == [
        "plan horizon: expected commands for the whole horizon (hold_last_action is off), got no plan"
    ]
    live.commands.set_plan([START + k * STEP for k in range(1, 12)], np.zeros((11, 2)))
    live.feed(1)
    live.output.whole.acquire()


def test_frames_come_between_the_pieces_of_a_job(bench) -> None:
    live = bench()
    predicted: list[int] = []
    done = threading.Event()

    def pieces() -> Iterator[None]:
        for k in range(3):
            live.feed(k)
            yield
            predicted.append(len({prediction.stamp_ns for prediction, _ in live.output.chunks}))
        done.set()

    live.worker.begin(Job(pieces(), lambda: None))
    done.wait()
    assert predicted == [1, 2, 3]


def test_jobs_wait_for_each_other_and_one_that_fails_harms_no_other(bench) -> None:
    live = bench()
    order: list[str] = []
    done = threading.Event()

    def pieces(name: str, error: Exception | None = None) -> Iterator[None]:
        for _ in range(2):
            order.append(name)
            yield
        if error is not None:
            raise error

    for name, error in (("a", None), ("b", RuntimeError("broken")), ("c", None)):
        live.worker.begin(Job(pieces(name, error), lambda: None))
    live.worker.begin(Job(iter_once(done.set), lambda: None))
    done.wait()
    assert order == ["a", "a", "b", "b", "c", "c"]
    assert any("RuntimeError: broken" in text for text in live.said)


def iter_once(action: Callable[[], object]) -> Iterator[None]:
    """A job of one piece."""
    action()
    yield


def test_stop_cancels_what_is_not_done(bench) -> None:
    live = bench()
    begun, cancelled = threading.Event(), list[str]()

    def pieces() -> Iterator[None]:
        while True:
            begun.set()
            yield

    live.worker.begin(Job(pieces(), lambda: cancelled.append("under way")))
    live.worker.begin(Job(pieces(), lambda: cancelled.append("waiting")))
    begun.wait()
    live.worker.stop()
    assert cancelled == ["under way", "waiting"]


def candidate(*rows: list[float], stamp: int = 0, step: float = 0.0) -> ActionSequence:
    data = array("f", np.asarray(rows, np.float32).ravel().tolist())
    count, dim = len(rows), len(rows[0])
    return ActionSequence(header=header_at(stamp, ""), count=count, dim=dim, data=data, step=step)


def ask(
    predictor: Predictor, *candidates: ActionSequence, between: Callable[[], object] = lambda: None,
    speed: Speed | None = None, within_ms: float = 0.0, **fields: object,
) -> PredictRollouts.Response:  # fmt: skip
    """The answer to a request of these candidates, with a deadline in so many ms or none."""
    request = PredictRollouts.Request(candidates=list(candidates), **fields)
    if within_ms:
        request.deadline = to_time(START + round(1e6 * within_ms))
    return answered(request, predictor, now_ns=START, between=between, speed=speed)


def test_rollouts_share_the_context_and_differ_by_their_actions(predictor: Predictor) -> None:
    predictor.observe(pixels(0), START, [0.0, 0.0])
    left, right = candidate([-1.0, 0.5]), candidate([1.0, -0.5], [0.5, 0.0])
    result = ask(predictor, left, left, right, return_frames=True, goal=image(5))
    assert result.success, result.message
    frames = [video_frames(future) for future in result.futures]
    assert frames[0].shape == (8, 32, 48, 3)
    assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0], frames[2])
    wanted = [np.mean((f[-1] / 255.0 - pixels(5) / 255.0) ** 2) for f in frames]
    assert np.allclose(result.costs, wanted, atol=1e-6)
    rows = np.reshape(result.futures[2].actions, (8, 2))
    assert rows.tolist() == [[1.0, -0.5], *[[0.5, 0.0]] * 7]
    assert to_ns(result.futures[0].target_stamps[-1]) == START + 8 * STEP


@pytest.mark.parametrize("return_frames", [False, True])
def test_frames_come_between_the_chunks_of_a_request_and_change_nothing_in_it(
    predictor: Predictor, two_threads: None, return_frames: bool
) -> None:
    rows = np.random.default_rng(5).normal(size=(7, 2))
    fields = {"goal": image(5), "return_frames": return_frames}
    predictor.observe(pixels(0), START, [0.0, 0.0])
    predictor.seed(2)
    wanted = ask(predictor, *(candidate(list(row)) for row in rows), **fields)
    predictor.seed(2)
    turns = 0

    def frame() -> None:
        nonlocal turns
        turns += 1
        predictor.observe(pixels(turns), START + turns * STEP, [0.5, 0.5])
        predictor.predict(np.full((8, 2), 0.5))

    found = ask(predictor, *(candidate(list(row)) for row in rows), between=frame, **fields)
    assert turns == 2 * 4 - 1  # four chunks of four rollouts and of the last three
    assert np.allclose(found.costs, wanted.costs, atol=1e-4)
    assert len(wanted.costs) == 7
    for future, expected in zip(found.futures, wanted.futures, strict=True):
        assert np.abs(video_frames(future).astype(int) - video_frames(expected)).max() <= 1


def test_stop_does_not_wait_for_a_command_that_may_come(predictor: Predictor) -> None:
    live = Bench(predictor, PredictorParameters(action_wait=1e6))
    asked = threading.Event()
    waiting = live.commands.wait_newer

    def wait_newer(*args: object, **kwargs: object) -> None:
        asked.set()
        waiting(*args, **kwargs)

    live.commands.wait_newer = wait_newer
    live.worker.start()
    live.worker.mailbox.put(Frame(image(0), START, "camera", step=0))
    asked.wait()
    live.worker.stop()
    assert live.output.chunks == []


def test_rollouts_without_frames_or_goal_are_small(predictor: Predictor) -> None:
    predictor.observe(pixels(0), START, [0.0, 0.0])
    result = ask(predictor, candidate([0.0, 0.0]), candidate([1.0, 0.0]))
    assert (result.success, list(result.costs), result.futures) == (True, [], [])
    assert (result.candidates, result.schedule, result.reduced) == (2, "2-1-1-1", False)
    assert result.header == header_at(START, "camera")
    assert result.target_stamps == [to_time(START + k * STEP) for k in range(1, 9)]
    assert len(result.uncertainty) == 2 * 8


@pytest.mark.parametrize(
    ("within_ms", "schedule", "frames", "candidates"),
    [
        (430.0, "2-1-1-1", 8, 7),
        (400.0, "1-1-1-1", 8, 7),
        (300.0, "1-1-1", 6, 7),
        (200.0, "1-1", 4, 7),
        (125.0, "1-1", 4, 6),
        (30.0, "1-1", 4, 1),
    ],
)
def test_a_deadline_is_kept_by_steps_then_horizon_then_candidates(
    predictor: Predictor, within_ms: float, schedule: str, frames: int, candidates: int
) -> None:
    predictor.observe(pixels(0), START, [0.0, 0.0])
    rows = [candidate(list(row)) for row in np.random.default_rng(5).normal(size=(7, 2))]
    speed = Speed(lambda: 0.0)
    for size in (1, 2, 4):
        speed.ran("request", PASS * size, rows=size)
    wanted = ask(predictor, *rows, return_frames=True)
    predictor.seed(3)
    found = ask(predictor, *rows, return_frames=True, speed=speed, within_ms=within_ms)
    assert found.success, found.message
    assert (found.schedule, len(found.target_stamps), found.candidates) == (schedule, frames, candidates)
    assert found.reduced == ((schedule, candidates) != ("2-1-1-1", 7))
    assert len(found.futures) == candidates
    assert len(found.uncertainty) == candidates * frames
    assert {len(future.target_stamps) for future in found.futures} == {frames}
    assert wanted.candidates == 7
    refused = ask(predictor, *rows, speed=speed, within_ms=10.0)
    assert not refused.success
    assert "ms or more from now, which one candidate over 4 frames takes here" in refused.message


@pytest.mark.parametrize(
    ("candidates", "fields", "words"),
    [
        ([], {}, "expected 1 to 8 action sequences, got 0"),
        ([candidate([0.0, 0.0])] * 9, {}, "got 9"),
        (
            [candidate([0.0, 0.0]), candidate([0.0, 0.0, 0.0])],
            {},
            r"candidates[1]: expected 2 action values, got 3",
        ),
        ([candidate([0.0, float("nan")])], {}, "NaN"),
        ([candidate([0.0, 0.0], stamp=START + 5 * STEP)], {}, "begins later (1700000000.500 s)"),
        ([candidate([0.0, 0.0], stamp=START - 5 * STEP)], {}, "is over (1699999999.500 s)"),
        ([candidate([0.0, 0.0], step=1e300)], {}, "candidates[0]: expected a step of 1e-9 to 3600 s"),
        ([candidate([0.0, 0.0])], {"goal": image(0, encoding="32FC1")}, "goal: image encoding"),
    ],
)
def test_bad_requests_say_why(predictor: Predictor, candidates: list, fields: dict, words: str) -> None:
    predictor.observe(pixels(0), START, [0.0, 0.0])
    result = ask(predictor, *candidates, **fields)
    assert not result.success
    assert words in result.message


def test_rollouts_before_any_image(predictor: Predictor) -> None:
    assert "none yet" in ask(predictor, candidate([0.0, 0.0])).message


def test_more_requests_than_can_wait_are_refused_at_once(bench) -> None:
    live = bench()
    go, told = threading.Event(), list[int]()

    def pieces() -> Iterator[None]:
        go.wait()
        yield

    for k in range(MOST_JOBS):
        live.worker.begin(Job(pieces(), lambda k=k: told.append(k)))
    with pytest.raises(InputError, match=rf"at most {MOST_JOBS} waiting requests, got one more"):
        live.worker.begin(Job(pieces(), lambda: None))
    go.set()
    live.worker.stop()
    assert told == sorted(told), "those that are not done are told so, in order"


def test_a_device_that_fails_ends_the_work(bench, predictor) -> None:
    live = bench()
    error = torch.AcceleratorError("CUDA error: launch failure\nmore")
    with patch.object(predictor, "observe_step", side_effect=error):
        live.feed(0)
        live.worker._thread.join()
        assert live.worker.device_error == "CUDA error: launch failure"
    live.worker.start()
    live.feed(1)
    live.output.whole.acquire()
