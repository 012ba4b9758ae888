# SPDX-License-Identifier: Apache-2.0
"""Errors a user can fix."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """The text without line breaks and other controls, which names in damaged or hostile files may hold."""
    return CONTROLS.sub(" ", text)


def meant(name: str, known: Sequence[str]) -> str:
    """What an error adds about a ``name`` that is not there: the one of the ``known`` that may be meant, if any is near."""
    inside = [one for one in known if re.search(rf"[./]{re.escape(name.lstrip('/'))}$", one)]
    near = inside or get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


class InputError(ValueError):
    """Bad input from outside: names the topic, file or parameter, what was expected and what came.

    The message is one line, whatever it was made of; the command line prints it as it is and exits with status 2.
    """

    def __init__(self, message: object = ""):
        super().__init__(one_line(str(message)))
