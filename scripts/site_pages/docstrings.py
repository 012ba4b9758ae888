# SPDX-License-Identifier: Apache-2.0
"""For mkdocstrings: arguments that a docstring explains in one line, ``width, height: of the model``, are two of them."""

from __future__ import annotations

import re
from typing import Any

import griffe

SEVERAL = re.compile(r"^(\s+)(\w+(?:, \w+)+): (.*)$", re.MULTILINE)


def split(text: str) -> str:
    """A docstring with a line for each argument; what is said of several in more than one line is said of the last."""

    def lines(found: re.Match[str]) -> str:
        indent, names, about = found.groups()
        return "\n".join(f"{indent}{name}: {about}" for name in names.split(", "))

    return SEVERAL.sub(lines, text)


class OneEach(griffe.Extension):
    """Splits such lines in all docstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each object that it has read."""
        if obj.docstring:
            obj.docstring.value = split(obj.docstring.value)
