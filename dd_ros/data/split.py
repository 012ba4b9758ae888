# SPDX-License-Identifier: Apache-2.0
"""Which bags are for training and which for validation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dd_ros.config import Positive
from dd_ros.errors import InputError
from dd_ros.settings import Settings


class SplitRule(Settings):
    """Which bags are for validation; training never sees them.

    Attributes:
        every, remainder: those whose number, the digits that a name ends with, leaves ``remainder`` when
            divided by ``every``; a bag without a number has that of its position among all, from 0.
        validation: names of bags, with or without the suffix of a file; these and no others, whatever their
            numbers. None goes by the numbers.
    """

    every: Positive = 6
    remainder: Annotated[int, Field(ge=0)] = 4
    validation: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> SplitRule:
        if self.remainder >= self.every:
            raise ValueError(f"remainder must be less than every ({self.every}), got {self.remainder}")
        return self

    def is_validation(self, bag: Path, position: int) -> bool:
        """Whether ``bag``, at ``position`` among all (from 0), is for validation."""
        if self.validation is not None:
            return bag.stem in self.validation or bag.name in self.validation
        number = re.search(r"(\d+)$", bag.stem)
        return (int(number.group(1)) if number else position) % self.every == self.remainder


BY_NUMBER = SplitRule()  # number % 6 == 4


def split(bags: Sequence[Path], rule: SplitRule = BY_NUMBER) -> tuple[list[Path], list[Path]]:
    """(training, validation) bags; with two bags or more neither part is empty.

    Where the numbers leave one of them empty, the last bag alone is for validation.

    Raises:
        InputError: a bag that the rule names is not there, or it names all of them.
    """
    validation = [bag for position, bag in enumerate(bags) if rule.is_validation(bag, position)]
    if rule.validation is not None:
        known = {name for bag in bags for name in (bag.stem, bag.name)}
        if missing := [name for name in rule.validation if name not in known]:
            there = shortened([bag.name for bag in bags])
            raise InputError(f"split: no bag is called {missing[0]}; there are {there}")
        if len(validation) == len(bags):
            raise InputError(f"split: expected bags to train on, got all {len(bags)} named for validation")
    elif not validation or len(validation) == len(bags):
        validation = list(bags[-1:]) if len(bags) > 1 else []
    return [bag for bag in bags if bag not in validation], validation


def shortened(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` of ``names``, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def select(bags: Sequence[Path], part: str, rule: SplitRule = BY_NUMBER) -> list[Path]:
    """Bags of one part: ``all``, ``train`` or ``validation``; InputError if it is empty, and as ``split``."""
    training, validation = split(bags, rule)
    chosen = {"all": list(bags), "train": training, "validation": validation}[part]
    if not chosen:
        raise InputError(f"split {part}: none of the {len(bags)} bags belongs to it; use --split all")
    return chosen
