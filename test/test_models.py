# SPDX-License-Identifier: Apache-2.0
"""``dd_ros models``: the shipped checkpoints and one's own, each with what it is for and how good it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from shipped import NAMES

from dd_ros.about import About, Figures
from dd_ros.cli import main
from dd_ros.resources import ABOUT, CONFIG, WEIGHTS, find_checkpoint
from dd_ros.settings import write_yaml


def listed(*arguments: object) -> str:
    """What is printed; the command must succeed."""
    found = CliRunner().invoke(main, ["models", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    return found.stdout


def rows(*arguments: object) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Rows by name, and problems, of the JSON."""
    found = json.loads(listed(*arguments, "--json", "-"))
    return {row["name"]: row for row in found["models"]}, found["problems"]


@pytest.fixture
def own(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with a checkpoint of one's own."""
    shutil.copytree(tiny_checkpoint, tmp_path / "own" / "arm")
    return tmp_path / "own"


def test_the_shipped_ones() -> None:
    found, problems = rows()
    assert (tuple(found), problems) == (NAMES, [])
    assert found["car"] == {
        "name": "car", "folder": str(find_checkpoint("car")),
        "robot": "A small RC car on a walled carpet course, driven by hand; one camera on the car",
        "data": "Data from github.com/yuki-shimoda-crypto/Donkey_Car (MIT licence, (c) 2024 Yuki Shimoda), drives whose "
        "number % 6 is 4 held back.",
        "image": {"topic": "/camera/image_raw/compressed", "width": 128, "height": 96, "rate_hz": 10.0},
        "actions": {"sources": ["/cmd_vel.twist.linear.x,twist.angular.z"], "dim": 2, "names": ["throttle", "steering"]},
        "horizon": 16, "horizon_s": 1.6, "readouts": None,
        "figures": {
            "windows": 173, "episodes": 5, "psnr": {"model": 28.75, "copy_last": 22.77, "optical_flow": 21.51},
            "ssim": {"model": 0.8045, "copy_last": 0.6183, "optical_flow": 0.5754}, "true_best_fraction": 0.896,
            "rank_correlation": 0.62, "above_copy_last": 5.98, "above_optical_flow": 7.24,
        },
        "robots": {},
    }  # fmt: skip
    assert found["pusht"]["readouts"]["names"][0] == "position[pusher_x]"


def test_a_person_sees_the_same() -> None:
    shown = " ".join(listed().split())
    for text in (
        "128x96 10 Hz",
        "throttle, steering",
        "1.60 s",
        "+5.98 dB copy last",
        "89.6% true best",
        "MIT licence",
    ):
        assert text in shown, text
    assert "reads off /pusht/state (pusher_x, pusher_y, block_x" in shown
    assert "reads off /joint_states (26 numbers)" in shown


def test_folders_of_ones_own_follow_the_shipped_ones(own: Path) -> None:
    for folder in (own, own / "arm"):
        found, problems = rows(folder)
        assert tuple(found) == (*NAMES, str(own / "arm"))
        assert problems == []
        row = found[str(own / "arm")]
        assert (row["robot"], row["data"], row["figures"]) == ("", "", None)
        assert row["image"]["rate_hz"] == 10.0
    write_yaml(own / "arm" / ABOUT, About(notes="An arm with [red]brackets\x1b[2J. No data."))
    shown = listed(own)
    assert "[red]brackets" in " ".join(shown.split())
    assert "\x1b" not in shown


def test_what_is_damaged_is_named_and_hinders_nothing(own: Path) -> None:
    for name, file, content in (
        ("settings", CONFIG, "name: x\n"),
        ("pointer", WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
        ("about", ABOUT, "figures: {windows: 0}\n"),
    ):
        shutil.copytree(own / "arm", own / name)
        (own / name / file).write_text(content)
    shutil.copytree(own / "arm", own / "bare")
    (own / "bare" / WEIGHTS).unlink()
    (own / ".arm.half").mkdir()  # as a save that was killed leaves it
    (own / ".arm.half" / CONFIG).touch()
    found, problems = rows(own)
    assert [Path(name).name for name in found] == [*NAMES, "about", "arm", "bare", "pointer"]
    for problem, text in zip(
        problems,
        (
            f"{own}/about/{ABOUT}: figures.windows",
            f"{own}/bare/{WEIGHTS}: missing; copy or train the checkpoint again",
            f"{own}/pointer/{WEIGHTS}: is a Git LFS pointer",
            f"{own}/settings/{CONFIG}: streams: Field required",
        ),
        strict=True,
    ):
        assert problem.startswith(text)
        assert problem in listed(own)


def test_a_folder_without_checkpoints_is_a_mistake(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = CliRunner().invoke(main, ["models", str(folder)])
        assert result.exit_code == 2
        assert (
            f"{folder}: no checkpoint there; expected a folder with a {CONFIG}, or one of such"
            in result.stderr
        )


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom dd_ros.cli import main\n"
        "CliRunner().invoke(main, ['models'])\nprint('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_of_several_robots_each_has_its_figures(own: Path) -> None:
    figures = Figures(
        windows=3, episodes=1, psnr={"model": 25.0, "copy_last": 22.5}, ssim={}, true_best_fraction=1.0
    )
    write_yaml(own / "arm" / ABOUT, About(notes="Several. Data.", robots={"leg": figures, "car": figures}))
    text = listed(own)
    assert [name in text for name in ("+2.50 dB leg", "+2.50 dB car")] == [True, True]
    found, problems = rows(own)
    assert problems == []
    assert found[str(own / "arm")]["robots"]["leg"]["above_copy_last"] == 2.5
    assert found[str(own / "arm")]["figures"] is None
