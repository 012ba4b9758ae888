# SPDX-License-Identifier: Apache-2.0
"""Recipes in older names go on working wherever they come from, and the user hears of each name once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from short_run import short_recipe

from dd_ros.errors import InputError
from dd_ros.resources import shared_file
from dd_ros.settings import merged, read_yaml
from dd_ros_training.experiments.study.rows import kept_recipe, same_asked
from dd_ros_training.experiments.study.settings import Study, recipe_of
from dd_ros_training.finetune import Plan
from dd_ros_training.kept import finished, kept_stage
from dd_ros_training.recipe import Recipe
from dd_ros_training.renamed import RENAMED

ENTRIES: dict[str, Any] = short_recipe(3, batch_size=2, validate_every=50).model_dump(mode="json")
# Part of a recipe, older name, today's, and a value that is not the default.
OLD_NAMES = [
    ("network", "carry", "condition_on_previous_frame", False),
    ("network", "reach", "max_trained_step", 12),
    *(
        (stage, old, new, value)
        for stage in ("autoencoder", "teacher", "distillation")
        for old, new, value in (("rate", "learning_rate", 0.25), ("average", "ema_decay", 0.5))
    ),
    ("distillation", "least_error", "error_floor", 0.25),
    ("distillation", "scores_from", "dmd_start", 0.25),
    ("distillation", "pictures_from", "pixel_loss_start", 0.25),
    ("distillation", "structure", "ssim", 0.25),
]


def write(path: Path, entries: Any) -> Path:
    path.write_text(yaml.safe_dump(entries))
    return path


def without(part: str, name: str) -> dict[str, Any]:
    """The recipe's entries but this one."""
    return ENTRIES | {part: {key: value for key, value in ENTRIES[part].items() if key != name}}


def warning(old: str, new: str, source: Path) -> str:
    return f"{source}: {old} is called {new} now; the older name still works\n"


def test_the_list_has_all_old_names() -> None:
    listed = {(part, old): new for part, names in RENAMED.items() for old, new in names.items()}
    assert listed == {(part, old): new for part, old, new, _ in OLD_NAMES}


@pytest.mark.parametrize(("part", "old", "new", "value"), OLD_NAMES)
def test_an_old_name_works_and_the_new_one_is_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, old: str, new: str, value: Any
) -> None:
    path = write(tmp_path / "recipe.yaml", merged(without(part, new), {part: {old: value}}))
    expected = Recipe.model_validate(merged(ENTRIES, {part: {new: value}}))
    assert expected != Recipe.model_validate(ENTRIES)
    assert read_yaml(path, Recipe) == expected
    assert capsys.readouterr().err == warning(old, new, path)


@pytest.mark.parametrize(("part", "old", "new", "value"), OLD_NAMES)
def test_the_later_file_wins_by_whichever_name(
    tmp_path: Path, part: str, old: str, new: str, value: Any
) -> None:
    today = write(tmp_path / "today.yaml", ENTRIES)
    on_top = write(tmp_path / "on_top.yaml", {part: {old: value}})
    assert getattr(getattr(read_yaml(today, Recipe, [on_top]), part), new) == value
    older = write(tmp_path / "older.yaml", merged(without(part, new), {part: {old: value}}))
    on_top = write(tmp_path / "on_top.yaml", {part: {new: ENTRIES[part][new]}})
    assert read_yaml(older, Recipe, [on_top]) == Recipe.model_validate(ENTRIES)


@pytest.mark.parametrize(("part", "old", "new", "value"), OLD_NAMES)
def test_changes_of_a_study_win_over_its_base_by_old_names_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, old: str, new: str, value: Any
) -> None:
    row = {"title": "a row", "kind": "rival", "changes": {part: {old: value}}}
    path = write(tmp_path / "study.yaml", {"base": ENTRIES, "variants": {"one": row, "two": row}})
    study = read_yaml(path, Study)
    for name, variant in study.variants.items():
        assert getattr(getattr(recipe_of(study.base, variant, name=name), part), new) == value
    assert capsys.readouterr().err == warning(old, new, path)


def test_one_line_for_a_name_that_is_there_several_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = dict(ENTRIES)
    for stage in ("autoencoder", "teacher", "distillation"):
        entries = {**entries, stage: {"rate": 0.1, **without(stage, "learning_rate")[stage]}}
    path = write(
        tmp_path / "study.yaml", {"base": entries, "variants": {"one": {"title": "x", "kind": "rival"}}}
    )
    read_yaml(path, Study)
    assert capsys.readouterr().err == warning("rate", "learning_rate", path)


@pytest.mark.parametrize(
    ("part", "entry", "message"),
    [
        ("teacher", "pace", r"teacher\.pace: Extra inputs"),
        ("teacher", "structure", r"teacher\.structure: Extra inputs"),  # never was one of the teacher's
        ("network", "rate", r"network\.rate: Extra inputs"),
        ("autoencoder", "rate", "autoencoder: rate is the older name of learning_rate; .* got both"),
    ],
)
def test_wrong_entries_are_named(tmp_path: Path, part: str, entry: str, message: str) -> None:
    path = write(tmp_path / "recipe.yaml", merged(ENTRIES, {part: {entry: 0.1}}))
    with pytest.raises(InputError, match=rf"recipe\.yaml: {message}"):
        read_yaml(path, Recipe)


def test_wrong_changes_of_a_study_are_named(tmp_path: Path) -> None:
    row = {"title": "a row", "kind": "rival", "changes": {"distillation": {"pace": 1}}}
    path = write(tmp_path / "study.yaml", {"base": ENTRIES, "variants": {"one": row}})
    study = read_yaml(path, Study)
    with pytest.raises(InputError, match=r"variant one: distillation\.pace: Extra inputs"):
        recipe_of(study.base, study.variants["one"], name="one")


@pytest.mark.parametrize("entries", [None, 3, ["rate"], {"base": 3, "variants": 4}, {"variants": {"one": 5}}])
def test_what_is_no_recipe_at_all_is_said(tmp_path: Path, entries: Any) -> None:
    path = write(tmp_path / "it.yaml", entries)
    for kind in (Recipe, Study, Plan):
        with pytest.raises(InputError, match=r"it\.yaml: "):
            read_yaml(path, kind)


def test_shipped_recipes_have_todays_names(capsys: pytest.CaptureFixture[str]) -> None:
    recipes = sorted(shared_file("config/training/g1_pick.yaml").parent.glob("*.yaml"))
    assert len(recipes) >= 4
    for recipe in recipes:
        read_yaml(recipe, Recipe)
    study = shared_file("config/study.yaml")
    read_yaml(study, Study, [shared_file("config/study_gpu.yaml")])
    assert capsys.readouterr().err == ""


def in_old_names(entries: dict[str, Any]) -> dict[str, Any]:
    """A recipe's entries as older versions wrote them."""
    for part, names in RENAMED.items():
        olds = {new: old for old, new in names.items()}
        entries = entries | {part: {olds.get(name, name): value for name, value in entries[part].items()}}
    return entries


def test_what_older_versions_kept_is_read_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, old = Recipe.model_validate(ENTRIES), in_old_names(ENTRIES)
    assert "rate" in old["teacher"]
    plan = {"bags": ["a"], "init": "pusht", "max_minutes": 1.0, "shift": 0.0}
    assert read_yaml(write(tmp_path / "plan.yaml", plan | {"recipe": old}), Plan).recipe == recipe
    assert kept_recipe(write(tmp_path / "recipe.yaml", old)) == recipe
    asked = {"title": "x", "changes": {"distillation": {"ssim": 0.0}}}
    was_asked = {"title": "x", "changes": {"distillation": {"structure": 0.0}}}
    assert same_asked(was_asked, asked, tmp_path)
    assert not same_asked(was_asked, asked | {"changes": {}}, tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stage", ["autoencoder", "teacher", "distillation"])
def test_a_stage_that_an_older_version_finished_is_finished(tmp_path: Path, stage: str) -> None:
    recipe = getattr(Recipe.model_validate(ENTRIES), stage)
    path, value = tmp_path / f"{stage}.pt", torch.ones(2)
    old = {"transformer.place.project.weight": value, "autoencoder.mean": value}
    torch.save({"recipe": in_old_names(ENTRIES)[stage], "weights": old}, path)
    weights = finished(path, recipe)
    assert weights is not None
    assert set(weights) == {"transformer.position_embedding.project.weight", "autoencoder.mean"}
    assert kept_stage(path)[1].keys() == weights.keys()
    assert finished(path, recipe.model_copy(update={"learning_rate": 0.5})) is None
