# SPDX-License-Identifier: Apache-2.0
"""The ``dd_ros`` command as a user meets it: results, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import imageio.v2 as imageio
import pytest
from bag_writer import COMPRESSED, IMAGE, compressed, joints, make_frame, robot_messages, write_bag
from click.testing import CliRunner
from lerobot_writer import Writer

from dd_ros.cli import main
from dd_ros.console import missing_module


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def dd_ros(*arguments: object) -> Result:
    """Run the command in this process."""
    found = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Result(found.exit_code, found.stdout, found.stderr)


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    command = [sys.executable, "-c", "from dd_ros.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)


def refused(result: Result | subprocess.CompletedProcess[str], *parts: str) -> None:
    """Status 2, and one line on stderr that holds all ``parts``."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("dd_ros: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    for number in (1, 4):
        write_bag(folder / f"episode_{number:06d}", robot_messages(24))
    return folder


@pytest.mark.parametrize(
    "command", ["demo", "predict", "finetune", "evaluate", "bench", "inspect", "models", "view"]
)
def test_help_has_an_example(command: str) -> None:
    result = dd_ros(command, "--help")
    assert result.returncode == 0
    assert f"Example: dd_ros {command}" in " ".join(result.stdout.split())


def test_inspecting_a_bag_needs_no_torch(bags: Path) -> None:
    code = (
        "import sys\nfrom dd_ros.commands.inspecting import inspect\n"
        f"inspect({str(bags)!r})\nassert 'torch' not in sys.modules, 'torch was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "/camera/image_raw" in result.stdout
    assert "image 48x32 rgb8" in result.stdout
    assert "action, 2 values" in result.stdout


def test_inspecting_a_bag_with_several_candidates_asks_for_one(tmp_path: Path) -> None:
    arm = [("/arm", k, r, m) for t, k, r, m in robot_messages(12) if t == "/action"]
    bag = write_bag(tmp_path / "bag", sorted(robot_messages(12) + arm, key=lambda m: m[2]))
    asked = dd_ros("inspect", bag)
    assert asked.returncode == 0
    assert "--action-topic: expected one topic of commands, there are /action, /arm; name one" in asked.stdout
    both = dd_ros("inspect", bag, "--action-topic", "/arm.position[y]", "--action-topic", "/action")
    assert both.returncode == 0, both.stderr
    assert "actions /arm.position[y] (1 values), /action.position (2 values), hold" in both.stdout
    assert "usable: 1 episodes, 1.2 s" in both.stdout


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_inspecting_a_lerobot_data_set(tmp_path: Path, version: str) -> None:
    path = Writer(tmp_path / "[red]set", version=version).write()
    shown = dd_ros("inspect", path).stdout
    assert f"LeRobot {version}: 3 episodes, 120 frames, 30 a second, 4.0 s" in shown
    for text in ("observation.images.top", "image 96x64", "3 values: lift, turn, grip", "[red]set"):
        assert "".join(text.split()) in "".join(shown.split())
    assert "no such file" not in shown
    assert "images observation.images.top as 96x64 at 15 Hz; actions action (3 values), hold" in shown
    chosen = ("--image-topic", "observation.images.top", "--action-topic", "action[1:3]")
    assert "actions action[1:3] (2 values), hold" in dd_ros("inspect", path, *chosen).stdout
    refused(
        dd_ros("inspect", path, "--image-topic", "/camera"),
        "no images /camera; it holds observation.images.top",
    )
    refused(
        dd_ros("inspect", path, "--action-topic", "/cmd"),
        "no numbers /cmd; it holds action, observation.state",
    )
    *_, video = sorted(path.rglob("*.mp4"))
    video.unlink()
    assert f"{video}: no such file\n" in dd_ros("inspect", path).stdout
    (path / "meta/info.json").write_text("{}")
    refused(dd_ros("inspect", path), "info.json: codebase_version: Field required")


def test_predict_writes_a_video(bags: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    video = tmp_path / "out" / "video.mp4"
    result = dd_ros(
        "predict", "--checkpoint", tiny_checkpoint, "--bag", bags / "episode_000001", "--out", video
    )
    assert result.returncode == 0, result.stderr
    assert sum(1 for _ in imageio.get_reader(video)) == 24


def test_evaluate_writes_figures(bags: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    figures = tmp_path / "eval.json"
    result = dd_ros(
        "evaluate", "--checkpoint", tiny_checkpoint, "--bags", bags / "episode_000001", bags / "episode_000004",
        "--json", figures, "--stride", "4", "--split", "validation",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(figures.read_text())
    assert found["episodes"] == 1
    assert found["steps"] == list(range(1, 9))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("predict", ["Missing option '--checkpoint'", "dd_ros predict --help"]),
        ("nonsense", ["No such command 'nonsense'"]),
        ("evaluate --checkpoint CKPT --bags BAGS --json TMP/x.json --stride 0", ["--stride", "0"]),
        ("evaluate --checkpoint CKPT --bags BAGS --json TMP/x.json --split test", ["--split", "'test'"]),
        ("evaluate --checkpoint CKPT --bags BAGS --json TMP", ["expected a file to write, got a folder"]),
        ("evaluate --checkpoint CKPT --bags BAGS --json TMP/a.txt/x.json", ["cannot be written"]),
        ("evaluate --checkpoint nope --bags BAGS --json TMP/x.json", ["'nope'", "config.yaml"]),
        (
            "evaluate --checkpoint CKPT --bags TMP/none --json TMP/x.json",
            ["TMP/none", "no such file or folder"],
        ),
        ("evaluate --checkpoint CKPT --bags TMP --json TMP/x.json", ["TMP: holds no rosbag2 bag"]),
        (
            "evaluate --checkpoint CKPT --bags BAGS --json TMP/x.json --action-topic /nope",
            ["episode_000001: no messages of topic /nope", "/action, /camera/image_raw"],
        ),
        (
            "evaluate --checkpoint CKPT --bags BAGS --json TMP/x.json "
            "--action-topic /camera/image_raw --image-topic /action",
            ["action type sensor_msgs/msg/Image: expected one of"],
        ),
        (
            "evaluate --checkpoint CKPT --bags BAGS --json TMP/x.json --action-topic /action.",
            ["action topic: expected a topic, or one with fields", "'/action.'"],
        ),
        (
            "evaluate --checkpoint CKPT --bags BAGS --json TMP/x.json --action-topic /action.position[1]",
            ["/action.position[1]: expected 2 action values as in checkpoint tiny, got 1"],
        ),
        (
            "evaluate --checkpoint CKPT --bags BAGS --json TMP/x.json --action-topic /action --action-topic /hand",
            ["no messages of topic /hand"],
        ),
        ("predict --checkpoint CKPT --bag BAG --out TMP/x.txt", ["expected a name ending in .mp4"]),
        (
            "predict --checkpoint CKPT --bag BAG",
            ["expected --out VIDEO.mp4 or --save RECORDING.rrd, got neither"],
        ),
        ("view --candidates 4", ["expected --bag with --checkpoint, and --candidates with both"]),
        ("view --bag BAG", ["expected --bag with --checkpoint"]),
        ("view --bag BAG --checkpoint CKPT --lead 0", ["--lead"]),
        ("view --bag BAG --checkpoint CKPT --save TMP", ["TMP: expected a file to write, got a folder"]),
        ("predict --checkpoint CKPT --bag TMP/none --out TMP/x.mp4", ["no such file or folder"]),
        (
            "predict --checkpoint CKPT --bag BAG --out TMP/x.mp4 --image-topic /nope",
            ["no messages of topic /nope", "/camera/image_raw"],
        ),
        (
            "predict --checkpoint CKPT --bag BAG --out TMP/x.mp4 --image-topic /action",
            ["/action: expected two topics"],
        ),
        ("predict --checkpoint CKPT --bag BAG --out TMP/x.mp4 --device tpu", ["'tpu'", "cuda"]),
        ("bench --checkpoint nope --json TMP/x.json", ["'nope'"]),
        ("bench --json TMP/x.json", ["expected either --checkpoint or --size"]),
        ("bench --checkpoint CKPT --size M --json TMP/x.json", ["expected either --checkpoint or --size"]),
        ("demo --seconds 1", ["--seconds", "5"]),
        ("inspect BAGS --action-topic /nope", ["no messages of topic /nope; it holds /action, /camera"]),
        ("inspect TMP/none", ["neither a bag nor a checkpoint"]),
        ("inspect TMP", ["TMP: holds no rosbag2 bag"]),
        (
            "finetune --bags BAGS --image-topic /nope --action-topic /action --init CKPT --out TMP/out",
            ["no messages of topic /nope"],
        ),
        ("finetune --bags BAGS --image-topic /a --action-topic /b --out TMP/out --init nope", ["'nope'"]),
        (
            "finetune --bags BAGS --image-topic /a --action-topic /b --out TMP/o --max-minutes 0",
            ["--max-minutes"],
        ),
        (
            "finetune --bags BAGS --image-topic /a --action-topic /b --out TMP/o --action-lag soon",
            ["--action-lag", "expected seconds or auto, got 'soon'"],
        ),
    ],
)
def test_bad_usage_and_input(
    bags: Path, tiny_checkpoint: Path, tmp_path: Path, arguments: str, parts: list[str]
) -> None:
    (tmp_path / "a.txt").touch()
    places = {"CKPT": tiny_checkpoint, "BAGS": bags, "BAG": bags / "episode_000001", "TMP": tmp_path}

    def fill(text: str) -> str:
        return re.sub(r"\b(CKPT|BAGS|BAG|TMP)\b", lambda match: str(places[match[0]]), text)

    refused(dd_ros(*fill(arguments).split()), *map(fill, parts))


def test_commands_of_another_dimension(tiny_checkpoint: Path, tmp_path: Path) -> None:
    messages = [
        (t, k, r, m if k == IMAGE else joints(r, (1.0, 2.0, 3.0))) for t, k, r, m in robot_messages(24)
    ]
    damaged = write_bag(tmp_path / "bag", messages)
    config = tmp_path / "checkpoint" / "config.yaml"
    shutil.copytree(tiny_checkpoint, config.parent)
    config.write_text(config.read_text().replace("- position[0:2]", "- position[0:3]"))
    out = ("--json", tmp_path / "x.json")
    refused(
        dd_ros("evaluate", "--checkpoint", config.parent, "--bags", damaged, *out),
        "expected 2 action values",
        "3",
    )


def test_damaged_checkpoints(bags: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = ("--bags", bags, "--json", tmp_path / "x.json")
    damages = [
        ("model.safetensors", b"not weights", ["model.safetensors: damaged"]),
        ("config.yaml", b"name: [", ["config.yaml", "YAML"]),
        ("config.yaml", b"name: x\n", ["config.yaml", "required"]),
    ]
    for number, (name, content, parts) in enumerate(damages):
        damaged = tmp_path / str(number)
        shutil.copytree(tiny_checkpoint, damaged)
        (damaged / name).write_bytes(content)
        refused(dd_ros("evaluate", "--checkpoint", damaged, *out), *parts)
    (damaged / "model.safetensors").unlink()
    shutil.copy(tiny_checkpoint / "config.yaml", damaged)
    refused(dd_ros("evaluate", "--checkpoint", damaged, *out), "model.safetensors")
    assert not (tmp_path / "x.json").exists()


def test_a_user_sees_one_line_and_status_2(tmp_path: Path) -> None:
    refused(
        process("evaluate", "--checkpoint", "nope", "--bags", tmp_path, "--json", tmp_path / "x.json"),
        "no rosbag2",
    )


@pytest.mark.parametrize(
    ("module", "cure"),
    [
        ("dd_ros_training", "make setup' in the checkout of dd_ros, or pip install '.[train]'"),
        ("lightning.part", "make setup' in the checkout of dd_ros, or pip install '.[train]'"),
        ("pyarrow.part", "make setup' in the checkout of dd_ros, or pip install '.[lerobot]'"),
        ("av.part", "make setup' in the checkout of dd_ros, or pip install '.[lerobot]'"),
        ("rclpy.part", "make setup"),
        ("cv2", "make setup' in the checkout of dd_ros, or pip install . there"),
    ],
)
def test_what_is_not_installed_is_named_with_its_cure(
    module: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(path: str, **topics: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("dd_ros.commands.inspecting.inspect", absent)
    result = dd_ros("inspect", "x")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"module {module.removesuffix('.part')} is missing" in result.stderr
    assert cure in result.stderr


@pytest.mark.parametrize("module", ["dd_ros.part", "dd_ros_training.part"])
def test_a_part_of_our_own_that_is_missing_is_no_matter_of_installing(module: str) -> None:
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    with pytest.raises(ModuleNotFoundError) as found:
        missing_module(error)
    assert found.value is error


def test_brackets_in_names_are_no_markup(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "[red]bag", robot_messages(3))
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-200])
    shown = dd_ros("inspect", bag).stdout
    assert shown.replace("\n", "").count("[red]bag") >= 2


def test_compressed_images_and_another_topic(tiny_checkpoint: Path, tmp_path: Path) -> None:
    messages = [
        ("/head", COMPRESSED, r, compressed(r, make_frame(n))) if k == IMAGE else ("/arm", k, r, m)
        for n, (_, k, r, m) in enumerate(robot_messages(24))
    ]
    bag = write_bag(tmp_path / "bag", messages)
    video = tmp_path / "video.mp4"
    topics = ("--image-topic", "/head", "--action-topic", "/arm")
    result = dd_ros("predict", "--checkpoint", tiny_checkpoint, "--bag", bag, "--out", video, *topics)
    assert result.returncode == 0, result.stderr
    assert video.stat().st_size > 1000


def test_a_bag_cut_off_in_the_middle_is_used_as_far_as_it_goes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(60, width=240, height=160))
    (file,) = bag.glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    result = dd_ros("inspect", bag)
    assert result.returncode == 0
    assert "readable part is used" in " ".join(result.stdout.split())
    result = dd_ros(
        "evaluate", "--checkpoint", tiny_checkpoint, "--bags", bag, "--json", tmp_path / "eval.json"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "eval.json").read_text())["windows"] > 0
    file.write_bytes(whole[:100])
    result = dd_ros(
        "evaluate", "--checkpoint", tiny_checkpoint, "--bags", bag, "--json", tmp_path / "eval.json"
    )
    refused(result, str(bag), "no messages")
