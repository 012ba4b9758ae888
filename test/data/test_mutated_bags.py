# SPDX-License-Identifier: Apache-2.0
"""Bags with bytes flipped, cut out, swapped and zeroed: whatever comes of one, it is said by our own errors.

The tests look at few; `make fuzz`, some minutes, at 1,000 of each kind of recording and half as many of its metadata.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_writer import SPEC, robot_messages, write_bag
from mutants import MUTANTS, mutated

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report

SMALL = SPEC.model_copy(update={"width": 16, "height": 16})


@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize(
    ("storage", "zstd"), [("mcap", False), ("mcap", True), ("sqlite3", False), ("sqlite3", True)]
)
def test_only_our_own_errors_each_naming_the_bag(
    tmp_path: Path, storage: str, zstd: bool, metadata: bool
) -> None:
    bag = write_bag(tmp_path / "bag", robot_messages(8, width=16, height=16), storage, zstd)
    seed = np.random.default_rng([zstd, metadata, len(storage)])
    check(bag, seed, MUTANTS // 2 if metadata else MUTANTS, metadata=metadata)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_same_of_videos(tmp_path: Path, codec: str) -> None:
    """Bytes of the packets may be anything, and their decoders are large."""
    pytest.importorskip("av", reason="needs the extra video")
    from video_packets import LIVE, encoded, video_messages

    encoder = "libx264" if codec == "h264" else "libx265"
    options = LIVE if codec == "h264" else {"x265-params": "keyint=10:bframes=0:log-level=none"}
    messages = video_messages(encoded(16, encoder, **options), codec=codec)
    check(write_bag(tmp_path / "bag", messages), np.random.default_rng(len(codec)), MUTANTS // 5)


def check(bag: Path, rng: np.random.Generator, count: int, *, metadata: bool = False) -> None:
    """Look at mutants of a bag's only file, or of its metadata."""
    target = bag / "metadata.yaml" if metadata else next(p for p in bag.iterdir() if p.suffix != ".yaml")
    whole = target.read_bytes()
    usable = 0
    for number in range(count):
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
