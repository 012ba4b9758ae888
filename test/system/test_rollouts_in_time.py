# SPDX-License-Identifier: Apache-2.0
"""Requests and the live stream where time is short, over real topics. Slow by its schedule: hundreds of denoising steps."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from harness import STEP_NS, Robot, predictor_command, robot_with_predictor
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint
from dd_ros.config import Schedule
from dd_ros.data.plans import to_ns
from dd_ros.ros.messages import to_time

STEPS = 256  # of each chunk
HALVES = {"-".join([str(STEPS >> k)] * chunks) for k in range(9) for chunks in (2, 3, 4)}
SOON = 5.0  # s; a hundredth of what eight candidates take


@pytest.fixture(scope="module")
def slow_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with a schedule that takes a second or more per prediction."""
    levels = tuple(round(1.0 - k / STEPS, 6) for k in range(STEPS))
    config = tiny_config(schedule=Schedule(chunk_frames=2, levels=(levels,)))
    folder = tmp_path_factory.mktemp("slow") / "slow"
    save_checkpoint(folder, config, random_model(config), card="# slow\nRandom weights for tests.\n")
    return folder


@pytest.fixture(scope="module")
def slow(slow_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    log = tmp_path_factory.mktemp("slow_node") / "predictor.log"
    with robot_with_predictor(log, *predictor_command(slow_checkpoint, keep="horizon")) as robot:
        yield robot


def within(seconds: float) -> dict[str, object]:
    """The field of a request to be answered by then."""
    return {"deadline": to_time(time.time_ns() + round(1e9 * seconds))}


def test_bad_requests_are_refused_with_what_is_wrong(slow: Robot) -> None:
    assert "expected an observed image with its action first" in slow.call_rollouts().message
    slow.until(lambda: slow.predictions, "a prediction", slow.step)
    assert "expected 1 to 256 action sequences, got 0" in slow.call_rollouts([]).message
    assert "got 10000" in slow.call_rollouts([(0.0, 0.0)] * 10_000).message
    assert "expected 2 action values, got 3" in slow.call_rollouts([(0.0, 0.0, 0.0)]).message
    assert "got NaN or infinity" in slow.call_rollouts([(0.0, float("nan"))]).message
    past = slow.call_rollouts(**within(-3.0))
    assert not past.success
    assert "deadline: expected a time to come, got one that passed 3." in past.message
    short = slow.call_rollouts(**within(0.003)).message
    assert "ms or more from now" in short or "that passed 0." in short or "at least one candidate" in short


def test_a_slow_device_predicts_on_time_and_says_how(slow: Robot) -> None:
    slow.says("prediction", "1 expected time for 8 frames", "predicts", doing=slow.step)
    rung = slow.until(lambda: slow.value("prediction", "rung"), "the rung", slow.step)
    frames, _, steps = rung.split(",")[0].partition(" of 8 frames")[0], None, rung.split(", ")[1]
    assert int(frames) in (4, 6, 8)
    assert steps in HALVES
    slow.predictions.clear()
    slow.until(lambda: any(not all(chunk.late) for chunk in slow.predictions), "a chunk in time", slow.step)
    assert slow.predictions[-1].chunks in (2, 3, 4)


def test_a_deadline_is_kept_by_doing_less(slow: Robot) -> None:
    slow.until(lambda: slow.predictions, "a prediction", slow.step)
    rows = np.random.default_rng(1).normal(size=(8, 2)).tolist()
    answer = slow.call_rollouts(rows, return_frames=True, **within(SOON))
    assert answer.success, answer.message
    assert answer.reduced
    frames = len(answer.target_stamps)
    assert (answer.schedule, frames) != ("-".join([str(STEPS)] * 4), 8) or answer.candidates < 8
    assert answer.schedule in HALVES
    assert 1 <= answer.candidates <= 8
    assert len(answer.futures) == answer.candidates
    assert len(answer.uncertainty) == answer.candidates * frames
    assert np.isfinite(answer.uncertainty).all()
    start = to_ns(answer.header.stamp)
    assert answer.header.frame_id == "camera_optical"
    assert [to_ns(stamp) - start for stamp in answer.target_stamps] == [
        STEP_NS * k for k in range(1, frames + 1)
    ]


def test_without_a_deadline_all_is_done_and_waiting_requests_are_shown(slow: Robot) -> None:
    slow.until(lambda: slow.predictions, "a prediction", slow.step)
    client = slow.node.create_client(PredictRollouts, "/predictor/predict_rollouts")
    slow.until(client.service_is_ready, "the service")
    sequence = ActionSequence(count=1, dim=2, data=array("f", [0.3, -0.3]))
    futures = [
        client.call_async(PredictRollouts.Request(candidates=[sequence] * count)) for count in (48, 1, 1)
    ]
    slow.until(
        lambda: int(slow.value("prediction", "requests waiting") or 0) > 0, "waiting requests", slow.step
    )
    slow.until(lambda: futures[1].done() and futures[2].done(), "the small ones", slow.step)
    assert not futures[0].done(), "they are not stuck behind the big one"
    assert [future.result().candidates for future in futures[1:]] == [1, 1]
    assert not futures[1].result().reduced
    assert futures[1].result().schedule == "-".join([str(STEPS)] * 4)
    slow.node.destroy_client(client)


def test_nothing_gives_way_where_all_is_kept(slow: Robot) -> None:
    refused = slow.set_parameter("keep", "frames")
    assert not refused.successful
    assert "expected horizon or rate or all, got 'frames'" in refused.reason
    assert slow.set_parameter("keep", "all").successful
    whole = f"8 of 8 frames, {'-'.join([str(STEPS)] * 4)}"
    slow.until(lambda: slow.value("prediction", "rung") == whole, "whole predictions", slow.step)
    slow.predictions.clear()
    slow.until(lambda: len(slow.predictions) >= 8, "predictions", slow.step)
    assert slow.predictions[-1].chunks == 4
    assert slow.set_parameter("keep", "rate").successful
    slow.until(lambda: slow.value("prediction", "rung") != whole, "the ladder again", slow.step)


def test_another_schedule_has_another_ladder(slow: Robot) -> None:
    assert slow.set_parameter("schedule", "1").successful
    quick = {f"{2 * chunks} of 8 frames, {'-'.join('1' * chunks)}" for chunks in (2, 3, 4)}
    slow.until(
        lambda: slow.value("prediction", "rung").partition(", every")[0].partition(", from")[0] in quick,
        "single steps", slow.step,
    )  # fmt: skip
    assert slow.set_parameter("keep", "all").successful
    slow.until(lambda: slow.value("prediction", "rung") == "8 of 8 frames, 1-1-1-1", "whole ones", slow.step)
    slow.until(lambda: "expected time for" not in slow.shown()["prediction"], "no complaint", slow.step)
