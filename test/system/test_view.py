# SPDX-License-Identifier: Apache-2.0
"""The viewer beside a running predictor: what it records is what went over the topics, at the time it is for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from harness import (
    LAUNCH,
    PATIENCE,
    ROOT,
    STEP_NS,
    STOP_TIME,
    environment,
    needs_launch,
    pixels,
    predictor_command,
    robot_with_predictor,
    running,
)
from numpy.typing import NDArray
from rrd import Row, read

from dd_ros.data.images import decode_bytes
from dd_ros.data.plans import to_ns
from dd_ros.evaluation.metrics import psnr
from dd_ros.processes import free_domain
from dd_ros.ros.messages import video_frames
from dd_ros.view.log import jpeg

pytestmark = pytest.mark.skipif(find_spec("rerun") is None, reason="needs rerun-sdk (extra view)")
LEADS = {"lead_0.2s": 2, "lead_0.5s": 5}
STEPS = 30


class Looked(NamedTuple):
    """What a viewer recorded, and what it can have seen.

    Attributes:
        entities: of the recording.
        frames: predicted frames by (stamp of the observed image, model steps ahead).
        stamps: of the camera's images.
    """

    entities: dict[str, list[Row]]
    frames: dict[tuple[int, int], NDArray[np.uint8]]
    stamps: set[int]


@pytest.fixture(scope="module")
def looked(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    """A viewer that was told nothing but the predictor's name, and looked on for STEPS of its predictions."""
    folder = tmp_path_factory.mktemp("view")
    save = folder / "x.rrd"
    viewer = [
        sys.executable,
        "-m",
        "dd_ros.ros.viewer",
        "--ros-args",
        "-p",
        f"save:={save}",
        "-p",
        "leads:='0.2 0.5'",
    ]
    stamps: set[int] = set()
    with (
        robot_with_predictor(folder / "predictor.log", *predictor_command(tiny_checkpoint)) as robot,
        running(viewer, folder / "viewer.log", environment(robot.domain)) as process,
    ):

        def step() -> None:
            stamps.add(robot.step())

        def is_looked_at() -> bool:
            assert process.status is None, process.log.read_text()
            return robot.node.count_subscribers("/camera/image_raw") >= 2

        robot.until(is_looked_at, "a viewer of the camera", step)
        known = len(robot.predictions)
        robot.until(lambda: len(robot.predictions) >= known + 4 * STEPS, "predictions", step)
        process.send(signal.SIGINT)
        assert process.wait(STOP_TIME) == 0, process.log.read_text()
        assert "Traceback" not in process.log.read_text()
    frames = {
        (to_ns(msg.header.stamp), msg.first_step + index): frame
        for msg in robot.predictions
        for index, frame in enumerate(video_frames(msg))
    }
    return Looked(read(save), frames, stamps)


def same(row: Row, image: NDArray[np.uint8]) -> bool:
    """Whether an image lies there, as jpeg has left it."""
    return np.array_equal(row.value, decode_bytes(jpeg(image)))


def test_the_camera_lies_at_its_stamps(looked: Looked) -> None:
    rows = [row for row in looked.entities["camera"] if row.value.shape == (32, 48, 3)]
    assert len(rows) >= STEPS / 2, "best effort, but not on a quiet machine"
    for row in rows:
        assert row.target_ns == row.capture_ns
        assert row.target_ns in looked.stamps
        assert same(row, pixels(row.target_ns))


def test_predicted_frames_lie_at_the_time_they_are_for(looked: Looked) -> None:
    assert {name for name in looked.entities if name.startswith("predicted/")} == {
        f"predicted/{name}" for name in LEADS
    }
    for name, lead in LEADS.items():
        rows = looked.entities[f"predicted/{name}"]
        assert len(rows) >= STEPS / 2
        for row in rows:
            assert row.target_ns == row.capture_ns + lead * STEP_NS
            assert same(row, looked.frames[row.capture_ns, lead])


def test_errors_are_known_once_the_true_frame_is_there(looked: Looked) -> None:
    for name, lead in LEADS.items():
        rows = looked.entities.get(f"psnr/{name}/predicted", [])
        for row in rows:
            near = min(
                looked.stamps, key=lambda stamp: abs(stamp - row.target_ns)
            )  # the camera's clock drifts a bit
            assert abs(near - row.target_ns) <= STEP_NS / 4
            wanted = psnr(pixels(near), looked.frames[row.capture_ns, lead])
            assert row.value[0] == pytest.approx(float(wanted))
        assert [row[:2] for row in looked.entities.get(f"error/{name}", [])] == [row[:2] for row in rows]
    assert "psnr/lead_0.2s/predicted" in looked.entities


def test_commands_plan_age_and_what_the_node_says(looked: Looked) -> None:
    for row in (*looked.entities["commands/action"], *looked.entities["plan/lead_0.5s"]):
        assert row.value.tolist() == [0.5, -0.5]  # what the robot does, and what is held without a plan
    assert all(row.target_ns in looked.stamps for row in looked.entities["commands/action"])
    ages = [row.value[0] for row in looked.entities["age_ms/first_chunk"]]
    assert len(ages) >= STEPS / 2
    assert min(ages) > 0.0
    assert all(0.0 < row.value[0] <= 10.0 for row in looked.entities["uncertainty/lead_0.2s"])
    said = {
        row.value
        for name in ("image", "action", "prediction")
        for row in looked.entities[f"diagnostics/{name}"]
    }
    # What else they say is up to how busy the machine is.
    assert {text.partition(": ")[0] for text in said} == {"image", "action", "prediction"}
    assert "action: ok" in said
    assert {row.value[0] for row in looked.entities["missed/lost_images"]} == {0.0}


def test_a_viewer_that_cannot_write_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dd_ros.ros.viewer", "--ros-args", "-p", f"save:={tmp_path}/x.mp4"]
    with running(command, tmp_path / "viewer.log", environment(free_domain())) as process:
        assert process.wait(PATIENCE) == 2
    assert process.log.read_text().splitlines() == [
        f"viewer: {tmp_path}/x.mp4: expected a name ending in .rrd"
    ]


def test_the_demo_is_looked_at_and_written_to_a_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    save = tmp_path / "x.rrd"
    command = [
        sys.executable,
        "-c",
        "from dd_ros.cli import main; main()",
        "demo",
        "--seconds",
        "5",
        "--save",
        str(save),
    ]
    command += ["--out", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert f"view: writing {save}" in result.stdout
    found = read(save)
    assert {"camera", "predicted/lead_0.2s", "commands/action", "diagnostics/image"} <= found.keys()
    assert found["commands/action"][0].value.shape == (2,)


@needs_launch
@pytest.mark.skipif(shutil.which("rviz2") is not None, reason="rviz2 is installed here")
def test_launch_goes_on_where_the_viewer_is_not_installed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    log = tmp_path / "launch.log"
    command = [sys.executable, "-c", LAUNCH, str(ROOT / "launch" / "predict.launch.py"), "view:=rviz"]
    command += [f"checkpoint:={tiny_checkpoint}", "device:=cpu"]
    with running(command, log, environment(free_domain())) as process:
        while "tiny on cpu" not in log.read_text():
            assert process.status is None, log.read_text()
            time.sleep(0.2)
        process.send(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert "view:=rviz: rviz2 is not installed; apt install" in log.read_text()
    assert "Traceback" not in log.read_text()
