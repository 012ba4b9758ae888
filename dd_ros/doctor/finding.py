# SPDX-License-Identifier: Apache-2.0
"""What a check found out."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from dd_ros.errors import one_line


class Level(StrEnum):
    """How bad it is: fine, worse than it could be, or it does not work."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """What a check found out.

    Attributes:
        check: what was looked at, in a word or two.
        level: how bad it is.
        text: what there is.
        cure: what to do about it, or what is left out by choice and how to get it.
    """

    check: str
    level: Level
    text: str
    cure: str = ""

    @property
    def line(self) -> str:
        """For people, without the level."""
        return one_line(f"{self.check}: {self.text}" + (f"; {self.cure}" if self.cure else ""))
