# SPDX-License-Identifier: Apache-2.0
"""Command lines of the documents do what the documents say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bag_writer import (
    COMPRESSED,
    JOINTS,
    STEP,
    compressed,
    joints,
    make,
    make_frame,
    robot_messages,
    write_bag,
)
from click.testing import CliRunner
from lerobot_writer import Writer
from snippets import NEEDS, ROOT, SHELL, Line, checked, lines, programs, spans
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint
from dd_ros.config import ActionSpec
from dd_ros.streams import ActionSource, StreamSpec

# Lines that take too long to be run once more, or run this very suite: what is typed -> the test that does the same.
TESTED = {
    r"make demo": "test/system/test_demo.py::test_the_simulated_robot_is_predicted",
    r"make test": "test/docs/test_docs_commands.py::test_every_line_is_run_tested_or_marked",
    r"make setup": "test/doctor/test_installed.py::test_this_environment_is_whole",
    r"\.venv/bin/dd_ros doctor": "test/doctor/test_doctor.py::test_a_line_for_each_check_and_the_same_as_json",
    r"python examples/predict_without_ros\.py .*": "test/examples/test_examples.py::test_python_without_ros_on_a_bag",
    r"python examples/own_size/train\.py .*": "test/examples/test_examples.py::test_a_network_of_ones_own_size",
    r"python examples/rollouts_client\.py .*": "test/system/test_example_nodes.py::test_a_planners_client_names_the_best_candidate",
    r"python examples/delay_free_view\.py .*": "test/system/test_example_nodes.py::test_a_node_shows_what_was_predicted_for_now",
    r"dd_ros finetune .*": "test/training/test_finetune.py::test_it_adapts_to_another_robot",
    r"dd_ros readout .*": "test/training/test_readout.py::test_it_reads_true_frames_of_held_back_bags",
    r"dd_ros demo --delay .*": "test/system/test_demo.py::test_a_late_camera_is_made_up_for",
    r"dd_ros demo .* --bag SET": "test/system/test_demo.py::test_a_bag_is_played_in_its_place",
}
# What the examples name beside what stands for it here.
STAND_INS = {"action[0:26]": "action[0:3]"}
CAMERA, COMMANDS = "/camera/image_raw", 3
LINES = list(lines())
RUN = [line for line in LINES if not line.needs and line.argv[0] not in SHELL]


def covering(line: Line) -> str | None:
    return next((test for pattern, test in TESTED.items() if re.fullmatch(pattern, line.text)), None)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings and checkpoints that the examples name, all of them small."""
    folder = tmp_path_factory.mktemp("workspace")
    for number in (1, 4):
        write_bag(folder / f"logs/episode_{number:06d}", log_messages())
    Writer(folder / "SET", lengths=(40,) * 6).write()
    arm = ActionSource(topic="action", dim=COMMANDS, type="lerobot")
    save(folder / "my_arm", "observation.images.top", arm, rate=15.0)
    save(
        folder / "g1_pick",
        CAMERA,
        ActionSource(topic="/arm/command", type=JOINTS, fields=("position[0:3]",), dim=3),
    )
    for name in ("pusht", "out/mine"):
        save(
            folder / name,
            CAMERA,
            ActionSource(topic="/pusher/command", type=JOINTS, fields=("position[0:2]",), dim=2),
        )
    return folder


def save(folder: Path, camera: str, action: ActionSource, rate: float = 10.0) -> None:
    """A checkpoint with random weights for these streams."""
    dim = action.dim or 0
    config = tiny_config(
        name=folder.name,
        streams=StreamSpec(image_topic=camera, actions=(action,), rate_hz=rate, width=48, height=32),
        action=ActionSpec(dim=dim, mean=(0.0,) * dim, std=(1.0,) * dim),
    )
    save_checkpoint(folder, config, random_model(config), card=f"# {folder.name}\n")


def log_messages() -> list:
    """A robot's recording: raw and compressed images, speeds of a base, positions of an arm."""
    twist, vector = "geometry_msgs/msg/Twist", "geometry_msgs/msg/Vector3"
    found = [message for message in robot_messages(24) if message[0] == CAMERA]
    start = found[0][2]
    for number in range(24):
        stamp = start + number * STEP
        speeds = make(
            twist,
            linear=make(vector, x=0.1 * number, y=0.0, z=0.0),
            angular=make(vector, x=0.0, y=0.0, z=0.2),
        )
        arm = joints(stamp - 1000, (0.1 * number, 0.0, 1.0))
        arm.name.append("z")
        found += [("/cmd_vel", twist, stamp - 1000, speeds), ("/arm/command", JOINTS, stamp - 1000, arm)]
        found.append((f"{CAMERA}/compressed", COMPRESSED, stamp, compressed(stamp, make_frame(number))))
    return sorted(found, key=lambda message: message[2])


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.place} {line.text[:50]}")
def test_every_line_is_run_tested_or_marked(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # outputs are looked at, whether they could be written
    assert not line.needs or set(line.needs.split(", ")) <= NEEDS, f"expected one of {NEEDS}"
    if line.argv[0] in SHELL:
        return
    known = checked(line.argv, whole=True)
    assert known or line.needs, "a command that is not ours: mark its block with <!-- needs: robot -->"


def test_what_is_said_to_test_a_line_exists() -> None:
    for test in TESTED.values():
        file, _, name = test.partition("::")
        names = {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert name in names, test
    for pattern in TESTED:
        assert any(re.fullmatch(pattern, line.text) for line in RUN), f"no document has {pattern}"


@pytest.mark.parametrize("line", list(spans()), ids=lambda line: f"{line.place} {line.text[:50]}")
def test_commands_in_text_have_the_options_that_they_are_said_to_have(line: Line) -> None:
    assert checked(line.argv, whole=False)


@pytest.mark.parametrize(
    "line", [line for line in RUN if not covering(line)], ids=lambda line: f"{line.place} {line.text[:50]}"
)
def test_lines_run(line: Line, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the documents, for some need what others made."""
    monkeypatch.chdir(workspace)
    argv = [STAND_INS.get(word, word) for word in line.argv]
    if argv[0] == "python" and argv[1] != "-m":
        done = subprocess.run(
            [sys.executable, ROOT / argv[1], *argv[2:]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return
    name, arguments = (" ".join(argv[:3]), argv[3:]) if argv[0] == "python" else (argv[0], argv[1:])
    done = CliRunner().invoke(programs()[name], arguments)
    assert done.exit_code == 0, done.output
