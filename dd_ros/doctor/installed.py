# SPDX-License-Identifier: Apache-2.0
"""What is installed: this package with its files, the packages that it needs, ROS 2 and the messages."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from dd_ros.console import from_checkout
from dd_ros.doctor.finding import Finding, Level
from dd_ros.resources import share_folders, shared_file, shipped_checkpoints

MODULES = {"opencv-python": "cv2", "pyyaml": "yaml"}  # whose names are not their packages'
LEFT_OUT = ("test",)  # extras that only developers need
FILES = ("config/fastdds.xml", "launch/predict.launch.py")
MAKE_MESSAGES = "run 'make setup' in the checkout, or 'colcon build --base-paths . dd_ros_msgs'"


def package() -> Finding:
    """This package, and the Python it runs in."""
    folder = Path(__file__).resolve().parents[1]
    python = f"Python {platform.python_version()}"
    try:
        return Finding("dd_ros", Level.OK, f"{version('dd_ros')} in {folder}, {python}")
    except PackageNotFoundError:
        text = f"used from {folder} without being installed, {python}"
        return Finding("dd_ros", Level.WARN, text, f"install it: {from_checkout()}")


def packages() -> list[Finding]:
    """The packages that are always needed, and which of the extras are whole."""
    try:
        asked = [Requirement(text) for text in requires("dd_ros") or ()]
    except PackageNotFoundError:
        return []  # said already
    extras = [name for name in metadata("dd_ros").get_all("Provides-Extra") or () if name not in LEFT_OUT]
    return [needed(of_extra(asked, "")), optional({name: of_extra(asked, name) for name in extras})]


def of_extra(asked: Sequence[Requirement], extra: str) -> list[Requirement]:
    """What the extra asks for on top of what is always needed; that itself where ``extra`` is empty."""
    always = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [
        one for one in asked if one not in always and one.marker and one.marker.evaluate({"extra": extra})
    ]


def needed(requirements: Sequence[Requirement]) -> Finding:
    """Whether these packages are there, in versions that should work."""
    missing = [one for one in requirements if not there(one)]
    if missing:
        names = ", ".join(one.name for one in missing)
        return Finding("packages", Level.FAIL, f"without {names}", from_checkout())
    odd = [f"{one.name} {found} (expected {one.specifier})" for one, found in outside_of_range(requirements)]
    if odd:
        return Finding("packages", Level.WARN, ", ".join(odd), f"not tested; {from_checkout()}")
    return Finding("packages", Level.OK, f"all {len(requirements)} are there, torch {version_of('torch')}")


def optional(extras: Mapping[str, Sequence[Requirement]]) -> Finding:
    """Which extras are there; none is needed to predict."""
    lacking = {name: [one.name for one in asked if not there(one)] for name, asked in extras.items()}
    whole = ", ".join(name for name, names in lacking.items() if not names) or "none"
    part = {name: f"{name} (without {', '.join(names)})" for name, names in lacking.items() if names}
    cure = (
        f"not {', '.join(part.values())}: pip install '.[{','.join(part)}]' in the checkout" if part else ""
    )
    return Finding("extras", Level.OK, whole, cure)


def there(requirement: Requirement) -> bool:
    """Whether a package is there, in whatever version; also one that pip knows nothing of, as of a Linux distribution."""
    name = requirement.name.lower()
    return bool(version_of(name)) or find_spec(MODULES.get(name, name.replace("-", "_"))) is not None


def version_of(name: str) -> str:
    """Version of a package; empty where pip knows nothing of it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def outside_of_range(requirements: Sequence[Requirement]) -> Iterator[tuple[Requirement, str]]:
    """Those whose installed version, given as well, is not one of those that are asked for."""
    for one in requirements:
        found = version_of(one.name)
        if found and not one.specifier.contains(found, prereleases=True):
            yield one, found


def files() -> Finding:
    """Launch files, configuration and checkpoints."""
    try:
        place = shared_file(FILES[0]).parents[1]
        for name in FILES:
            shared_file(name)
    except FileNotFoundError as error:
        cure = f"install the package with pip or colcon as a whole; {from_checkout()}"
        return Finding("files", Level.FAIL, str(error), cure)
    names = shipped_checkpoints()
    if not names:
        return Finding("files", Level.WARN, f"{place}, without checkpoints", "give --checkpoint your own")
    return Finding("files", Level.OK, f"{place}, checkpoints {', '.join(names)}")


def ros(environment: Mapping[str, str]) -> list[Finding]:
    """Which ROS 2 programs have in this ``environment``, and whether our messages are there as they are now."""
    command = [sys.executable, "-m", "dd_ros.ros.here"]
    asked = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if asked.returncode:
        lines = asked.stderr.strip().splitlines() or [f"ended with status {asked.returncode}"]
        words = lines[-1] if lines[0].startswith("Traceback") else lines[0]
        cure = "check RMW_IMPLEMENTATION, and that its package is installed"
        return [Finding("ros", Level.FAIL, f"does not start: {words}", cure)]
    found = json.loads(asked.stdout.splitlines()[-1])
    if "ros" not in found:
        text = f"none here ({found['missing']}): bags, training and Python work, the node does not"
        cure = "source a ROS 2 installation, or run 'make setup' in the checkout"
        return [Finding("ros", Level.WARN, text, cure)]
    launch = "" if found["launch"] else "launch files need launch_ros, which only a ROS installation has"
    there = Finding("ros", Level.OK, f"{found['ros']}, {found['rmw']}", launch)
    if "missing" in found:
        return [there, Finding("messages", Level.FAIL, f"not there ({found['missing']})", MAKE_MESSAGES)]
    return [there, messages(wanted_fields(), found["messages"])]


def messages(wanted: Mapping[str, Sequence[str]], built: Mapping[str, Sequence[str]]) -> Finding:
    """Whether the messages that are ``built`` have the ``wanted`` fields, both by names such as ``PredictRollouts.Request``."""
    other = []
    for name, fields in wanted.items():
        there = list(built.get(name, ()))
        lacking = [field for field in fields if field not in there]
        if lacking:
            other.append(f"{name} lacks {', '.join(lacking)}")
        elif there != list(fields):
            other.append(f"{name} has other fields")
    if other:
        text = f"dd_ros_msgs is of another version: {'; '.join(other)}"
        return Finding("messages", Level.FAIL, text, MAKE_MESSAGES)
    return Finding("messages", Level.OK, f"dd_ros_msgs, {len(wanted)} as they are now")


def wanted_fields() -> dict[str, list[str]]:
    """Fields of our messages by name, from the definitions that came with this package."""
    found: dict[str, list[str]] = {}
    for share in share_folders():
        for path in sorted((share / "dd_ros_msgs").glob("msg/*.msg")):
            found.setdefault(path.stem, fields_of(path.read_text()))
        for path in sorted((share / "dd_ros_msgs").glob("srv/*.srv")):
            parts = path.read_text().split("\n---\n")
            for part, text in zip(("Request", "Response"), parts, strict=True):
                found.setdefault(f"{path.stem}.{part}", fields_of(text))
    return found


def fields_of(definition: str) -> list[str]:
    """Names of the fields of a message definition."""
    words = (line.partition("#")[0].split() for line in definition.splitlines())
    return [line[1] for line in words if len(line) >= 2 and "=" not in "".join(line[1:3])]
