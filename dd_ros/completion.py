# SPDX-License-Identifier: Apache-2.0
"""What lets a shell complete the ``dd_ros`` command; click makes the scripts, which ask the command itself."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from dd_ros.errors import InputError

PROGRAM, VARIABLE = "dd_ros", "_DD_ROS_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def script(shell: str, command: click.Command) -> str:
    """The script for one of SHELLS, without the last line break."""
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(command, {}, PROGRAM, VARIABLE).source().rstrip("\n")


def place(shell: str) -> Path:
    """Where the shell looks for the script, below the user's home."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion/completions" / PROGRAM,
        "zsh": data / "zsh/site-functions" / f"_{PROGRAM}",
        "fish": config / "fish/completions" / f"{PROGRAM}.fish",
    }[shell]


def installed(shell: str, command: click.Command) -> str:
    """Write the script to its ``place``, and say what remains to be done; InputError where it cannot be written."""
    path = place(shell)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(shell, command) + "\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); print the script instead and keep it elsewhere"
        ) from error
    cure = {
        "bash": "new shells use it where the package bash-completion is installed",
        "zsh": f"put 'fpath+=({path.parent})' before 'compinit' in ~/.zshrc",
        "fish": "new shells use it",
    }[shell]
    return f"{path} written: {cure}"
