# SPDX-License-Identifier: Apache-2.0
"""Names from damaged or hostile files reach a terminal as one line, and command nothing there."""

from __future__ import annotations

import pytest

from dd_ros.errors import InputError
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
