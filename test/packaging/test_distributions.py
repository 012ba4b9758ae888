# SPDX-License-Identifier: Apache-2.0
"""Wheel and source distribution: built as a user builds them, looked into, and the wheel used where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from bag_writer import robot_messages, write_bag
from test_installation import ROOT, SHARED, shared_files

from dd_ros.resources import CONFIG

# What a checkout may hold beside what belongs to it.
CLUTTER = (
    ".git",
    ".venv",
    ".*_cache",
    ".hypothesis",
    "build",
    "install",
    "log",
    "out",
    "*.egg-info",
    "__pycache__",
    "*.work",
)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution, and the wheel made from it: with the tools that are here, for the network may be away."""
    work = tmp_path_factory.mktemp("distributions")
    source = shutil.copytree(ROOT, work / "source", ignore=shutil.ignore_patterns(*CLUTTER), symlinks=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(work / "dist"), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
    assert result.returncode == 0, result.stdout + result.stderr
    [archive], [wheel] = (work / "dist").glob("*.tar.gz"), (work / "dist").glob("*.whl")
    return archive, wheel


@pytest.fixture(scope="module")
def prefix(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip installed the wheel, away from all else; what it needs is in this environment."""
    target = tmp_path_factory.mktemp("installed")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-compile",
        "--target",
        str(target),
    ]
    subprocess.run([*command, str(distributions[1])], check=True, capture_output=True)
    return target


def run(prefix: Path, *arguments: object) -> str:
    """What the installed command says, with no other installation of ours to be seen."""
    path = os.pathsep.join([str(prefix), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "AMENT_PREFIX_PATH": "", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [prefix / "bin/dd_ros", *map(str, arguments)], cwd="/", env=env, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_carries_all_shared_files(distributions: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(distributions[1]).namelist()
    share = "dd_ros-0.1.0.data/data/share/dd_ros/"
    there = {name.removeprefix(share) for name in names if name.startswith(share)}
    assert {name for name in there if name.startswith(SHARED)} == shared_files(ROOT)
    assert there >= {"package.xml", "dd_ros_msgs/srv/PredictRollouts.srv"}
    assert {"dd_ros/cli.py", "dd_ros_training/train.py", "dd_ros_training/stages/__init__.py"} <= set(names)
    assert not [name for name in names if "test" in Path(name).parts]


def test_the_source_distribution_is_a_whole_checkout(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    kept = {name for name in listed.stdout.splitlines() if not name.startswith(".")}
    assert {name for name in kept if (ROOT / name).exists()} - names == set()


def test_the_installed_command_finds_its_own_files(prefix: Path, tmp_path: Path) -> None:
    assert run(prefix, "--version") == "dd_ros, version 0.1.0\n"
    assert "PushT" in run(prefix, "inspect", "pusht")
    ask = "import dd_ros; from dd_ros.resources import *; print(dd_ros.__file__, find_checkpoint('g1_pick'), shared_file('launch/predict.launch.py'))"
    env = os.environ | {"PYTHONPATH": str(prefix), "AMENT_PREFIX_PATH": ""}
    found = subprocess.run(
        [sys.executable, "-c", ask], cwd="/", env=env, capture_output=True, text=True, check=True
    )
    for path in found.stdout.split():
        assert path.startswith(str(prefix))
    assert (prefix / "share/dd_ros/checkpoints/g1_pick" / CONFIG).is_file()


def test_the_installed_command_predicts_with_a_shipped_checkpoint(prefix: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(18))
    video = tmp_path / "video.mp4"
    run(prefix, "predict", "--checkpoint", "pusht", "--bag", bag, "--out", video, "--action-topic", "/action")
    assert video.stat().st_size > 1000
