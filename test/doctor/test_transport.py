# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of the transport: images that are really sent, with and without what they need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dd_ros.doctor import transport
from dd_ros.doctor.finding import Level
from dd_ros.resources import shared_file
from dd_ros.ros.transport import VARIABLES, profile_variable

MIB = 1 << 20
PLAIN = {
    name: value
    for name, value in os.environ.items()
    if name not in (*VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")
}


def test_images_of_a_usual_size_arrive_with_our_profile() -> None:
    ours = PLAIN | {profile_variable(): str(shared_file("config/fastdds.xml"))}
    found = transport.images((640, 480), ours)
    assert found.level is Level.OK, found.line
    assert "640x480 rgb8, 0.9 MB: all 20 arrived" in found.text


def test_images_that_are_lost_without_it_are_named_with_the_cure() -> None:
    found = transport.images((1920, 1080), PLAIN)
    assert found.level is Level.WARN, found.line
    assert "of 20 arrived" in found.text
    assert (
        f"give it to the camera driver: export {profile_variable()}={shared_file('config/fastdds.xml')}"
        in found.cure
    )


def test_processes_that_do_not_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "COUNT", 2)
    found = transport.images((16, 16), PLAIN | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"})
    assert found.level is Level.FAIL
    assert "do not find each other; check ROS_AUTOMATIC_DISCOVERY_RANGE" in found.line


def test_a_camera_that_cannot_start() -> None:
    found = transport.images((16, 16), PLAIN | {"RMW_IMPLEMENTATION": "rmw_of_nobody"})
    assert found.level is Level.FAIL
    assert "the program that sends ended with status" in found.text


def test_which_profile_is_used(tmp_path: Path) -> None:
    variable = profile_variable()
    [other] = set(VARIABLES) - {variable}
    ours = shared_file("config/fastdds.xml")
    good = transport.profile({variable: str(ours)})
    assert (good.level, "64 MiB of shared memory for each program" in good.text) == (Level.OK, True)
    none = transport.profile({})
    assert (none.level, "no profile in this shell" in none.text) == (Level.OK, True)
    assert transport.profile({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}).text == "LARGE_DATA (built in)"
    wrong = transport.profile({other: str(ours)})
    assert (wrong.level, wrong.cure) == (Level.WARN, f"set {variable} instead")
    missing = transport.profile({variable: str(tmp_path / "none.xml")})
    assert (missing.level, "not a profile" in missing.text, str(ours) in missing.cure) == (
        Level.FAIL,
        True,
        True,
    )
    (tmp_path / "damaged.xml").write_text("<profiles")
    assert transport.profile({variable: str(tmp_path / "damaged.xml")}).level is Level.FAIL
    small = ours.read_text().replace("67108864", "524288")
    (tmp_path / "small.xml").write_text(small)
    little = transport.profile({variable: str(tmp_path / "small.xml")})
    assert (little.level, "0.5 MiB" in little.text) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("size", "free", "level", "cure"),
    [
        (8192, 8000, Level.OK, ""),
        (64, 63, Level.FAIL, "--shm-size=1g"),  # a container's
        (200, 200, Level.WARN, "--shm-size=1g"),
        (8192, 100, Level.FAIL, "what killed ones left"),
    ],
)
def test_shared_memory(size: int, free: int, level: Level, cure: str) -> None:
    found = transport.judged_memory(size * MIB, free * MIB)
    assert found.level is level
    assert cure in found.cure


def test_shared_memory_of_this_machine(tmp_path: Path) -> None:
    assert "free in /dev/shm" in transport.shared_memory().text
    nowhere = transport.shared_memory(tmp_path / "nowhere")
    assert (nowhere.level, "mount a tmpfs" in nowhere.cure) == (Level.WARN, True)
