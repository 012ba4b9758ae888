# SPDX-License-Identifier: Apache-2.0
"""A bag played live yields the very frames and actions that reading it offline yields."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from bag_writer import IMAGE, JOINTS, START, header, image, joints, make, make_frame, write_bag
from harness import PATIENCE
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from tiny import tiny_config

from dd_ros.data.bags import read_episodes
from dd_ros.data.rosbag import records
from dd_ros.live.intake import ActionIntake, ImageIntake
from dd_ros.live.mailbox import Mailbox
from dd_ros.live.worker import Worker
from dd_ros.predictor import Predictor
from dd_ros.processes import free_domain
from dd_ros.report import Report
from dd_ros.ros.node import PredictorNode
from dd_ros.ros.topics import message_class

MS = 1_000_000
SPEC = tiny_config().streams


def damaged(stamp: int) -> Any:
    """An image whose bytes are too few."""
    return make(
        IMAGE, header=header(stamp), height=32, width=48, encoding="rgb8", is_bigendian=0, step=144,
        data=np.zeros(7, np.uint8),
    )  # fmt: skip


def unruly_robot() -> list[tuple[str, str, int, Any]]:
    """A camera at 30 Hz with jitter, damaged images and a pause; commands at 50 Hz, odd ones among
    them; then the simulation is reset and all begins again with other commands. The bag knows
    when things arrived, the headers when they happened."""
    random = np.random.default_rng(1)
    found = []
    for take in range(2):
        arrives = START + take * 10_000 * MS
        for k in range(90):
            stamp = START + k * 33 * MS + int(random.integers(0, 9)) * MS + (900 * MS if k >= 50 else 0)
            if k == 30:
                stamp -= 60 * MS  # late, hence ignored
            message = damaged(stamp) if k in (12, 15, 66) else image(stamp, make_frame(k + 100 * take))
            found.append((SPEC.image_topic, IMAGE, stamp - START + arrives + 5 * MS, message))
        for k in range(5, 190):
            stamp = START + k * 20 * MS
            values = [np.nan, 0.0] if k == 40 else [0.01 * k + take] if k == 80 else [0.01 * k + take, -k]
            found.append((SPEC.action_topics[0], JOINTS, stamp - START + arrives + MS, joints(stamp, values)))
    return sorted(found, key=lambda message: message[2])


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=free_domain())
    yield context
    rclpy.shutdown(context=context)


def test_live_and_bag_agree(
    tiny_checkpoint: Path, tmp_path: Path, context: rclpy.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag", unruly_robot())
    offline = []
    for episode in read_episodes(bag, SPEC):
        held = [False, *(np.diff(episode.frames.reshape(len(episode), -1).astype(int), axis=0) == 0).all(1)]
        offline += [
            (int(s), f, a)
            for s, f, a, h in zip(episode.stamps, episode.frames, episode.actions, held, strict=True)
            if not h
        ]
    live = play(bag, tiny_checkpoint, context, monkeypatch)
    assert [stamp for stamp, _, _ in live] == [stamp for stamp, _, _ in offline]
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(live, offline, strict=True))
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(live, offline, strict=True))
    assert len(live) > 40
    assert {int(action[0] >= 1.0) for _, _, action in live} == {0, 1}  # both takes


def play(
    bag: Path, checkpoint: Path, context: rclpy.Context, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """What the real node observes: (stamp, frame, action); each message is sent when the last is digested."""
    arrived, put, taken = count_calls(monkeypatch)
    seen: list[tuple[int, np.ndarray, np.ndarray]] = []
    observe = Predictor.observe_step

    def noting(self: Predictor, pixels: np.ndarray, stamp: int, action: Any, *, step: int) -> None:
        observe(self, pixels, stamp, action, step=step)
        assert self.observed is not None
        seen.append((stamp, self.observed.copy(), np.asarray(action, np.float32)))

    parameters = {"checkpoint": str(checkpoint), "device": "cpu", "action_wait": 0.0}
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = PredictorNode(context=context, parameter_overrides=overrides)
    robot = rclpy.create_node("robot", context=context)
    outputs = {
        SPEC.image_topic: robot.create_publisher(message_class(IMAGE), SPEC.image_topic, 10),
        SPEC.action_topics[0]: robot.create_publisher(message_class(JOINTS), SPEC.action_topics[0], 10),
    }
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin(until: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < end, "the node did not take the message"
            executor.spin_once(timeout_sec=0.01)

    try:
        node.start()
        monkeypatch.setattr(Predictor, "observe_step", noting)
        spin(lambda: all(publisher.get_subscription_count() for publisher in outputs.values()))
        for number, record in enumerate(records(bag, None, Report()), start=1):
            message = deserialize_message(bytes(record.raw), message_class(record.msgtype))
            outputs[record.topic].publish(message)
            spin(lambda number=number: len(arrived) == number and len(taken) == len(put))
    finally:
        node.stop()
        executor.shutdown()
        node.destroy_node()
        robot.destroy_node()
    return seen


def count_calls(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[int], list[int]]:
    """Lists that grow with each message handled, frame handed to the worker, and frame done."""

    def count(owner: type, name: str, calls: list[int]) -> list[int]:
        original = getattr(owner, name)

        def counting(*arguments: Any) -> Any:
            result = original(*arguments)
            calls.append(1)
            return result

        monkeypatch.setattr(owner, name, counting)
        return calls

    arrived: list[int] = []
    count(ImageIntake, "take", arrived)
    count(ActionIntake, "take", arrived)
    return arrived, count(Mailbox, "put", []), count(Worker, "_observe", [])
