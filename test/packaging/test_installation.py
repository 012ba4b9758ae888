# SPDX-License-Identifier: Apache-2.0
"""The package works where it is installed: in the environment, and where colcon puts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXECUTABLES = {"dd_ros", "bag_player", "predictor", "pusht_robot", "recorder", "viewer"}
SHARED = ("launch", "config", "checkpoints")


def shared_files(folder: Path) -> set[str]:
    """Files of the shared folders below ``folder`` as relative paths."""
    found = {path for name in SHARED for path in (folder / name).rglob("*") if path.is_file()}
    return {str(path.relative_to(folder)) for path in found if "__pycache__" not in path.parts}


def run(*command: object, **environment: str) -> str:
    """Output of a command, run far from the source checkout."""
    result = subprocess.run(
        [str(word) for word in command], cwd="/", env=os.environ | environment, capture_output=True, text=True
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def python_path(*folders: Path) -> str:
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([*map(str, folders), *filter(None, [inherited])])


@pytest.fixture(scope="module")
def colcon_prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a real ``colcon build`` of this package installed it."""
    work = tmp_path_factory.mktemp("colcon")
    command = [sys.executable, "-m", "colcon", "--log-base", str(work / "log"), "build"]
    places = ["--build-base", str(work / "build"), "--install-base", str(work / "install")]
    subprocess.run(
        [*command, "--base-paths", ".", "--packages-select", "dd_ros", *places],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return work / "install" / "dd_ros"


def test_executables_resolve() -> None:
    scripts = {
        script.name: script
        for script in entry_points(group="console_scripts")
        if script.module.startswith("dd_ros.")
    }
    assert scripts.keys() == EXECUTABLES
    for script in scripts.values():
        assert callable(script.load())


def test_environment_is_a_prefix_for_ros2_run_and_launch() -> None:
    prefix = Path(sys.prefix)
    assert {path.name for path in (prefix / "lib/dd_ros").iterdir()} == EXECUTABLES
    assert all(os.access(path, os.X_OK) for path in (prefix / "lib/dd_ros").iterdir())
    assert shared_files(prefix / "share/dd_ros") == shared_files(ROOT)
    ask = "import ament_index_python as a; print(a.get_package_prefix('dd_ros'), a.get_package_prefix('dd_ros_msgs'))"
    found = run(sys.executable, "-c", ask, AMENT_PREFIX_PATH=sys.prefix)
    assert found.split() == [sys.prefix, sys.prefix]


def test_command_works_with_nothing_set(tmp_path: Path) -> None:
    command = [str(Path(sys.prefix) / "bin/dd_ros"), "--help"]
    result = subprocess.run(
        command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "evaluate" in result.stdout


def test_colcon_installs_every_shared_file(colcon_prefix: Path) -> None:
    share = colcon_prefix / "share/dd_ros"
    assert shared_files(share) == shared_files(ROOT)
    assert (share / "package.xml").is_file()
    assert (colcon_prefix / "share/ament_index/resource_index/packages/dd_ros").is_file()


def test_colcon_installs_executables_for_this_python(colcon_prefix: Path) -> None:
    scripts = {path.name: path for path in (colcon_prefix / "lib/dd_ros").iterdir()}
    assert scripts.keys() == EXECUTABLES
    for script in scripts.values():
        assert script.read_text().splitlines()[0] == f"#!{sys.executable}"


def test_installed_package_finds_its_files_and_runs(colcon_prefix: Path) -> None:
    [site] = colcon_prefix.glob("lib/python*/site-packages")
    environment = {
        "PYTHONPATH": python_path(site),
        "AMENT_PREFIX_PATH": os.pathsep.join([str(colcon_prefix), sys.prefix]),
    }
    ask = "import dd_ros, dd_ros_training.stages as t; from dd_ros.resources import shared_file as f; print(dd_ros.__file__, t.__file__, f('config/fastdds.xml'))"
    for place in run(sys.executable, "-c", ask, **environment).split():
        assert place.startswith(str(colcon_prefix))
    assert "evaluate" in run(colcon_prefix / "lib/dd_ros/dd_ros", "--help", **environment)


@pytest.mark.parametrize(
    ("module", "given"),
    [
        ("dd_ros.ros.node", {}),
        ("dd_ros_training.train", {}),
        ("dd_ros.predictor", {}),
        ("dd_ros.predictor", {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_idle_threads_sleep_unless_told_otherwise(module: str, given: dict[str, str]) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    loaded = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        env=inherited | given | {"OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "RuntimeWarning" not in loaded.stderr  # torch was not imported before dd_ros
    spins = re.search(r"GOMP_SPINCOUNT = '(\d+)'", loaded.stderr)
    if spins is None:
        pytest.skip("torch has another OpenMP library than GNU's, which alone tells how long it spins")
    assert (spins[1] == "0") == (not given)
