# SPDX-License-Identifier: Apache-2.0
"""Which bags are for validation: by number, by position, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from dd_ros.data.split import SplitRule, select, split
from dd_ros.errors import InputError

NUMBERED = [Path(f"logs/episode_{number:06d}") for number in (1, 4, 9, 10)]
NAMED = [Path("kitchen"), Path("hall.mcap"), Path("2026.05.01"), Path("garden")]


def validation(bags: list[Path], **rule: object) -> list[str]:
    """Names of the validation bags; training has all others, in their order."""
    train, held = split(bags, SplitRule.model_validate(rule))
    assert train == [bag for bag in bags if bag not in held]
    return [bag.name for bag in held]


def test_by_default_a_sixth_by_number() -> None:
    assert validation(NUMBERED) == ["episode_000004", "episode_000010"]
    assert validation(NUMBERED[::-1]) == ["episode_000010", "episode_000004"]
    assert split(NUMBERED) == split(NUMBERED, SplitRule(every=6, remainder=4))


def test_another_number() -> None:
    assert validation(NUMBERED, every=3, remainder=0) == ["episode_000009"]
    assert validation(NUMBERED, every=2, remainder=1) == ["episode_000001", "episode_000009"]


def test_bags_without_a_number_go_by_position() -> None:
    assert validation([Path(name) for name in "abcdefg"]) == ["e"]
    assert validation([Path(name) for name in "abcdefg"], every=2, remainder=1) == ["b", "d", "f"]


def test_neither_part_is_empty_where_there_are_two_bags() -> None:
    assert validation(NUMBERED[:1]) == []
    assert validation(NUMBERED[1:2] + NUMBERED[3:]) == ["episode_000010"]  # both numbers say so
    assert validation(NUMBERED[::2]) == ["episode_000009"]  # neither does
    assert validation(NUMBERED, every=1, remainder=0) == ["episode_000010"]


def test_by_name_and_no_others() -> None:
    assert validation(NUMBERED, validation=["episode_000009"]) == ["episode_000009"]
    assert validation(NAMED, validation=["garden", "hall", "2026.05.01"]) == [
        "hall.mcap", "2026.05.01", "garden",
    ]  # fmt: skip
    assert validation(NAMED, validation=["hall.mcap"]) == ["hall.mcap"]


def test_names_that_are_not_there_or_are_all_there_are() -> None:
    with pytest.raises(InputError, match=r"no bag is called attic; there are kitchen, hall\.mcap, .*garden$"):
        split(NAMED, SplitRule(validation=("garden", "attic")))
    with pytest.raises(InputError, match=r"there are a, b, c, d, e and 2 more"):
        split([Path(name) for name in "abcdefg"], SplitRule(validation=("attic",)))
    with pytest.raises(InputError, match="bags to train on, got all 1"):
        split(NAMED[:1], SplitRule(validation=("kitchen",)))


@pytest.mark.parametrize(
    "rule", [{"every": 0}, {"every": 3, "remainder": 3}, {"remainder": -1}, {"validation": []}, {"each": 6}]
)
def test_a_rule_that_makes_no_sense(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SplitRule.model_validate(rule)


def test_select() -> None:
    assert select(NUMBERED, "all") == NUMBERED
    assert (select(NUMBERED, "train"), select(NUMBERED, "validation")) == split(NUMBERED)
    rule = SplitRule(validation=("episode_000001",))
    assert select(NUMBERED, "validation", rule) == NUMBERED[:1]
    with pytest.raises(InputError, match="use --split all"):
        select(NUMBERED[:1], "validation")
