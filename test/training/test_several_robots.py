# SPDX-License-Identifier: Apache-2.0
"""One checkpoint of several robots, through the command that makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from short_run import short_recipe

from dd_ros.checkpoint import load_checkpoint
from dd_ros.data.bags import find_bags
from dd_ros.errors import InputError
from dd_ros.resources import read_about
from dd_ros.settings import read_yaml, write_yaml
from dd_ros_training.adopt import FIRST
from dd_ros_training.data.camera import CameraMoves
from dd_ros_training.finetune import finetune
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import Run
from dd_ros_training.train import main


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    short = short_recipe(2, batch_size=2, validate_every=2)
    (source,) = short.streams.actions
    known = short.streams.model_copy(update={"actions": (source.model_copy(update={"dim": 2}),)})
    robots = {"arm": known, "away": known, "car": known}
    path = tmp_path / "several.yaml"
    write_yaml(path, short.model_copy(update={"robots": robots, "camera": CameraMoves(share=0.5)}))
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=True)
    return result.exit_code, result.output + str(result.exception or "")


def test_several_robots_make_one_checkpoint(
    recipe: Path, robot_bags: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out, arm = tmp_path / "base", tmp_path / "arm"
    arm.symlink_to(tiny_checkpoint)
    status, said = run(
        recipe, "--out", out, "--bags", f"arm={robot_bags}", "--bags", f"car={robot_bags}", "--adopt", arm,
        "--stage", "autoencoder", "--stage", "distillation",
    )  # fmt: skip
    assert status == 0, said
    config, model = load_checkpoint(out)
    assert config.action.dim == 3 * 2 + 4
    assert config.action.mean[2:4] == (0.0, 0.0)  # no bags of the second
    assert config.action.mean[:2] == config.action.mean[4:6]
    assert model.state_dict()[f"{FIRST}.weight"].shape[1] == 10 * 10
    card = (out / "README.md").read_text()
    assert [name in card for name in ("| arm | ", "| car | ", "| away | ")] == [True, True, False]
    assert "4 bags, 120 model steps" in card
    assert "from the weights of `arm`." in card  # not where it lay
    assert set(read_about(out).robots) == {"arm", "car"}


@pytest.mark.parametrize("given", ["boat={bags}", "{bags}", "arm="])
def test_bags_of_no_robot_are_refused(recipe: Path, robot_bags: Path, tmp_path: Path, given: str) -> None:
    status, said = run(recipe, "--out", tmp_path / "base", "--bags", given.format(bags=robot_bags))
    assert status != 0
    assert (
        f"--bags: expected ROBOT=FOLDER with one of arm, away, car, got {given.format(bags=robot_bags)}"
        in said
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"robots": {}}, "camera: expected robots beside it"),
        ({"width": 64}, "robots: expected images of .* as in streams, got 64x32 of arm"),
        ({"dim": None}, "robots: expected a dim for each action topic of arm"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(recipe: Path, change: dict, expected: str) -> None:
    entries = yaml.safe_load(recipe.read_text())
    if "robots" in change:
        entries |= change
    elif "width" in change:
        entries["robots"]["arm"] |= change
    else:
        entries["robots"]["arm"]["actions"][0] |= change
    with pytest.raises(ValueError, match=expected):
        Recipe.model_validate(entries)


def test_a_recipe_of_several_robots_does_not_take_the_bags_of_one(
    recipe: Path, robot_bags: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Else the command of the moving views would overwrite its own."""
    with pytest.raises(
        InputError, match="recipe small: trains several robots, expected the bags of each by its name"
    ):
        finetune(
            [robot_bags], image_topic="/camera/image_raw", actions=["/action"], out=tmp_path / "own", config=recipe,
            init=str(tiny_checkpoint),
        )  # fmt: skip
    with pytest.raises(InputError, match="recipe small: trains several robots"):
        Run(read_yaml(recipe, Recipe), find_bags([robot_bags]), work=tmp_path / "work")
