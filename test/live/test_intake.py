# SPDX-License-Identifier: Apache-2.0
"""What arrives is taken, or refused by name: whatever its fields hold, nothing but our own words comes of it.

The tests look at a few thousand messages; `make fuzz`, some minutes, at 10,000 of each callback (MESSAGES).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from asking import answered
from random_messages import RandomMessages, type_name
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dd_ros import Predictor
from dd_ros.data.commands import Commands
from dd_ros.data.trained import TrainedRange
from dd_ros.live.clocks import Clocks
from dd_ros.live.intake import TRAJECTORY_TYPE, ActionIntake, ImageIntake, PlanIntake
from dd_ros.live.problems import Level, Problems
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Prediction, Worker
from dd_ros.predictions import Chunk
from dd_ros.ros.messages import header_at, predicted_video
from dd_ros.streams import ActionSource

STEP = 100_000_000
NOW = 1_700_000_000
MESSAGES = int(
    os.environ.get("MESSAGES", "800")
)  # images and requests; four times as many commands and plans
JOINTS = "sensor_msgs/msg/JointState"


class Time:
    """A clock that stands."""

    def now_ns(self) -> int:
        return NOW * 10**9

    def simulated(self) -> bool:
        return False


class Messages:
    """Output that makes the messages which would be published."""

    def __init__(self, predictor: Predictor):
        self.predicted: list[int] = []
        self._step_ns = predictor.step_ns

    def chunk(self, prediction: Prediction, chunk: Chunk) -> None:
        rows = prediction.actions[chunk.first_step - 1 :][: len(chunk.frames)]
        predicted_video(
            chunk, rows, stamp_ns=prediction.stamp_ns, step_ns=self._step_ns, now_ns=NOW * 10**9,
            frame_id=prediction.frame_id, checkpoint="tiny",
        )  # fmt: skip
        self.predicted.append(prediction.stamp_ns)


class Side:
    """All intakes of a predictor, with what they report."""

    def __init__(self, predictor: Predictor, **settings: object):
        self.said: list[tuple[Level, str]] = []
        self.problems = Problems(lambda level, text: self.said.append((level, text)))
        self.statistics, self.output = Statistics(), Messages(predictor)
        self.commands = Commands((predictor.action_dim,))
        parameters = PredictorParameters(keep="all", action_wait=0.0, **settings)
        self.worker = Worker(
            predictor, self.commands, self.output, problems=self.problems, statistics=self.statistics,
            settings=parameters,
        )  # fmt: skip
        config, clock = predictor.config, Time()
        self.clocks = Clocks(clock, self.problems)
        known = TrainedRange.of(config.action, config.streams.actions)
        self.images = ImageIntake(
            rate_hz=config.streams.rate_hz, worker=self.worker, commands=self.commands, problems=self.problems,
            statistics=self.statistics, clocks=self.clocks,
        )  # fmt: skip
        (source,) = config.streams.actions
        self.actions = self.action_intake(source.model_copy(update={"fields": ("position[0:2]",)}), known)
        self.plans = PlanIntake(
            config=config, known=known, commands=self.commands, problems=self.problems,
            next_ns=lambda: (self.images.newest_ns or clock.now_ns()) + STEP,
        )  # fmt: skip

    def action_intake(self, source: ActionSource, known: TrainedRange) -> ActionIntake:
        return ActionIntake(
            name="action", number=0, source=source, known=known, commands=self.commands, problems=self.problems,
            clocks=self.clocks,
        )  # fmt: skip

    def step(self, k: int, *values: float) -> None:
        """A good model step."""
        header = header_at(NOW * 10**9 + k * STEP, "camera")
        self.actions.take(JointState(header=header, position=list(values or (0.1, 0.2))), JOINTS, "/action")
        pixels = np.random.default_rng(k).integers(0, 256, 4608, np.uint8)
        msg = Image(header=header, height=32, width=48, encoding="rgb8", step=144)
        msg.data.frombytes(pixels.data)
        self.images.take(msg)

    def texts(self, word: str) -> list[str]:
        return [text for _, text in self.said if word in text]


@pytest.fixture
def predictor(tiny_checkpoint: Path) -> Predictor:
    return Predictor.load(tiny_checkpoint, "cpu", seed=3)


@pytest.fixture
def side(predictor: Predictor) -> Iterator[Side]:
    side = Side(predictor)
    side.worker.start()
    yield side
    side.worker.stop()


def test_whatever_comes_is_refused_in_our_own_words(side: Side) -> None:
    fuzz = RandomMessages(seed=1, now=NOW)
    for k in range(4 * MESSAGES):
        plan = fuzz.sequence() if k % 2 else fuzz.trajectory()
        side.plans.take(plan, type_name(plan), "/plan")
        action = fuzz.action()
        side.actions.take(action, type_name(action), "/action")
        if k % 4 == 0:
            side.images.take(fuzz.image() if k % 8 else fuzz.compressed())
        if k % 200 == 0:
            time.sleep(0)  # let the worker have some
    assert side.texts("Traceback") == []
    assert len(side.said) < 400, "kinds, not messages"
    for name in ("image", "action", "plan"):
        assert side.texts(f"{name}: expected")
    before = len(side.output.predicted)
    for k in range(100_000):
        side.step(k)
        if len(side.output.predicted) > before + 8:
            break
        time.sleep(0.001)
    assert len(side.output.predicted) > before + 8, "good input is predicted from as before"
    assert np.isfinite(side.commands.at(NOW * 10**9 + k * STEP)).all()


def test_every_request_is_answered(predictor: Predictor) -> None:
    fuzz = RandomMessages(seed=2, now=NOW)
    predictor.observe(np.zeros((32, 48, 3), np.uint8), NOW * 10**9, [0.0, 0.0])
    answers = [answered(fuzz.request(), predictor, now_ns=NOW * 10**9) for _ in range(MESSAGES)]
    assert {answer.success for answer in answers} == {True, False}
    unclear = {
        a.message
        for a in answers
        if not a.success and not re.search("expected|needs whole groups", a.message)
    }
    assert unclear == set()
    assert sum(answer.success for answer in answers) > len(answers) / 20
    for found in answers:
        for future in found.futures:
            assert np.isfinite(future.uncertainty).all()


def test_a_plan_with_an_endless_step_is_refused_by_name(side: Side) -> None:
    fuzz = RandomMessages(seed=0, now=NOW)
    plan = fuzz.sequence()
    plan.count, plan.dim, plan.data, plan.step = 2, 2, type(plan.data)("f", [0.0] * 4), 1e300
    side.plans.take(plan, type_name(plan), "/plan")
    (text,) = side.texts("plan")
    assert text.startswith(
        "plan: expected a step of 1e-9 to 3600 s, or 0 for a model step, got 1e+300 s (on /plan"
    )


@pytest.mark.parametrize(
    ("begins", "words"), [(60, "begins 60.0 s after it"), (-60, "was over 59.8 s before it")]
)
def test_a_plan_for_another_time_is_named(side: Side, begins: int, words: str) -> None:
    def take(stamp: int) -> None:
        plan = RandomMessages(seed=0, now=NOW).sequence()
        plan.count, plan.dim, plan.data, plan.step = 3, 2, type(plan.data)("f", [0.0] * 6), 0.1
        plan.header = header_at(stamp, "")
        side.plans.take(plan, type_name(plan), "/plan")

    side.step(0)
    take(NOW * 10**9 + STEP + begins * 10**9)
    assert side.texts("plan time") == [
        f"plan time: expected a plan for the time of the images, got one that {words}: are the clocks the same?"
    ]
    take(NOW * 10**9 + STEP)
    assert side.texts("plan time")[1:] == ["plan time: good again"]


def test_a_camera_whose_stamps_stick(side: Side) -> None:
    side.step(1)
    for _ in range(5):
        side.step(1)
    assert side.texts("same one") == [
        "image time: expected stamps that increase, got the same one 2 times; such images are ignored"
    ]
    assert "same one 6 times" in side.problems.current("image")[0].text
    side.step(2)
    assert side.said[-1] == (Level.OK, "image time: good again")


def test_commands_unlike_training_are_named_until_they_are_like_it_again(side: Side) -> None:
    side.step(1, 0.3, 57.3)
    side.step(2, 0.3, -80.0)
    (problem,) = side.problems.current("action")
    assert problem.level is Level.WARN
    assert "got y = -80, 80 deviations from their mean 0" in problem.text
    assert len(side.texts("deviations")) == 1
    side.step(3)
    assert side.said[-1] == (Level.OK, "action range: good again")


def test_what_float32_cannot_hold_is_refused_where_it_comes_in(side: Side) -> None:
    side.step(1, 1e39, 0.0)
    assert side.texts("action: expected action values that fit float32 (3.4e38), got 1e+39 (on /action")
    assert side.commands.newest_ns is None


def test_values_picked_by_position_out_of_more_are_named_once(side: Side) -> None:
    header = header_at(NOW * 10**9, "")
    for names in ([], ["a", "b", "c"]):
        for _ in range(3):
            msg = JointState(header=header, name=names, position=[0.1, 0.2, 0.3])
            side.actions.take(msg, JOINTS, "/action")
    (text,) = side.texts("length")
    assert "expected 2 values in position, got 3; position[0:2] takes values 0 to 1" in text
    assert "(on /action)" in text


def test_values_picked_by_name_or_one_by_one_are_not(side: Side, predictor: Predictor) -> None:
    known = TrainedRange.of(predictor.config.action, predictor.config.streams.actions)
    by_name = ActionSource(topic="/action", type=JOINTS, fields=("position[c,a]",))
    msg = JointState(header=header_at(NOW * 10**9, ""), name=["a", "b", "c"], position=[0.1, 0.2, 0.3])
    side.action_intake(by_name, known).take(msg, JOINTS, "/action")
    single = ActionSource(topic="/action", fields=("data[3]", "data[0]"))
    data = Float64MultiArray(data=[0.1, 0.2, 0.3, 0.4, 0.5])
    side.action_intake(single, known).take(data, type_name(data), "/action")
    assert side.said == []


def trajectory(names: Sequence[str], values: Sequence[float]) -> JointTrajectory:
    header = header_at(NOW * 10**9, "")
    return JointTrajectory(header=header, joint_names=names, points=[JointTrajectoryPoint(positions=values)])


def plan_intake(
    side: Side, predictor: Predictor, *names: str
) -> Callable[[Sequence[str], Sequence[float]], str]:
    """A function that takes in a plan and gives the commands in force, or why it is refused."""
    action = predictor.config.action.model_copy(update={"names": names})
    intake = PlanIntake(
        config=predictor.config.model_copy(update={"action": action}), commands=side.commands,
        known=TrainedRange.of(action, predictor.config.streams.actions), problems=side.problems, next_ns=lambda: NOW * 10**9,
    )  # fmt: skip

    def take(joints: Sequence[str], values: Sequence[float]) -> str:
        before = side.problems.times("plan")
        intake.take(trajectory(joints, values), TRAJECTORY_TYPE, "/plan")
        if side.problems.times("plan") > before:
            return next(p.text for p in side.problems.current("plan") if p.open)
        planned = side.commands.ahead(NOW * 10**9 - STEP, STEP, 1, hold=False)
        assert planned is not None
        return str([round(float(value), 3) for value in planned[0]])

    return take


def test_a_plan_is_read_by_the_checkpoints_joints_or_refused(side: Side, predictor: Predictor) -> None:
    take = plan_intake(side, predictor, "x", "y")
    assert take(["y", "x"], [0.1, 0.2]) == "[0.2, 0.1]"
    assert take(["z", "x", "y"], [0.5, 0.1, 0.2]) == "[0.1, 0.2]"
    refused = "expected the joints x, y, in any order, got {}; put the names of the commands' joints into joint_names"
    for joints, named in ((["a", "b"], "a, b"), ([], "no names"), (["x", "x"], "x, x")):
        assert take(joints, [0.1, 0.2]).startswith(refused.format(named))


def test_without_known_joints_the_first_plan_names_them(side: Side, predictor: Predictor) -> None:
    take = plan_intake(side, predictor)
    assert take([], [0.1, 0.2]) == "[0.1, 0.2]"
    assert "expected 2 positions" in take(["a", "b", "c"], [0.1, 0.2, 0.3])
    assert take(["a", "b"], [0.3, 0.4]) == "[0.3, 0.4]"
    assert take(["b", "a"], [0.3, 0.4]) == "[0.4, 0.3]"
    assert take(["b", "c"], [0.3, 0.4]).startswith("expected the joints a, b, in any order, got b, c; put")
    assert take([], [0.3, 0.4]).startswith("expected the joints a, b, in any order, got no names; put")


def test_texts_of_one_kind_are_one_line(side: Side) -> None:
    for count in range(3, 500):
        plan = RandomMessages(seed=0, now=NOW).sequence()
        plan.count, plan.dim, plan.data = 1, count, type(plan.data)("f", [0.0] * count)
        side.plans.take(plan, type_name(plan), "/plan")
    assert len(side.texts("plan")) == 1
    assert side.problems.times("plan") == 497
