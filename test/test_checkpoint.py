# SPDX-License-Identifier: Apache-2.0
"""A checkpoint comes back as it was saved; a damaged one says which file and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from tiny import random_model, tiny_config

from dd_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from dd_ros.config import Schedule
from dd_ros.diffusion.schedule import preset
from dd_ros.errors import InputError
from dd_ros.resources import CARD, CONFIG, WEIGHTS, find_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    schedule = Schedule(chunk_frames=2, levels=((1.0, 0.9, 0.3571), (1.0, 0.3571), (1.0,)), guidance=0.5)
    config = tiny_config(schedule=schedule)
    model = random_model(config)
    save_checkpoint(tmp_path / "saved", config, model, card="a card")
    loaded_config, loaded = load_checkpoint(tmp_path / "saved")
    assert loaded_config == config
    assert (tmp_path / "saved" / CARD).read_text() == "a card"
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    config = tiny_config()
    for name in ("first", "second"):
        save_checkpoint(
            tmp_path / "saved", config.model_copy(update={"name": name}), Model(config), card=name
        )
    assert load_checkpoint(tmp_path / "saved")[0].name == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_failed_save_leaves_the_old_one(tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = tmp_path / "saved"
    shutil.copytree(tiny_checkpoint, folder)
    config = tiny_config()
    with pytest.raises(TypeError):
        save_checkpoint(folder, config, Model(config), card=None)  # type: ignore[arg-type]
    assert load_checkpoint(folder)[0].name == "tiny"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_missing_name_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="checkpoint 'no_such'"):
        find_checkpoint("no_such")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (CONFIG, b"name: [", "is not YAML"),
        (CONFIG, b"name: x\n", "streams"),
        (WEIGHTS, b"\0" * 40, "damaged"),
        (WEIGHTS, b"", "is empty; copy it again"),
    ],
)
def test_damage_is_named(
    tmp_path: Path, tiny_checkpoint: Path, file: str, content: bytes, message: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{file}: .*{message}") as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_cut_off_or_missing_weights(tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(tiny_checkpoint, folder)
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match="missing"):
        load_checkpoint(folder)


def test_weights_of_another_network(tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, folder)
    text = (folder / CONFIG).read_text().replace("depth: 2", "depth: 3")
    (folder / CONFIG).write_text(text)
    with pytest.raises(InputError, match="does not fit"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "name", ["4-3-2-2", "1", "uniform2", "uniform4_clean_context", "one_step", "teacher"]
)
def test_presets_cover_the_horizon(name: str) -> None:
    schedule = preset(name, 4, 16)
    assert schedule.passes(16) == {
        "4-3-2-2": 11, "1": 4, "uniform2": 8, "uniform4_clean_context": 19, "one_step": 4, "teacher": 100
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", ["5-4", "", "4,3", "fast"])
def test_unknown_presets_say_what_is_expected(name: str) -> None:
    with pytest.raises(InputError, match="expected step counts"):
        preset(name, 4, 16)


@pytest.mark.parametrize("levels", [((0.5,),), ((1.0, 1.0),), ((1.0, 0.0),), ((),), ()])
def test_impossible_levels_are_refused(levels: tuple) -> None:
    with pytest.raises(ValidationError):
        Schedule(chunk_frames=2, levels=levels)
