# SPDX-License-Identifier: Apache-2.0
"""Data sets with damage in any of their files: whatever comes of one, it is said by our own errors.

The tests look at few; `make fuzz`, some minutes, at 1,000 of each kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lerobot_writer import CAMERA, Writer
from mutants import MUTANTS, mutated

from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.lerobot import index_bag
from dd_ros.data.lerobot.episodes import reader_at
from dd_ros.data.stream_choice import choose_streams
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import StreamSpec, parse_actions

SPEC = StreamSpec(image_topic=CAMERA, actions=parse_actions(["action"]), rate_hz=10.0, width=16, height=16)


def read(folder: Path, problems: Report) -> int:
    return sum(len(read_episodes(bag, SPEC, problems)) for bag in find_bags([folder]))


def train(folder: Path, problems: Report) -> int:
    episodes = [episode for bag in find_bags([folder]) for episode in index_bag(bag, SPEC, problems)]
    for episode in episodes:
        episode.frames(0, len(episode))
    return len(episodes)


def describe(folder: Path, problems: Report) -> int:
    bags = find_bags([folder])
    choose_streams(bags, CAMERA, parse_actions(["action"]), problems=problems)
    return len(bags)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("dtype", ["video", "image"])
def test_only_our_own_errors_each_naming_the_set(tmp_path: Path, version: str, dtype: str) -> None:
    folder = Writer(tmp_path / "set", (5, 4), version, dtype, fps=10, per_file=2).write()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng([len(dtype), int(version[1])])
    usable = 0
    for number in range(MUTANTS):
        target = files[number % len(files)]
        whole = target.read_bytes()
        target.write_bytes(mutated(whole, rng))
        for look in (read, train, describe):
            problems, said = Report(), []
            reader_at.cache_clear()
            try:
                usable += look(folder, problems) > 0
            except InputError as error:
                said.append(str(error))
            assert all(str(folder) in line and "\n" not in line for line in [*said, *problems]), (
                number,
                said,
            )
        target.write_bytes(whole)
    assert usable
