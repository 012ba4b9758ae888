# SPDX-License-Identifier: Apache-2.0
"""A work folder is read if it is the user's own, and nothing in it is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from dd_ros.errors import InputError
from dd_ros_training.finetune import claim
from dd_ros_training.kept import finished, own_folder, resume_file
from dd_ros_training.recipe import StageRecipe


def test_a_folder_is_made_for_its_owner_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        work = claim(tmp_path / "mine")
    finally:
        os.umask(before)
    assert work.stat().st_mode & 0o022 == 0
    own_folder(work)


@pytest.mark.parametrize("part", [".", "plan.yaml", "teacher/last.ckpt"])
def test_what_anybody_may_write_to_is_refused(tmp_path: Path, part: str) -> None:
    work = claim(tmp_path / "mine")
    (work / "teacher").mkdir(mode=0o755)
    for name in ("plan.yaml", "teacher/last.ckpt"):
        (work / name).write_bytes(b"\x80 not to be read")
        (work / name).chmod(0o644)
    own_folder(work)
    (work / part).chmod(0o777)
    with pytest.raises(InputError, match=rf"anybody may write to it; .*'chmod -R go-w {work}', else .*--out"):
        claim(tmp_path / "mine")


def test_what_is_another_users_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path / "mine")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match=r"mine\.work: is another user's; nothing is read .*--out"):
        claim(tmp_path / "mine")


class Code:
    """Runs when it is unpickled by who runs what a file says."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_file_of_a_stage_runs_code(tmp_path: Path) -> None:
    recipe = StageRecipe(minutes=1.0)
    for name, keep in (
        ("zip.pt", torch.save),
        ("plain.pt", lambda code, path: path.write_bytes(pickle.dumps(code))),
    ):
        path = tmp_path / name
        keep({"weights": Code(tmp_path / "ran"), "recipe": {}}, path)
        for read in (resume_file, lambda path: finished(path, recipe)):
            with pytest.raises(InputError, match=rf"{name}: is no resume file"):
                read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[], {"weights": {}}, 3])
def test_what_is_no_stage_is_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "teacher.pt")
    with pytest.raises(InputError, match=r"teacher\.pt: expected weights and recipe of a stage; remove it"):
        finished(tmp_path / "teacher.pt", StageRecipe(minutes=1.0))
