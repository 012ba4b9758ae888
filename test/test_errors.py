# SPDX-License-Identifier: Apache-2.0
"""Names from damaged or hostile files reach a terminal as one line, and command nothing there."""

from __future__ import annotations

import pytest

from dd_ros.errors import InputError, meant
from dd_ros.report import Report

NAME = "/camera\n\x1b[2J\x9b31m\u2028/image"


def test_an_error_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        raise InputError(f"bag: no messages of {NAME}")
    assert str(caught.value) == "bag: no messages of /camera [2J 31m /image"


def test_a_problem_is_one_line() -> None:
    problems = Report()
    problems.add(f"bag {NAME}", f"bag {NAME}: silent", f"name {NAME}")
    problems.add("", f"{NAME} repeats")
    assert list(problems) == [
        "bag /camera [2J 31m /image: silent; name /camera [2J 31m /image",
        "/camera [2J 31m /image repeats",
    ]


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("/cmd_vel", ["/robot/cmd_vel", "/cmd_velo"], "/robot/cmd_vel"),
        ("/camera/image", ["/action", "/camera/image_raw"], "/camera/image_raw"),
        ("linear.x", ["twist.angular.x", "twist.linear.x"], "twist.linear.x"),
        ("[x", ["a.[x"], "a.[x"),
        ("/nope", ["/action", "/camera/image_raw"], ""),
        ("/nope", [], ""),
    ],
)
def test_the_name_that_may_be_meant(name: str, known: list[str], near: str) -> None:
    assert meant(name, known) == (f"; did you mean {near}?" if near else "")
