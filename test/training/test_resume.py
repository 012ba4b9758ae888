# SPDX-License-Identifier: Apache-2.0
"""Resume files hold nothing but numbers, names and tensors, no network that is not trained, and are read for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from short_run import short_recipe

from dd_ros.data.bags import find_bags
from dd_ros.errors import InputError
from dd_ros_training.run import Run

NO_SCORES = {"matching": 0.0, "motion": 0.0}


def distill(bags: Path, folder: Path, steps: int, **changes: float) -> dict[str, Any]:
    """What the resume file holds after the distillation of untrained networks up to ``steps`` in ``folder``."""
    recipe = short_recipe(steps, batch_size=2, validate_every=50)
    distillation = recipe.distillation.model_copy(update=changes)
    run = Run(recipe.model_copy(update={"distillation": distillation}), find_bags([bags]), work=folder)
    run.train(["distillation"], run.fresh())
    return torch.load(folder / "distillation" / "last.ckpt", weights_only=True)


def parts(state: dict[str, Any]) -> set[str]:
    return {name.partition(".")[0] for name in state["state_dict"]}


def test_scores_are_kept_where_they_are_used_alone(robot_bags: Path, tmp_path: Path) -> None:
    scored = distill(robot_bags, tmp_path / "scored", 2)
    plain = distill(robot_bags, tmp_path / "plain", 2, **NO_SCORES)
    assert parts(scored) == {"model", "averaged", "teacher", "critic"}
    assert parts(plain) == {"model", "averaged"}
    sizes = [(tmp_path / name / "distillation" / "last.ckpt").stat().st_size for name in ("plain", "scored")]
    assert sizes[0] < 0.75 * sizes[1]
    assert len(plain["optimizer_states"]) < len(scored["optimizer_states"])


def as_format_1(path: Path) -> None:
    """Give what a resume file holds the names that older versions wrote, which always had teacher and critic."""
    state = torch.load(path, weights_only=True)
    del state["format"]
    for entries in (state["state_dict"], state["stage"]["best"]):
        for name in list(entries):
            if "position_embedding" in name:
                entries[name.replace("position_embedding", "place")] = entries.pop(name)
    assert any(name.startswith("critic.place.") for name in state["state_dict"])
    for optimizer in state["optimizer_states"]:
        for group in optimizer["param_groups"]:
            group["peak"] = group.pop("base_lr")
    torch.save(state, path)


@pytest.mark.parametrize("changes", [{}, NO_SCORES], ids=["scored", "plain"])
def test_a_resume_file_of_an_older_version_goes_on(
    robot_bags: Path, tmp_path: Path, changes: dict[str, float]
) -> None:
    before = distill(robot_bags, tmp_path, 2)
    as_format_1(tmp_path / "distillation" / "last.ckpt")
    state = distill(robot_bags, tmp_path, 4, **changes)
    assert state["stage"]["steps"] == 4
    assert state["global_step"] > before["global_step"]
    assert not any("place" in name for name in state["state_dict"])
    assert ("critic" in parts(state)) == (not changes)


def test_scores_cannot_join_a_run_that_began_without_them(robot_bags: Path, tmp_path: Path) -> None:
    distill(robot_bags, tmp_path, 2, **NO_SCORES)
    with pytest.raises(
        InputError, match=r"last\.ckpt: made without matching and motion, .*remove it to begin"
    ):
        distill(robot_bags, tmp_path, 4)


class Other:
    """Something that no resume file holds."""


def test_what_is_no_resume_file_is_named(robot_bags: Path, tmp_path: Path) -> None:
    path = tmp_path / "distillation" / "last.ckpt"
    path.parent.mkdir()
    for content in (b"", b"no torch file", Other()):
        path.write_bytes(content) if isinstance(content, bytes) else torch.save({"stage": content}, path)
        with pytest.raises(InputError, match=r"last\.ckpt: is no resume file \(.*remove it to begin"):
            distill(robot_bags, tmp_path, 2)
