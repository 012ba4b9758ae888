# SPDX-License-Identifier: Apache-2.0
"""Errors a user can fix."""

import re

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """The text without line breaks and other controls, which names in damaged or hostile files may hold."""
    return CONTROLS.sub(" ", text)


class InputError(ValueError):
    """Bad input from outside: names the topic, file or parameter, what was expected and what came.

    The message is one line, whatever it was made of; the command line prints it as it is and exits with status 2.
    """

    def __init__(self, message: object = ""):
        super().__init__(one_line(str(message)))
