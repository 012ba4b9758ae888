# SPDX-License-Identifier: Apache-2.0
"""The same messages become the same model steps whether they come live or out of a bag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writer import IMAGE, JOINTS, image, joints, make_frame, write_bag
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dd_ros import Predictor
from dd_ros.data.bags import read_episodes
from dd_ros.data.commands import Commands
from dd_ros.data.trained import TrainedRange
from dd_ros.errors import InputError
from dd_ros.live.clocks import Clocks
from dd_ros.live.intake import ActionIntake, ImageIntake
from dd_ros.live.problems import Problems
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Prediction, Worker
from dd_ros.predictions import Chunk
from dd_ros.streams import ActionSource

MS = 1_000_000
CUT = 7  # bytes that a damaged image keeps
START = 1_700_000_000_000_000_000
SOURCE = ActionSource(topic="/action", type=JOINTS, fields=("position[0:2]",), dim=2)


class Watched(Predictor):
    """A predictor that remembers the model steps it took: number, stamp, frame, action."""

    taken: list[tuple[int, int, bytes, tuple[float, ...]]]

    def observe_step(self, image: Any, stamp_ns: int, action: Any, *, step: int) -> None:
        super().observe_step(image, stamp_ns, action, step=step)
        assert self.observed is not None
        self.taken.append((step, stamp_ns, self.observed.tobytes(), tuple(np.asarray(action).tolist())))


class Nowhere:
    """Output for a test that is about input."""

    def chunk(self, prediction: Prediction, chunk: Chunk) -> None:
        raise AssertionError("nothing is predicted without a plan")


class Stopped:
    """A clock that stands at the time of the newest message."""

    def __init__(self) -> None:
        self.time = START

    def now_ns(self) -> int:
        return self.time

    def simulated(self) -> bool:
        return False


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint: Path) -> Watched:
    return Watched.load(tiny_checkpoint, "cpu")


def live(predictor: Watched, messages: list[tuple[str, str, int, Any]], every: int, lag_ns: int = 0) -> None:
    """Hand the messages to a worker that looks into its mailbox after ``every`` images."""
    predictor.reset()
    predictor.taken = []
    commands = Commands([2], lag_ns=lag_ns)
    problems, statistics = Problems(lambda level, text: None), Statistics()
    values = PredictorParameters(keep="all", hold_last_action=False, action_wait=0.0)
    worker = Worker(predictor, commands, Nowhere(), problems=problems, statistics=statistics, settings=values)
    clock = Stopped()
    clocks = Clocks(clock, problems)
    images = ImageIntake(
        rate_hz=predictor.config.streams.rate_hz, worker=worker, commands=commands, problems=problems,
        statistics=statistics, clocks=clocks,
    )  # fmt: skip
    actions = ActionIntake(
        name="action",
        number=0,
        source=SOURCE,
        known=TrainedRange.of(predictor.config.action, (SOURCE,)),
        commands=commands,
        problems=problems,
        clocks=clocks,
    )
    count = 0
    for topic, kind, stamp, message in messages:
        clock.time = stamp
        if kind == IMAGE:
            images.take(message)
            count += 1
            if count % every == 0:
                worker._turn()
        else:
            actions.take(message, kind, topic)
    worker._turn()


def recording(
    rate: float, jitter: list[int], first_command: int, bad: set[int], gap: int
) -> list[tuple[str, str, int, Any]]:
    """A camera at ``rate`` Hz with jitter (ms), damaged images and a gap (ms) half way; commands at 23 Hz."""
    messages = []
    for number, early in enumerate(jitter):
        stamp = (
            START + round(number * 1e9 / rate) + early * MS + (gap * MS if 2 * number > len(jitter) else 0)
        )
        message = image(stamp, make_frame(number))
        if number in bad:
            message.data = message.data[:CUT]
        messages.append(("/camera/image_raw", IMAGE, stamp, message))
    end = messages[-1][2]
    for number in range(2000):
        stamp = START + first_command * MS + number * 43 * MS + 1
        if number and stamp > end:
            break
        messages.append(("/action", JOINTS, stamp, joints(stamp, (0.01 * number, -0.01 * number))))
    return sorted(messages, key=lambda message: message[2])


@settings(max_examples=25)
@example(rate=10.0, jitter=[0] * 12, first_command=-40, bad={1}, gap=0, every=1, lag=0.2)
@given(
    rate=st.one_of(st.floats(5.0, 60.0), st.sampled_from([5.0, 10.0, 15.0, 20.0, 30.0, 60.0])),
    jitter=st.lists(st.integers(-7, 7), min_size=12, max_size=70),
    first_command=st.sampled_from([-40, 0, 50, 130, 400]),
    bad=st.sets(st.integers(0, 69), max_size=12),
    gap=st.sampled_from([0, 0, 120, 260, 900]),
    every=st.sampled_from([1, 1, 2, 5]),
    lag=st.sampled_from([0.0, 0.0, 0.043, 0.2, 0.5]),
)
def test_live_and_recorded_take_the_same_steps(
    predictor: Watched, tmp_path_factory: pytest.TempPathFactory, rate: float, jitter: list[int],
    first_command: int, bad: set[int], gap: int, every: int, lag: float,
) -> None:  # fmt: skip
    messages = recording(rate, jitter, first_command, bad, gap)
    bag = write_bag(tmp_path_factory.mktemp("same") / "bag", messages)
    streams = predictor.config.streams.model_copy(update={"actions": (SOURCE,), "action_lag_s": lag})
    try:
        episodes = read_episodes(bag, streams)
    except InputError:
        episodes = []
    stamps = {stamp for _, kind, stamp, message in messages if kind == IMAGE and len(message.data) > CUT}
    recorded = [
        [
            (int(s), f.tobytes(), tuple(a.tolist()))
            for s, f, a in zip(e.stamps, e.frames, e.actions, strict=True)
        ]
        for e in episodes
    ]
    # A frame that bridges a missed step is no image of its own, also where its time is that of a damaged one.
    own = [[step for step in episode if step[0] in stamps] for episode in recorded]
    live(predictor, messages, every, streams.action_lag_ns)
    taken = [step[1:] for step in predictor.taken]
    everything = [step for episode in own for step in episode]
    if every == 1:
        assert taken == everything
        numbers = np.array([step for step, *_ in predictor.taken])
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 2) + 1)
        assert [len(run) for run in runs if len(run)] == [len(episode) for episode in own]
    else:  # overloaded: waiting frames give way to newer ones, and none is taken that the bag does not have
        assert set(taken) <= set(everything)
        assert not everything or taken
