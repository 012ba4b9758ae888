# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says of itself, for programs: written with it, read within limits, and what its card says too."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from shipped import NAMES
from tiny import random_model, tiny_config

from dd_ros.about import About, Figures
from dd_ros.checkpoint import load_checkpoint, save_checkpoint
from dd_ros.errors import InputError
from dd_ros.resources import ABOUT, CARD, find_checkpoint, read_about

SEVERAL = "base"
RESULT = {
    "windows": 20,
    "episodes": 3,
    "mean": {
        "model": {"psnr": 26.86, "ssim": 0.88, "features": 0.2},
        "copy_last": {"psnr": 22.35, "ssim": 0.8, "features": None},
    },
    "actions": {"true_best_fraction": 0.9},
    "uncertainty": {"rank_correlation": [0.5, None, 0.7]},
}


def test_figures_of_an_evaluation() -> None:
    figures = Figures.of(RESULT)
    assert figures.psnr == {"model": 26.86, "copy_last": 22.35}
    assert figures.above("copy_last") == pytest.approx(4.51)
    assert figures.above("optical_flow") is None
    assert figures.rank_correlation == pytest.approx(0.6)
    unknown = Figures.of(RESULT | {"uncertainty": {"rank_correlation": [None]}})
    assert unknown.rank_correlation is None


def test_notes_are_the_robot_and_then_the_data() -> None:
    about = About(notes="An arm at a table, two cameras. Data from somewhere (MIT licence), held back: 4.")
    assert (about.robot, about.data) == (
        "An arm at a table, two cameras",
        "Data from somewhere (MIT licence), held back: 4.",
    )
    assert (About(notes="An arm.").robot, About(notes="An arm.").data, About().robot) == ("An arm", "", "")


def test_it_is_written_with_the_checkpoint_and_gone_with_it(tmp_path: Path) -> None:
    config, folder = tiny_config(), tmp_path / "saved"
    about = About(notes="A robot. Its data.", figures=Figures.of(RESULT))
    save_checkpoint(folder, config, random_model(config), card="", about=about)
    assert read_about(folder) == about
    load_checkpoint(folder)
    save_checkpoint(folder, config, random_model(config), card="")
    assert read_about(folder) == About()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("notes: [", "is not YAML"),
        ("figures: {windows: 0}", "figures.windows"),
        ("robot: x", "robot: Extra inputs"),
        ("figures: {windows: 1, episodes: 1, psnr: {model: .nan}, ssim: {}, true_best_fraction: 1}", "figures.psnr.model"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / ABOUT).write_text(content)
    with pytest.raises(InputError, match=f"{ABOUT}: {message}"):
        read_about(tmp_path)


def test_the_card_of_several_robots_says_the_same() -> None:
    folder = find_checkpoint(SEVERAL)
    card, about = (folder / CARD).read_text(), read_about(folder)
    assert about.notes in card
    assert about.figures is None
    assert set(about.robots) == {"g1_pick", "droid_scene", "droid_wrist", "car", "pusht"}
    for name, figures in about.robots.items():
        (line,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
        cells = line.strip("| ").split(" | ")
        above = (f"{figures.above(rival):+.2f}" for rival in ("copy_last", "optical_flow"))
        assert [cells[1], cells[2], cells[3], cells[5]] == [
            str(figures.windows),
            f"{figures.psnr['model']:.2f}",
            *above,
        ]
        assert cells[6] == f"{figures.true_best_fraction:.0%}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != SEVERAL])
def test_the_cards_of_the_shipped_ones_say_the_same(name: str) -> None:
    folder = find_checkpoint(name)
    card, about = (folder / CARD).read_text(), read_about(folder)
    assert about.notes in card
    assert set(yaml.safe_load((folder / ABOUT).read_text())) == {"notes", "figures"}
    figures = about.figures
    assert figures is not None
    assert f"{figures.windows} windows of {figures.episodes} held-back episodes" in card
    assert figures.psnr.keys() == figures.ssim.keys() == {"model", "copy_last", "optical_flow"}
    for row, psnr in figures.psnr.items():
        (line,) = [line for line in card.splitlines() if line.startswith(f"| {row} |")]
        cells = line.strip("| ").split(" | ")
        assert (cells[1], cells[-1]) == (f"{psnr:.2f}", f"{figures.ssim[row]:.4f}")
    assert f"in {figures.true_best_fraction:.1%} of the windows" in card
    assert f"alike to {figures.rank_correlation:.2f} (rank correlation)" in card
