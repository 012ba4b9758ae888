# SPDX-License-Identifier: Apache-2.0
"""The ladder: what gives way, by how much, and when it comes back; a clock that only the test moves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dd_ros.diffusion.schedule import preset, teacher
from dd_ros.live.ladder import HOLD, KINDS, REMEMBERED, Rung, Speed, StreamLadder, Wanted, at_most, rungs

STEP = 100.0  # ms
PUSHT = rungs(preset("4-2-1", 2, 16), 16)


def shape(rung: Rung) -> tuple[str, int]:
    return rung.steps, rung.frames


def test_rungs_are_fewer_steps_then_fewer_chunks_down_to_half() -> None:
    assert [shape(rung) for rung in PUSHT] == [
        ("4-2-1-1-1-1-1-1", 16), ("2-2-1-1-1-1-1-1", 16), ("1-1-1-1-1-1-1-1", 16), ("1-1-1-1-1-1-1", 14), ("1-1-1-1-1-1", 12),
        ("1-1-1-1-1", 10), ("1-1-1-1", 8),
    ]  # fmt: skip
    assert [shape(rung) for rung in rungs(preset("1", 4, 12), 12)] == [("1-1-1", 12), ("1-1", 8)]
    assert [shape(rung) for rung in rungs(teacher(8, steps=5), 8)] == [("5", 8), ("2", 8), ("1", 8)]


def test_recorded_work_keeps_its_schedule() -> None:
    assert {rung.schedule for rung in rungs(preset("4-2", 2, 8), 8, fixed=True)} == {preset("4-2", 2, 8)}


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_cut_schedules_are_those_that_weights_are_distilled_for(steps: int) -> None:
    wanted = "-".join(str(min(steps, count)) for count in (4, 3, 2, 1))
    assert at_most(preset("4-3-2-1", 2, 8), steps) == preset(wanted, 2, 8)


def test_work_is_counted_in_passes_and_decoding() -> None:
    plain, clean = (Rung(preset(name, 2, 8), 4) for name in ("4-2", "4-2_clean_context"))
    assert [plain.units(chunk) for chunk in range(3)] == [5, 3, 3]
    assert [clean.units(chunk) for chunk in range(3)] == [5, 4, 4]
    assert plain.units(0, decoded=0.0) == 4
    assert Rung(teacher(8, steps=5, guidance=1.0), 1).units(0) == 11


def test_requests_that_were_slow_once_are_tried_again() -> None:
    now = [0.0]
    speed = Speed(lambda: now[0])
    for _ in range(REMEMBERED):
        speed.ran("request", 900.0, rows=4)
        speed.ran("rest", 10.0)
    assert speed.of("request", rows=4) == 900.0
    now[0] = 60.0  # all that came meanwhile was refused
    assert speed.of("request", rows=4) == 40.0
    speed.ran("request", 60.0, rows=4)
    assert speed.of("request", rows=4) == 60.0


def test_speed_is_what_was_lately_run_and_of_bounded_size() -> None:
    speed = Speed(lambda: 0.0)
    assert speed.of("request", rows=4) == 0.0
    speed.ran("rest", 30.0, units=3.0)
    assert speed.of("request", rows=4) == 40.0, "of the stream, in proportion"
    speed.ran("request", 60.0, units=3.0, rows=2)
    assert speed.of("request", rows=4) == 40.0, "of the nearest"
    for _ in range(REMEMBERED):
        speed.ran("rest", 5.0)
    assert speed.of("rest") == 5.0, "what is long ago is forgotten"
    speed.ran("rest", 1000.0)
    assert speed.of("rest", careful=True) == 5.0, "one pause of the machine does not count"
    speed.ran("rest", 1000.0)
    assert (speed.of("rest"), speed.of("rest", careful=True)) == (5.0, 1000.0)
    for rows in range(2 * KINDS):
        speed.ran("request", 1.0, rows=rows + 1)
    assert len(speed._runs) == KINDS


class Stream:
    """A stream on a device whose work takes ``unit_ms`` per pass."""

    def __init__(self, unit_ms: float, *, keep: str = "horizon", **wanted: float):
        self.now, self.unit_ms = 0.0, unit_ms
        self.wanted = Wanted(keep, **({"period_ms": STEP} | wanted))  # type: ignore[arg-type]
        self.ladder = StreamLadder(PUSHT, step_ms=STEP, speed=Speed(lambda: self.now), clock=lambda: self.now)

    def image(self, age_ms: float = 0.0, piece_ms: float | None = None) -> tuple[str, int] | None:
        """A prediction from an image of that age, a step after the one before; how it was made."""
        self.now += STEP / 1e3
        rung = self.ladder.choose(age_ms, self.wanted, piece_ms)
        if rung is not None:
            for chunk in range(rung.chunks):
                units = rung.units(chunk)
                self.ladder.speed.ran("rest" if chunk else "first", self.unit_ms * units, units=units)
        return None if rung is None else shape(rung)

    def images(self, seconds: float, **image: float) -> list[tuple[str, int] | None]:
        return [self.image(**image) for _ in range(round(seconds * 1e3 / STEP))]


def test_a_fast_device_predicts_all_of_it() -> None:
    stream = Stream(1.0)
    assert set(stream.images(5.0)) == {shape(PUSHT[0])}
    assert (stream.ladder.state(), stream.ladder.complaint()) == ("16 of 16 frames, 4-2-1-1-1-1-1-1", None)


def test_first_chunks_that_would_be_late_have_fewer_steps() -> None:
    stream = Stream(45.0)  # the first chunk is due after 200 ms: 5 units are not there by then, 3 are
    stream.images(1.0)
    assert stream.image() == shape(PUSHT[1])
    complaint = stream.ladder.complaint() or ""
    assert (
        "expected time for 16 frames, 4-2-1-1-1-1-1-1: this device takes 225 ms to the first chunk"
        in complaint
    )
    assert "predicts 16 of 16 frames, 2-2-1-1-1-1-1-1" in complaint


def test_an_age_limit_shortens_the_horizon() -> None:
    stream = Stream(20.0, deadline_ms=300.0)
    stream.images(1.0)
    assert stream.image() == shape(PUSHT[4]), "six chunks of two units are there after 240 ms"


def test_a_first_chunk_that_is_late_on_every_rung_does_not_shorten_the_horizon() -> None:
    stream = Stream(70.0)
    made = stream.images(2.0, age_ms=60.0)[
        -1
    ]  # chunks of two units are there after 200, 340, ... ms: of 170, 340, ...
    assert made == shape(PUSHT[2]), "with two steps for the first chunk four would be late"


def test_behind_a_late_camera_the_far_chunks_are_all_there_is() -> None:
    """Whether one of them is in time, or none by the careful estimate: a shorter horizon ends before now."""
    for unit_ms, age_ms in ((20.0, 900.0), (20.0, 1100.0)):
        stream = Stream(unit_ms)
        assert stream.images(2.0, age_ms=age_ms)[-1] == shape(PUSHT[2]), age_ms
    brief = Stream(20.0, deadline_ms=50.0)
    assert brief.images(2.0, age_ms=100.0)[-1] == shape(PUSHT[-1]), "all are late, the far ones most"


def test_a_device_too_slow_for_every_chunk_predicts_the_shortest_horizon() -> None:
    stream = Stream(120.0)
    stream.images(1.0)
    assert stream.image() == shape(PUSHT[-1])


def test_images_that_would_be_predicted_late_are_left_out_and_the_next_is_not() -> None:
    stream = Stream(30.0)
    stream.images(1.0)
    made = [stream.image(age_ms=age) for age in (0.0, 90.0, 5.0, 90.0, 95.0, 0.0)]
    assert [found is None for found in made] == [False, True, False, True, False, False]
    assert "images just come" in stream.ladder.state()


def test_images_of_another_clock_are_never_late() -> None:
    stream = Stream(30.0)
    assert None not in stream.images(2.0, age_ms=1e9)
    assert None not in stream.images(2.0, age_ms=-1e9)


def test_all_means_all() -> None:
    stream = Stream(500.0, keep="all")
    assert set(stream.images(5.0, age_ms=99.0, piece_ms=50.0)) == {shape(PUSHT[0])}
    assert stream.ladder.complaint() is None


def test_the_rate_is_kept_by_a_shorter_horizon_and_then_by_every_second_step_on_time() -> None:
    stream = Stream(8.0, keep="rate")
    stream.images(1.0)
    assert stream.image() == shape(PUSHT[4]), "six chunks of two units fit into a step"
    stream.unit_ms = 15.0
    made = stream.images(6.0)[-20:]
    assert [found is None for found in made] in ([False, True] * 10, [True, False] * 10)
    assert "every 2 periods" in stream.ladder.state()


def test_requests_lower_the_rung_while_they_wait_and_no_longer() -> None:
    stream = Stream(5.0)
    assert set(stream.images(2.0)) == {shape(PUSHT[0])}
    stream.images(1.0, piece_ms=10.0)
    lower = stream.image(piece_ms=10.0)
    assert lower == shape(PUSHT[3]), "seven chunks of two units fit into seven tenths of a step"
    assert "requests for rollouts have their share" in (stream.ladder.complaint() or "")
    back = stream.images(2 * HOLD)
    assert back[0] == lower
    assert back[-1] == shape(PUSHT[0])
    assert stream.ladder.share(stream.wanted, 10.0) >= 0.3


def test_the_ladder_is_climbed_when_there_has_been_time_for_a_while_and_never_to_and_fro() -> None:
    stream = Stream(45.0)
    stream.images(2.0)
    stream.unit_ms = 5.0
    made = stream.images(REMEMBERED * STEP / 1e3 + 2 * HOLD)
    first_good = made.index(shape(PUSHT[0]))
    assert first_good * STEP / 1e3 > HOLD
    assert set(made[first_good:]) == {shape(PUSHT[0])}
    changes = 0
    for burst in range(60):  # the device is slow for two seconds out of five
        stream.unit_ms = 45.0 if burst % 5 < 2 else 5.0
        made = stream.images(1.0)
        changes += sum(one != other for one, other in pairwise(made))
    assert changes < 60 / 5
