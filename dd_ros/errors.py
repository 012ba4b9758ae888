# SPDX-License-Identifier: Apache-2.0
"""Errors a user can fix."""


class InputError(ValueError):
    """Bad input from outside: names the topic, file or parameter, what was expected and what came.

    The message is one line; the command line prints it as it is and exits with status 2.
    """
