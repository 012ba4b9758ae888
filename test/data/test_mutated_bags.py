# SPDX-License-Identifier: Apache-2.0
"""Bags with bytes flipped, cut out, swapped and zeroed: whatever comes of one, it is said by our own errors.

The tests look at few; by hand, for 1,000 of each kind of recording (some minutes):

    MUTANTS=1000 python -m pytest test/data/test_mutated_bags.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from bag_writer import SPEC, robot_messages, write_bag

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report

SMALL = SPEC.model_copy(update={"width": 16, "height": 16})
MUTANTS = int(os.environ.get("MUTANTS", "50"))  # of each kind of recording; half as many of its metadata


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """``data`` with one to four changes."""
    for _ in range(int(rng.integers(1, 5))):
        size = len(data)
        first, second = sorted(int(place) for place in rng.integers(0, max(size, 1), 2))
        length = int(rng.integers(1, 64))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            data = data[:first] + bytes(rng.integers(0, 256, length, np.uint8)) + data[first + length :]
        elif kind == 1:
            data = data[:second]
        elif kind == 2:
            data = data[:first] + data[first + length :]
        elif kind == 3:
            data = data[:first] + data[second : second + length] + data[first + length :]
        elif kind == 4:
            data = data[:first] + bytes(length) + data[first + length :]
        else:
            flipped = bytearray(data)
            flipped[min(first, size - 1) : min(first, size - 1) + 1] = bytes(
                [1 << int(rng.integers(0, 8))]
            ) * bool(size)
            data = bytes(flipped)
    return data


@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize(
    ("storage", "zstd"), [("mcap", False), ("mcap", True), ("sqlite3", False), ("sqlite3", True)]
)
def test_only_our_own_errors_each_naming_the_bag(
    tmp_path: Path, storage: str, zstd: bool, metadata: bool
) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(8, width=16, height=16), storage, zstd)
    target = bag / "metadata.yaml" if metadata else next(p for p in bag.iterdir() if p.suffix != ".yaml")
    whole = target.read_bytes()
    rng = np.random.default_rng([zstd, metadata, len(storage)])
    usable = 0
    for number in range(MUTANTS // 2 if metadata else MUTANTS):
        target.write_bytes(mutated(whole, rng))
        for look in (
            lambda problems: read_episodes(find_bags([bag])[0], SMALL, problems),
            lambda problems: inspect_bag(bag),
        ):
            problems, said = Report(), []
            try:
                look(problems)
                usable += 1
            except InputError as error:
                said.append(str(error))
            assert all(str(bag) in line and "\n" not in line for line in [*said, *problems]), (number, said)
    assert usable
