# SPDX-License-Identifier: Apache-2.0
"""Older names of a recipe's entries. They go on working, with a line that names the new one."""

from __future__ import annotations

from typing import Any

import click
from lightning.pytorch.utilities import rank_zero_only

from dd_ros.errors import InputError

STAGE = {"rate": "learning_rate", "average": "ema_decay"}
# Part of a recipe -> older name of an entry of it -> today's.
RENAMED: dict[str, dict[str, str]] = {
    "network": {"carry": "condition_on_previous_frame", "reach": "max_trained_step"},
    "autoencoder": STAGE,
    "teacher": STAGE,
    "distillation": {
        **STAGE,
        "least_error": "error_floor",
        "scores_from": "dmd_start",
        "pictures_from": "pixel_loss_start",
        "structure": "ssim",
    },
}


class Renaming:
    """Gives entries of one source their new names, and remembers which old ones it met.

    Args:
        source: what the entries come from, such as a file's name.
    """

    def __init__(self, source: str):
        self.source = source
        self.met: dict[str, str] = {}

    def recipe(self, entries: Any) -> Any:
        """The entries of a recipe, or of some parts of one, in today's names; what is no mapping stays as it is.

        Raises:
            InputError: an entry is there by both names.
        """
        if not isinstance(entries, dict):
            return entries
        return {name: self.part(name, part) for name, part in entries.items()}

    def part(self, name: str, entries: Any) -> Any:
        """The entries of the part ``name`` of a recipe, such as a stage; see ``recipe``."""
        names = RENAMED.get(name, {})
        if not isinstance(entries, dict):
            return entries
        for old in names.keys() & entries.keys():
            if names[old] in entries:
                raise InputError(
                    f"{self.source}: {name}: {old} is the older name of {names[old]}; expected one of them, got both"
                )
            self.met[old] = names[old]
        return {names.get(entry, entry): value for entry, value in entries.items()}

    @rank_zero_only
    def say(self) -> None:
        """Tell the user, a line for each old name."""
        for old, new in sorted(self.met.items()):
            click.echo(f"{self.source}: {old} is called {new} now; the older name still works", err=True)
