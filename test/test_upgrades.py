# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of any format that ever was loads, and predicts what it predicted when it was made."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from dd_ros import Predictor
from dd_ros.checkpoint import load_checkpoint, save_checkpoint
from dd_ros.errors import InputError
from dd_ros.resources import CONFIG, read_config
from dd_ros.upgrades import FORMAT, UPGRADES, upgraded_config, upgraded_weight

# Each folder holds a tiny checkpoint as that format had it, and what it predicted from these inputs.
FIXTURES = sorted((Path(__file__).parent / "checkpoints").glob("format_*"))


def predicted(folder: Path) -> np.ndarray:
    predictor = Predictor(*load_checkpoint(folder))
    random = np.random.default_rng(0)
    for step in range(2):
        image = random.integers(0, 256, (32, 48, 3), np.uint8)
        predictor.observe(image, step * predictor.step_ns, [0.1 * step, -0.2])
    return predictor.predict(random.normal(size=(8, 2)).astype(np.float32))


def test_every_older_format_has_a_step_and_a_fixture() -> None:
    older = list(range(1, FORMAT))
    assert sorted(UPGRADES) == older
    assert [int(folder.name.removeprefix("format_")) for folder in FIXTURES] == older


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_an_older_checkpoint_predicts_as_it_did(folder: Path, tmp_path: Path) -> None:
    frames = np.load(folder / "frames.npz")["frames"]
    difference = np.abs(predicted(folder).astype(int) - frames)
    assert difference.max() <= 1  # a machine may round otherwise
    config, model = load_checkpoint(folder)
    assert config == read_config(folder)
    save_checkpoint(tmp_path / "new", config, model, card="upgraded")
    entries = yaml.safe_load((tmp_path / "new" / CONFIG).read_text())
    assert entries["format"] == FORMAT
    assert np.array_equal(predicted(tmp_path / "new"), predicted(folder))


def test_names_of_format_2() -> None:
    old = {"name": "x", "transformer": {"width": 32, "reach": 8, "carry": True}}
    new = upgraded_config(old, Path(CONFIG))
    assert list(new) == ["format", "name", "transformer"]
    assert new["transformer"] == {"width": 32, "max_trained_step": 8, "condition_on_previous_frame": True}
    assert upgraded_config(new, Path(CONFIG)) == new
    name = "transformer.position_embedding.project.weight"
    assert upgraded_weight("transformer.place.project.weight", 1) == name == upgraded_weight(name, 2)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (FORMAT + 1, rf"later version of dd_ros \(format {FORMAT + 1}, this one reads up to {FORMAT}\)"),
        (0, "expected a number from 1"),
        ("two", "expected a number from 1"),
        (True, "expected a number from 1"),
    ],
)
def test_an_unknown_format_is_named(
    tiny_checkpoint: Path, tmp_path: Path, number: object, message: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, folder)
    entries = yaml.safe_load((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(yaml.safe_dump(entries | {"format": number}))
    for read in (read_config, load_checkpoint):
        with pytest.raises(InputError, match=rf"config\.yaml: .*{message}"):
            read(folder)


def test_a_format_1_with_odd_entries_is_named(tmp_path: Path) -> None:
    for text in ("transformer: 3\n", "[1, 2]\n", "transformer: [reach]\n"):
        (tmp_path / CONFIG).write_text(text)
        with pytest.raises(InputError, match=r"config\.yaml: "):
            read_config(tmp_path)
