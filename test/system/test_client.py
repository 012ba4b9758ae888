# SPDX-License-Identifier: Apache-2.0
"""``PredictionClient`` against a real node: whole horizons, rollouts with costs, refusals; and the example around it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from harness import PATIENCE, ROOT, STEP_NS, Robot, environment

from dd_ros.errors import InputError
from dd_ros.ros import PredictionClient

pytest_plugins = ["node_fixtures"]
HORIZON = 8
RNG = np.random.default_rng(0)


@pytest.fixture
def client(robot: Robot) -> Iterator[PredictionClient]:
    """Of the running predictor, which sees good data meanwhile."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.1):
            robot.step()

    feeding = threading.Thread(target=work)
    feeding.start()
    try:
        with PredictionClient(robot.name, node=robot.node) as client:
            yield client
    finally:
        stopping.set()
        feeding.join()


def test_whole_horizons_come_as_arrays(client: PredictionClient) -> None:
    first = client.wait(PATIENCE)
    later = client.wait(PATIENCE, after_ns=first.stamp_ns)
    assert later.stamp_ns > first.stamp_ns
    for found in (first, later):
        steps = np.arange(1, HORIZON + 1)
        assert np.array_equal(found.target_ns, found.stamp_ns + steps * STEP_NS)
        assert found.frames.shape == (HORIZON, 32, 48, 3)
        assert found.late.shape == found.uncertainty.shape == (HORIZON,)
        assert found.actions.shape == (HORIZON, 2)
        assert found.checkpoint == "tiny"
    assert client.latest is not None


def test_horizons_of_a_node_that_leaves_out_late_chunks(robot: Robot) -> None:
    """Images come 0.25 s late: the times of the first chunk, two frames of 0.1 s, are always over."""
    robot.offset = -250_000_000
    assert robot.set_parameter("drop_late", True).successful

    def step() -> None:
        if time.time_ns() + robot.offset >= robot.stamp + STEP_NS:
            robot.step()

    try:
        with PredictionClient(robot.name, node=robot.node) as client:
            robot.until(lambda: client.latest is not None, "a horizon", step)
            found = client.latest
    finally:
        robot.offset = 0
        robot.set_parameter("drop_late", False)
    assert found is not None
    assert found.target_ns[0] == found.stamp_ns + 3 * STEP_NS, "from the third step on"
    assert found.target_ns[-1] == found.stamp_ns + HORIZON * STEP_NS
    assert len(found.frames) == len(found.actions) == len(found.target_ns) == HORIZON - 2
    assert not found.late.all()


def test_rollouts_with_costs_and_frames(client: PredictionClient) -> None:
    client.wait(PATIENCE)
    goal = RNG.integers(0, 256, (32, 48, 3), np.uint8)
    actions = RNG.normal(size=(3, HORIZON, 2))
    answer = client.rollouts(actions, frames=True, goal_image=goal, timeout=PATIENCE)
    assert answer.frames is not None
    assert answer.frames.shape == (3, HORIZON, 32, 48, 3)
    slow = [np.mean((frames[-1] / 255.0 - goal / 255.0) ** 2) for frames in answer.frames]
    assert np.allclose(answer.costs, slow, rtol=1e-4)
    assert answer.uncertainty.shape == (3, HORIZON)
    assert answer.target_ns[0] == answer.stamp_ns + STEP_NS
    assert (answer.reduced, answer.readout_names, answer.readouts.shape) == (False, (), (3, 0, 0))


def test_answers_in_the_future(client: PredictionClient) -> None:
    client.wait(PATIENCE)
    goal = RNG.integers(0, 256, (64, 96, 3), np.uint8)  # larger, of the camera's shape
    futures = [
        client.rollouts_async(RNG.normal(size=(HORIZON, 2)), cost="latents + 0.1*smoothness", goal_image=goal)
        for _ in range(3)
    ]
    for future in futures:
        answer = future.result(PATIENCE)
        assert answer.costs.shape == (1,)
        assert answer.frames is None


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"cost": "nearness"}, "cost: expected pixels, latents"),
        ({"cost": "readouts", "goal_state": [1.0]}, "reads nothing off its frames"),
        ({"goal_state": [1.0]}, "goal state: expected a cost that reads it"),
        ({"cost": "latents"}, "cost latents: expected a goal image"),
        (
            {"goal_image": np.zeros((50, 50, 3), np.uint8)},
            "goal: expected an image of the camera's shape \\(48x32\\), got 50x50",
        ),
        ({"start_ns": 4 * 10**18}, "expected actions from one model step after the last image"),
    ],
)
def test_what_is_wrong_is_said(client: PredictionClient, request_: dict[str, object], said: str) -> None:
    client.wait(PATIENCE)
    with pytest.raises(InputError, match=said):
        client.rollouts(np.zeros((2, HORIZON, 2)), timeout=PATIENCE, **request_)


def test_shapes_are_checked_here(client: PredictionClient) -> None:
    with pytest.raises(InputError, match=r"actions: expected shape \[N, K, A\]"):
        client.rollouts_async(np.zeros(2))
    with pytest.raises(InputError, match="image: expected uint8"):
        client.rollouts_async(np.zeros((8, 2)), goal_image=np.zeros((4, 4, 3)))  # type: ignore[arg-type]


def test_a_node_that_is_not_there(robot: Robot) -> None:
    with PredictionClient("/nobody", node=robot.node) as client:
        with pytest.raises(InputError, match="/nobody/predict_rollouts: expected such a service"):
            client.rollouts(np.zeros((8, 2)), timeout=0.2)
        with pytest.raises(InputError, match="/nobody/prediction: expected a prediction within"):
            client.wait(0.1)


def test_the_example(client: PredictionClient, robot: Robot, tmp_path: Path) -> None:
    client.wait(PATIENCE)
    cv2.imwrite(str(tmp_path / "goal.png"), RNG.integers(0, 256, (32, 48, 3), np.uint8))
    command = [sys.executable, str(ROOT / "examples/cem_client.py"), "--goal", str(tmp_path / "goal.png")]
    found = subprocess.run(
        [*command, "--low", "-1", "--high", "1", "--iterations", "2"],
        capture_output=True, text=True, check=True, env=os.environ | environment(robot.domain),
    )  # fmt: skip
    assert re.search(r"cost [\d.e-]+ after 32 rollouts", found.stdout)
