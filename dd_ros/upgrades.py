# SPDX-License-Identifier: Apache-2.0
"""Older checkpoints in today's terms, so that a checkpoint once made loads for good. No torch.

``config.yaml`` carries the number of its format; without one it is 1. A format changes when a name in it or in the
weights changes: then FORMAT grows by one, ``UPGRADES`` gets one more step, and a tiny checkpoint of the format before
becomes a fixture of the tests (``test/checkpoints/format_N``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dd_ros.errors import InputError

FORMAT = 2


class Upgrade(NamedTuple):
    """One step, from a format to the next.

    Attributes:
        config: entries of ``config.yaml`` -> those of the next format; may change them in place.
        weight: name of a weight -> its name in the next format.
    """

    config: Callable[[dict[str, Any]], dict[str, Any]]
    weight: Callable[[str], str]


def _rename(entries: Any, names: dict[str, str]) -> None:
    """Give the entries of a mapping their new names, in their old places."""
    if isinstance(entries, dict):
        renamed = {names.get(name, name): value for name, value in entries.items()}
        entries.clear()
        entries.update(renamed)


def _config_of_2(entries: dict[str, Any]) -> dict[str, Any]:
    names = {"reach": "max_trained_step", "carry": "condition_on_previous_frame"}
    _rename(entries.get("transformer"), names)
    return entries


def _weight_of_2(name: str) -> str:
    return re.sub(r"^transformer\.place\.", "transformer.position_embedding.", name)


UPGRADES = {1: Upgrade(_config_of_2, _weight_of_2)}  # by the format that a step starts from


def format_of(entries: Any, file: Path) -> int:
    """Number of the format that ``entries`` of the config ``file`` are in.

    Raises:
        InputError: it is no number, or of a later version of this package.
    """
    number = entries.get("format", 1) if isinstance(entries, dict) else 1
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError(f"{file}: format: expected a number from 1 to {FORMAT}, got {number!r}")
    if number > FORMAT:
        raise InputError(
            f"{file}: made by a later version of dd_ros (format {number}, this one reads up to {FORMAT}); "
            "update dd_ros"
        )
    return number


def upgraded_config(entries: Any, file: Path) -> Any:
    """``entries`` of the config ``file``, of any known format, in today's; InputError as ``format_of``."""
    number = format_of(entries, file)
    if not isinstance(entries, dict):
        return entries  # whoever validates it says so
    for step in range(number, FORMAT):
        entries = UPGRADES[step].config(entries)
    return {"format": FORMAT, **{name: value for name, value in entries.items() if name != "format"}}


def upgraded_weight(name: str, number: int) -> str:
    """Today's name of the weight that is called ``name`` in format ``number``."""
    for step in range(number, FORMAT):
        name = UPGRADES[step].weight(name)
    return name
