# SPDX-License-Identifier: Apache-2.0
"""What the stages leave in a work folder: a resume file while they run, and their weights when they ended.

Files of older versions are read in today's names. Nothing is read from a folder that somebody else may write to.
"""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from dd_ros.checkpoint import Model
from dd_ros.errors import InputError
from dd_ros.upgrades import FORMAT, upgraded_weight
from dd_ros_training.recipe import StageRecipe
from dd_ros_training.renamed import Renaming


def own_folder(work: Path) -> None:
    """Make the work folder, if need be, and see that nobody else has written or may write to it.

    Raises:
        InputError: it cannot be made; or it, or something in it, is another user's or may be written by all.
    """
    try:
        work.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask
        for path in (work, *work.rglob("*")):
            about = path.stat() if path == work else path.lstat()
            if about.st_uid != os.geteuid():
                raise InputError(f"{path}: is another user's; nothing is read from it: choose another --out")
            if about.st_mode & stat.S_IWOTH and not stat.S_ISLNK(about.st_mode):
                raise InputError(
                    f"{path}: anybody may write to it; if you trust what it holds, run 'chmod -R go-w {work}', "
                    "else choose another --out"
                )
    except OSError as error:
        raise InputError(f"{work}: cannot be written ({error.strerror}); choose another --out") from error


def resume_file(path: Path) -> Path | None:
    """``path`` where an earlier run left a resume file there.

    Raises:
        InputError: it is damaged, or holds more than numbers, names and tensors.
    """
    if not path.exists():
        return None
    load(path, mmap=True)  # reads hardly more than the names
    return path


def load(path: Path, *, mmap: bool = False) -> Any:
    """What a file of a stage holds: numbers, names and tensors (on the CPU), and never code.

    Raises:
        InputError: it is damaged, or holds something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: is no resume file ({reason}); remove it to begin its stage anew"
        ) from error


def scores_in(path: Path) -> tuple[float, ...]:
    """The scores of all validations of a stage, in order, of its resume file; none where there is no such file."""
    return tuple(load(path, mmap=True)["stage"].get("history", ())) if path.exists() else ()


@rank_zero_only
def finish(path: Path, recipe: StageRecipe, model: Model) -> None:
    """Keep the weights a stage ended with, and what it was asked to do; InputError on a full disk."""
    staging = path.with_suffix(".tmp")
    try:
        torch.save({"format": FORMAT, "recipe": recipe.model_dump(), "weights": model.state_dict()}, staging)
        staging.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        staging.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error}); make room and repeat the command") from error


def kept_stage(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Entries of the recipe, and weights, of the stage that ended with the file ``path``, by today's names."""
    kept = load(path)
    if not isinstance(kept, dict) or not {"weights", "recipe"} <= kept.keys():
        raise InputError(f"{path}: expected weights and recipe of a stage; remove it to begin its stage anew")
    number = kept.get("format", 1)
    weights = {upgraded_weight(name, number): value for name, value in kept["weights"].items()}
    return Renaming(str(path)).part(path.stem, kept["recipe"]), weights


def finished(path: Path, recipe: StageRecipe) -> dict[str, Tensor] | None:
    """Weights of a stage that ended by this very recipe, if there are any; a longer one goes on.

    Entries that the recipe had not when the stage ran count as their defaults.
    """
    if not path.exists():
        return None
    entries, weights = kept_stage(path)
    defaults = {name: field.default for name, field in type(recipe).model_fields.items()}
    return weights if defaults | entries == recipe.model_dump() else None
