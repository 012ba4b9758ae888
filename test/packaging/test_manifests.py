# SPDX-License-Identifier: Apache-2.0
"""What the package says of itself agrees with what is in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from xml.etree import ElementTree

import pytest
from catkin_pkg.package import Package, parse_package
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("dd_ros/**/*.py"), *ROOT.glob("training/**/*.py"), *ROOT.glob("launch/*.py")]
# Packages whose Python module another distribution installs, or that only this repository has.
OWN = {"dd_ros", "dd_ros_training"}
ABSENT = {"rerun": "rerun-sdk"}  # module -> its distribution, which an environment with NumPy 1 goes without


def manifest(folder: str) -> Package:
    return parse_package(str(ROOT / folder))


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    return imported(ast.parse(path.read_text()))


def imported(tree: ast.AST) -> set[str]:
    """Full names of the modules that a piece of code imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def requirements() -> dict[str, Requirement]:
    """What the installed dd_ros asks of pip, its extras included."""
    parsed = [Requirement(text) for text in requires("dd_ros") or ()]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


@pytest.mark.parametrize(("folder", "build_type"), [(".", "ament_python"), ("dd_ros_msgs", "ament_cmake")])
def test_package_xml_is_valid(folder: str, build_type: str) -> None:
    warnings: list[str] = []
    package = manifest(folder)
    package.validate(warnings=warnings)
    assert not warnings
    assert package.package_format == 3
    assert package.get_build_type() == build_type
    assert package.licenses == ["Apache-2.0"]
    assert package.version == manifest(".").version == version("dd_ros")


def test_colcon_takes_both_for_ros_packages() -> None:
    # An invalid package.xml makes colcon fall back to plain "python" without a word.
    command = [sys.executable, "-m", "colcon", "--log-base", "/dev/null", "list"]
    listed = subprocess.run(
        [*command, "--base-paths", ".", "dd_ros_msgs"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert [line.split("\t") for line in listed.splitlines()] == [
        ["dd_ros", ".", "(ros.ament_python)"],
        ["dd_ros_msgs", "dd_ros_msgs", "(ros.ament_cmake)"],
    ]


def test_every_ros_package_used_is_declared() -> None:
    # Imported, or named as a type of a topic ("geometry_msgs/msg/Twist").
    used = {name.split(".")[0] for path in SOURCES for name in imports(path)}
    named = {name for path in SOURCES for name in re.findall(r"\b(\w+)/(?:msg|srv)/", path.read_text())}
    ros = {name for name in used | named if name.endswith(("_msgs", "_interfaces", "_srvs"))}
    ros |= used & {"rclpy", "cv_bridge", "launch", "launch_ros", "rosidl_runtime_py"}
    ros -= {"ffmpeg_image_transport_msgs", "foxglove_msgs"}  # named only to say that they cannot be read
    declared = manifest(".")
    assert ros <= {depend.name for depend in (*declared.exec_depends, *declared.build_depends)}


def test_every_python_package_used_is_declared() -> None:
    ros = {depend.name for depend in manifest(".").exec_depends}
    distributions = packages_distributions()
    declared = requirements()
    missing = {}
    for path in SOURCES:
        for module in {name.split(".")[0] for name in imports(path)} - OWN - ros:
            if module in sys.stdlib_module_names or module == "ament_index_python":
                continue
            owners = {
                canonicalize_name(owner) for owner in distributions.get(module, [ABSENT.get(module, module)])
            }
            if not owners & declared.keys():
                missing[module] = str(path)
    assert not missing


def test_tested_versions_lie_in_the_declared_ranges() -> None:
    declared = requirements()
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if "==" in line:
            name, pinned = line.split("==")
            requirement = declared.get(canonicalize_name(name))
            assert requirement is None or requirement.specifier.contains(pinned), line


def test_transport_profile_is_what_large_images_need() -> None:
    space = {"": "http://www.eprosima.com"}
    profile = ElementTree.parse(ROOT / "config/fastdds.xml").getroot()
    sizes = {
        transport.findtext("type", namespaces=space): transport.findtext("segment_size", namespaces=space)
        for transport in profile.iterfind(".//transport_descriptor", space)
    }
    assert sizes.keys() == {"SHM", "UDPv4"}
    assert int(sizes["SHM"] or 0) >= 64 << 20
    assert profile.findtext(".//useBuiltinTransports", namespaces=space) == "false"
    participant = profile.find("participant", space)
    assert participant is not None
    assert participant.get("is_default_profile") == "true"


# The rooms of the package, each above all before it; training is above all of them.
ROOMS = (
    "errors", "yaml_files", "json_files", "settings", "upgrades", "error_intervals", "gate", "streams", "config", "about", "resources", "report", "progress",
    "console", "completion", "options", "described", "device", "processes", "data",
    "model", "diffusion", "checkpoint", "graphs", "pipeline", "predictions", "observer",
    "engine", "rollouts", "predictor", "evaluation", "planning", "demo", "live", "view", "ros",
    "benchmark", "doctor", "commands", "cli", "dd_ros_training",
)  # fmt: skip
# What is imported upwards all the same, when a function runs: file -> modules.
UPWARDS = {
    "dd_ros/__init__.py": {"dd_ros.evaluation.film", "dd_ros.predictor"},  # the door
    "dd_ros/commands/finetune.py": {"dd_ros_training.finetune"},
    "dd_ros/commands/readout.py": {"dd_ros_training.readout"},
}


def level_of(module: str) -> int:
    """Place in ROOMS of a module of ours, such as that of ``ros`` for ``dd_ros.ros.demo.player``."""
    package, _, rest = module.partition(".")
    room = package if package == "dd_ros_training" else rest.partition(".")[0]
    assert room in ROOMS, f"{module} has no place in ROOMS"
    return ROOMS.index(room)


def module_of(file: str) -> str:
    """Full name of the module in a file of the package, relative to ROOT."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def own_imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in it."""
    return {name for name in imports(path) if name.partition(".")[0] in OWN}


def eager_imports(path: Path) -> set[str]:
    """Modules that are imported when the file is."""
    body = [
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return imported(ast.Module(list(body), []))


def test_imports_point_one_way() -> None:
    upwards: dict[str, set[str]] = {}
    for path in sorted(ROOT.glob("dd_ros/**/*.py")):
        file = str(path.relative_to(ROOT))
        level = level_of(module_of(file)) if file != "dd_ros/__init__.py" else -1
        above = {name for name in own_imports(path) if level_of(name) > level}
        if above:
            upwards[file] = above
            assert not above & eager_imports(path), file
    assert upwards == UPWARDS


def test_nothing_but_training_needs_what_training_needs() -> None:
    for path in ROOT.glob("dd_ros/**/*.py"):
        assert "lightning" not in {name.partition(".")[0] for name in imports(path)}, path


def test_the_search_for_actions_needs_numpy_alone() -> None:
    names = imports(ROOT / "dd_ros/planning/solvers.py")
    others = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
    assert others == {"numpy", "numpy.typing", "dd_ros.errors"}


def test_the_way_from_bytes_to_frames_needs_neither_ros_nor_torch() -> None:
    files = list(ROOT.glob("dd_ros/data/**/*.py"))
    for path in files:
        assert not {"torch", "rclpy"} & {name.partition(".")[0] for name in imports(path)}, path
    names = [module_of(str(path.relative_to(ROOT))) for path in files]
    assert len(names) > 10
    # Those of an extra are imported when a data set is read.
    unwanted = ("torch", "rclpy", "pyarrow", "av", "dd_ros.predictor", "dd_ros.model")
    code = f"import sys, {', '.join(names)}\nprint([name for name in {unwanted} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_only_the_room_for_ros_needs_a_ros_installation() -> None:
    found = {path for path in SOURCES if any(needs_ros(name) for name in imports(path))}
    assert found
    assert {path for path in found if not path.is_relative_to(ROOT / "dd_ros/ros")} == set()


def needs_ros(module: str) -> bool:
    """Whether a module belongs to a ROS installation: rclpy, or generated messages."""
    package = module.split(".")[0]
    return package == "rclpy" or package.endswith(("_msgs", "_interfaces", "_srvs"))


def test_every_source_file_names_its_licence() -> None:
    more = [
        path
        for folder in ("examples", "scripts")
        for path in ROOT.glob(f"{folder}/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    files = [*SOURCES, *ROOT.glob("test/**/*.py"), *more, ROOT / "setup.py"]
    for path in files:
        head = path.read_text().splitlines()[:3]
        assert path.suffix == ".txt" or any("SPDX-License-Identifier: Apache-2.0" in line for line in head), (
            path
        )
