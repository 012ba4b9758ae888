# SPDX-License-Identifier: Apache-2.0
"""Requests in simulated time: whose turn it is, what a deadline leaves, and what the live stream loses by it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from simulated_device import Device, hertz

from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.live.ladder import Rung, Speed, rungs
from dd_ros.live.requests import MOST_JOBS, Job, Piece, Requests

PUSHT = rungs(preset("2-1-1-1", 2, 16), 16)
G1 = rungs(preset("2-1-1-1", 4, 16), 16)
# Speed of two cores, and of slower machines.
MACHINES = [
    pytest.param(ladder, step, factor * unit, id=f"{name}-{factor}")
    for name, ladder, step, unit in (("pusht", PUSHT, 100.0, 7.0), ("g1_pick", G1, 1e3 / 15, 11.0))
    for factor in (0.25, 1.0, 2.0)
]


def every(seconds: float, action: Callable[[], object]) -> Callable[[float], None]:
    """Calls ``action`` that often, by the time that it is told."""
    due = [0.0]

    def told(now: float) -> None:
        if now >= due[0]:
            due[0] = now + seconds
            action()

    return told


@pytest.mark.parametrize(("ladder", "step", "unit"), MACHINES)
@pytest.mark.parametrize("within", [0.0, 0.5])
def test_the_stream_keeps_its_rate_while_sixteen_candidates_are_asked_for_twice_a_second(
    ladder: tuple[Rung, ...], step: float, unit: float, within: float
) -> None:
    alone = Device(ladder, step_ms=step, unit_ms=unit)
    alone.run(20.0)
    device = Device(ladder, step_ms=step, unit_ms=unit)
    device.run(5.0)
    device.run(25.0, every(0.5, lambda: device.ask(16, within)))
    assert hertz(device, 20.0) >= 0.95 * hertz(alone, 20.0)
    assert device.answered
    if within:
        assert len(device.answered) >= 45
        assert max(seconds for _, _, seconds in device.answered) <= within


def test_requests_have_their_share_even_where_nothing_gives_way() -> None:
    device = Device(PUSHT, step_ms=100.0, unit_ms=7.0, keep="all")
    device.run(5.0)
    device.ask(16)
    device.run(10.0)
    assert [found[:2] for found in device.answered] == [(16, 16)]


def test_requests_have_all_the_time_where_no_image_comes() -> None:
    device = Device(PUSHT, step_ms=1e6, unit_ms=7.0)
    device.run(20.0)
    device.ask(16)
    device.run(3.0)
    ((_, _, seconds),) = device.answered
    work = 4 * 9 * 7.0 * (1 + 4) / 2 / 1e3  # four parts of nine passes over four rollouts
    assert seconds == pytest.approx(work, rel=0.05)


def test_a_small_request_is_not_stuck_behind_a_big_one_and_a_big_one_not_behind_small_ones() -> None:
    device = Device(PUSHT, step_ms=100.0, unit_ms=2.0)
    device.run(2.0)
    device.ask(256)
    device.run(0.2)
    device.ask(1)
    device.run(0.5)
    assert [found[0] for found in device.answered] == [1]
    device.run(60.0, every(0.05, lambda: device.ask(1)))
    assert 256 in [found[0] for found in device.answered]


def test_what_cannot_be_kept_is_refused_when_it_is_asked_for() -> None:
    device = Device(PUSHT, step_ms=100.0, unit_ms=7.0)
    device.run(2.0)
    device.ask(1, within=0.02)
    assert not len(device.requests)
    (why,) = device.refused
    assert "ms or more from now, which one candidate over 8 frames takes here" in why
    assert why.endswith("got 20 ms")
    needed = float(why.split("expected ")[1].split(" ms")[0])
    device.ask(1, within=needed / 1e3 + 0.001)
    device.run(1.0)
    assert [found[0] for found in device.answered] == [1]


def test_deadlines_are_kept_on_a_device_that_wavers() -> None:
    chance = Random(3)
    device = Device(
        PUSHT, step_ms=100.0, unit_ms=5.0, wobble=lambda count: chance.choice((0.8, 1.0, 1.0, 1.0, 2.5))
    )
    device.run(5.0)
    device.run(60.0, every(0.5, lambda: device.ask(16, within=0.4)))
    assert len(device.answered) >= 100
    assert set(device.refused) <= {"nothing was there in time"}
    ages = [age for _, ends in device.predicted[50:] for age in ends[:1]]
    assert sum(age > 200.0 for age in ages) == 0


def job(left_ms: float) -> Job:
    return Job(iter(()), lambda: None, left_ms=left_ms)  # type: ignore[arg-type]


def test_turns_alternate_between_the_oldest_and_the_smallest() -> None:
    requests = Requests(Speed(), (1,))
    jobs = [job(left) for left in (30.0, 10.0, 20.0)]
    for item in jobs:
        requests.add(item)
    turns = []
    for _ in range(4):
        first = requests.first()
        assert first is requests.first(), "until it has done its part"
        turns.append(jobs.index(first))
        requests.pass_on()
    assert turns == [0, 1, 0, 1]
    requests.remove(jobs[0])
    assert requests.first() is jobs[1]


def test_expired_jobs_are_taken_out_whoever_has_its_turn() -> None:
    requests = Requests(Speed(), (1,))
    first, second = job(1.0), job(2.0)
    first.due_ns, second.due_ns = 50, 0
    requests.add(first)
    requests.add(second)
    assert requests.first() is first
    assert requests.take_expired(49) == []
    assert requests.take_expired(50) == [first]
    assert (requests.first(), len(requests)) == (second, 1)


def test_no_more_requests_than_can_wait() -> None:
    requests = Requests(Speed(), (1,))
    for _ in range(MOST_JOBS):
        requests.add(job(1.0))
    with pytest.raises(InputError, match=rf"at most {MOST_JOBS} waiting requests"):
        requests.add(job(1.0))


def test_parts_fit_between_two_predictions() -> None:
    speed = Speed(lambda: 0.0)
    for rows in (1, 2, 4):
        speed.ran("request", 10.0 * rows, rows=rows)
    requests = Requests(speed, (1, 2, 4))
    assert requests.piece_ms(Piece(4, 3.0)) == 120.0
    for gap, rows in ((None, 4), (120.0, 4), (119.0, 2), (60.0, 2), (59.0, 1), (5.0, 1)):
        requests.gap_ms = gap
        assert requests.rows(PUSHT[0], 16) == rows
    requests.gap_ms = None
    assert requests.rows(PUSHT[0], 3) == 3
