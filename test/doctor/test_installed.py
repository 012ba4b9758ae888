# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of packages, files, ROS and messages, good and bad."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dd_ros.doctor import installed
from dd_ros.doctor.finding import Finding, Level

ABSENT = Requirement("no_such_package_of_anybody>=1")


def parsed(*texts: str) -> list[Requirement]:
    return [Requirement(text) for text in texts]


def test_this_environment_is_whole() -> None:
    assert installed.package().level is Level.OK
    packages, extras = installed.packages()
    assert packages.level is Level.OK, packages.line
    assert "torch" in packages.text
    assert extras.level is Level.OK
    assert "demo" in extras.text
    assert installed.files().level is Level.OK
    assert "pusht" in installed.files().text


def test_packages_that_are_missing_or_of_another_version() -> None:
    missing = installed.needed([*parsed("numpy>=1"), ABSENT])
    assert missing.level is Level.FAIL
    assert "without no_such_package_of_anybody; run 'make setup'" in missing.line
    other = installed.needed(parsed("numpy>=1", "torch<1"))
    assert other.level is Level.WARN
    assert "(expected <1)" in other.text
    assert installed.needed(parsed("opencv-python>=1", "PyYAML>=1", "torch>=1")).level is Level.OK


def test_extras_that_are_left_out_are_named_with_the_cure() -> None:
    found = installed.optional({"demo": parsed("numpy>=1"), "video": [ABSENT]})
    assert found.level is Level.OK
    assert found.text == "demo"
    assert (
        found.cure == "not video (without no_such_package_of_anybody): pip install '.[video]' in the checkout"
    )
    assert not installed.optional({"demo": parsed("numpy>=1")}).cure


def test_an_extra_is_what_it_asks_for_on_top() -> None:
    asked = parsed(
        "numpy", 'av; extra == "video"', 'pyarrow; extra == "lerobot"', 'x; sys_platform == "none"'
    )
    assert [one.name for one in installed.of_extra(asked, "")] == ["numpy"]
    assert [one.name for one in installed.of_extra(asked, "video")] == ["av"]


def test_files_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "FILES", ("config/fastdds.xml", "launch/none.py"))
    found = installed.files()
    assert found.level is Level.FAIL
    assert "launch/none.py: not in any of" in found.text
    assert "as a whole" in found.cure


def test_ros_and_its_messages() -> None:
    ros, messages = installed.ros(os.environ)
    assert (ros.check, ros.level) == ("ros", Level.OK)
    assert "rmw_fastrtps_cpp" in ros.text
    assert (messages.check, messages.level) == ("messages", Level.OK), messages.line


def test_messages_of_another_build() -> None:
    wanted = installed.wanted_fields()
    assert wanted["ActionSequence"] == ["header", "step", "count", "dim", "data"]
    assert wanted["PredictRollouts.Response"][:2] == ["success", "message"]
    assert installed.messages(wanted, wanted).level is Level.OK
    older = installed.messages(wanted, wanted | {"ActionSequence": ["header", "step", "count", "data"]})
    assert older.level is Level.FAIL
    assert "another version: ActionSequence lacks dim; run 'make setup'" in older.line
    newer = installed.messages(wanted, wanted | {"ActionSequence": [*wanted["ActionSequence"], "colour"]})
    assert "ActionSequence has other fields" in newer.text
    assert "Unheard lacks x" in installed.messages({"Unheard": ["x"]}, wanted).text


def test_constants_and_comments_are_no_fields() -> None:
    text = "# a comment\nuint8 LEFT=1\nuint8 RIGHT = 2\nfloat64 step # s\n\nstring[] names\n"
    assert installed.fields_of(text) == ["step", "names"]


def without(module: str, folder: Path) -> dict[str, str]:
    """An environment in which importing ``module`` fails as where it is not installed."""
    (folder / f"{module}.py").write_text(f"raise ModuleNotFoundError('No module named {module}')\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_no_ros_is_said(tmp_path: Path) -> None:
    [found] = installed.ros(without("rclpy", tmp_path))
    assert found.level is Level.WARN
    assert found.text.startswith("none here (No module named")
    assert "source a ROS 2 installation" in found.cure


def test_no_messages_are_said(tmp_path: Path) -> None:
    ros, messages = installed.ros(without("dd_ros_msgs", tmp_path))
    assert ros.level is Level.OK
    assert messages.level is Level.FAIL
    assert "colcon build --base-paths . dd_ros_msgs" in messages.cure


def test_an_rmw_that_is_not_there_is_said() -> None:
    [found] = installed.ros(os.environ | {"RMW_IMPLEMENTATION": "rmw_of_nobody"})
    assert found.level is Level.FAIL
    assert "rmw_of_nobody" in found.text
    assert "check RMW_IMPLEMENTATION" in found.cure


def test_a_finding_is_one_line() -> None:
    assert Finding("a", Level.OK, "text\nmore").line == "a: text more"
    assert Path(installed.__file__).is_absolute()
