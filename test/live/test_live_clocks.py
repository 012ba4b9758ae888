# SPDX-License-Identifier: Apache-2.0
"""Stamps of another clock than the node's are named while it runs, by the thresholds of bags, with the cure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dd_ros.data.clocks import BLOCKS
from dd_ros.live.clocks import CURE, KINDS, RECENT, Clocks
from dd_ros.live.problems import Level, Problems

START, STEP = 1_700_000_000 * 10**9, 100_000_000
Offsets = Callable[[int], float]  # message number -> s that its stamp is ahead of arrival


class Side:
    """A camera and commands at 10 Hz, and what is said of their stamps."""

    def __init__(self, *, simulated: bool = False) -> None:
        self.now, self._simulated, self._messages = START, simulated, 0
        self.said: list[tuple[Level, str]] = []
        self.problems = Problems(lambda level, text: self.said.append((level, text)))
        self.clocks = Clocks(self, self.problems)
        self._jitter = np.random.default_rng(0)

    def now_ns(self) -> int:
        return self.now

    def simulated(self) -> bool:
        return self._simulated

    def run(self, messages: int, **inputs: Offsets) -> None:
        for _ in range(messages):
            self.now, self._messages = self.now + STEP, self._messages + 1
            for name, ahead in inputs.items():
                late = abs(self._jitter.normal(0.0, 0.005))
                self.clocks.same(name, self.now + round(1e9 * (ahead(self._messages) - late)))

    def named(self) -> list[str]:
        """The problems there are: input and kind."""
        return [
            f"{name} {kind}"
            for name in ("image", "action")
            for kind in KINDS
            if self.is_open(f"{name} {kind}")
        ]

    def is_open(self, name: str) -> bool:
        problem = self.problems._problems.get(name)
        return problem is not None and problem.open


def always(seconds: float) -> Offsets:
    return lambda k: seconds


def test_stamps_of_one_clock_are_nothing_to_speak_of() -> None:
    side = Side()
    slow_for_a_while: Offsets = lambda k: -0.3 if 300 < k < 500 else -0.03  # noqa: E731
    side.run(2000, image=slow_for_a_while, action=always(0.0))
    assert side.said == []


@pytest.mark.parametrize(
    ("image", "action", "named", "words"),
    [
        (always(0.05), always(-0.01), "image ahead", "got stamps 0.04"),
        (always(-0.01), always(0.03), "action ahead", "got stamps 0.02"),
        (lambda k: -0.01 - 2e-4 * k, always(-0.01), "image drift", "drift by -0."),
        (lambda k: -0.5 - 7e-5 * k, lambda k: -0.5 + 7e-5 * k, "action offset", "changed by +0.1"),
        (always(-0.01), always(-2.5), "action offset", "got commands 2.490 s behind images"),
    ],
)
def test_stamps_of_another_clock_are_named_with_the_cure(
    image: Offsets, action: Offsets, named: str, words: str
) -> None:
    side = Side()
    side.run(1000, image=image, action=action)
    assert named in side.named()
    texts = [text for level, text in side.said if text.startswith(f"{named}: ")]
    assert len(texts) == 1, "one line for each kind"
    assert words in texts[0]
    assert texts[0].endswith(CURE)
    assert {level for level, _ in side.said} == {Level.WARN}


def test_it_is_over_once_the_clocks_are_set_or_no_stamps_come() -> None:
    side = Side()
    side.run(RECENT, image=always(0.05))
    assert side.named() == ["image ahead"]
    side.run(RECENT, image=always(-0.01))
    assert side.named() == []
    side.run(RECENT, image=always(0.05))
    side.clocks.without_stamp("image")
    assert side.named() == []
    assert side.said[-1] == (Level.OK, "image ahead: good again")


def test_simulated_time_comes_in_steps() -> None:
    side = Side(simulated=True)
    side.run(200, image=always(0.05), action=always(0.0))
    assert side.said == []


def test_commands_that_begin_later_may_be_ahead() -> None:
    side = Side()
    for _ in range(100):
        assert side.clocks.same("action", side.now + 10**9, arrives=False)
    assert side.said == []


def test_what_is_kept_is_bounded_and_reaches_back_to_the_start() -> None:
    side = Side()
    side.run(20_000, image=lambda k: -0.01 - 1e-5 * k)
    arrivals = side.clocks._arrivals["image"]
    assert len(arrivals.medians) < 2 * BLOCKS
    assert len(arrivals.recent) == RECENT
    assert arrivals.medians[0][0] < START + 2 * RECENT * STEP
    assert side.named() == ["image drift"]
