# SPDX-License-Identifier: Apache-2.0
"""A checkpoint may come from anywhere: whatever is wrong with it is said in a line that names the file, soon and cheaply.

The tests look at few mutated ones; `make fuzz`, some minutes, at thousands.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from mutants import MUTANTS
from safetensors.torch import load_file, save_file

from dd_ros.checkpoint import load_checkpoint
from dd_ros.commands.inspecting import inspect
from dd_ros.config import CheckpointConfig
from dd_ros.errors import InputError
from dd_ros.resources import CARD, CONFIG, WEIGHTS
from dd_ros.yaml_files import MOST_BYTES, load_yaml

ODD = [
    "-1", "0", "1e300", ".inf", "-.inf", ".nan", "99999999999999999999", "null", "true", "[]", "{}", "''", "'x'",
    "[[1.0]]", "0x7fffffffffffffff", "2001-99-99", "!!binary aa", "!!python/object:os.system x", "4096", "1e-300",
    "9" * 5000, "*a", "&a 1", "- -", "\t", "\x00", "ü", "|\n  text", "!!float x", "1:60:60",
]  # fmt: skip
# Nine lines that stand for a thousand million values.
BOMB = "a: &a [1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefghij")
)


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")


def mutated_text(text: str, chance: random.Random) -> str:
    """A config with one value, key, line or character replaced, doubled or removed."""
    lines = text.splitlines()
    number = chance.randrange(len(lines))
    kind = chance.randrange(6)
    if kind < 3:
        lines[number] = re.sub(r"(: |- )[^:]*$", lambda found: found[1] + chance.choice(ODD), lines[number])
    elif kind == 3:
        lines[number] = chance.choice(["", lines[number] * 2, "  " + lines[number], lines[number].lstrip()])
    elif kind == 4:
        del lines[number : number + chance.randrange(1, 6)]
    else:
        position = chance.randrange(len(text))
        return text[:position] + chance.choice(":-[]{}&*!|>'\"%@`#\n\t\0,") + text[position + 1 :]
    return "\n".join(lines) + "\n"


def mutated_bytes(whole: bytes, chance: random.Random) -> bytes:
    """Weights with some bytes changed, most of them in the header, or cut off, or with more at the end."""
    size = int.from_bytes(whole[:8], "little") + 8
    kind = chance.randrange(6)
    if kind == 0:
        return whole[: chance.randrange(len(whole))]
    if kind == 1:
        return whole + chance.randbytes(chance.randrange(1, 100))
    if kind == 2:  # a number of the header
        header = whole[8:size].decode()
        found = chance.choice(list(re.finditer(r"\d+", header)))
        odd = chance.choice(["0", "1", "99999999999999999999", "4294967296", "-1"])
        header = header[: found.start()] + odd + header[found.end() :]
        return len(header).to_bytes(8, "little") + header.encode() + whole[size:]
    changed = bytearray(whole)
    for _ in range(chance.randrange(1, 9)):
        changed[chance.randrange(size if kind < 5 else len(whole))] = chance.randrange(256)
    return bytes(changed)


def test_mutated_checkpoints_load_or_are_refused_by_name(folder: Path) -> None:
    chance = random.Random(20)
    text, weights = (folder / CONFIG).read_text(), (folder / WEIGHTS).read_bytes()
    refused = list[str]()
    for number in range(6 * MUTANTS):
        (folder / CONFIG).write_text(mutated_text(text, chance) if number % 2 else text)
        (folder / WEIGHTS).write_bytes(weights if number % 2 else mutated_bytes(weights, chance))
        try:
            config, model = load_checkpoint(folder)
        except InputError as error:
            refused.append(str(error))
        else:
            assert isinstance(config, CheckpointConfig)
            assert all(value.isfinite().all() for value in model.state_dict().values())
    assert len(refused) > 3 * MUTANTS
    for text in refused:
        assert str(folder / CONFIG) in text or str(folder / WEIGHTS) in text
        assert "\n" not in text
        assert len(text) < 1000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder: Path, value: float) -> None:
    weights = load_file(folder / WEIGHTS)
    name = sorted(weights)[3]
    weights[name].view(-1)[0] = value
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(InputError, match=rf"safetensors: expected numbers, got NaN or infinity in {name}"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("entry", "value", "problem"),
    [
        ("streams.rate_hz", float("inf"), "rate_hz: "),
        ("streams.rate_hz", 1e9, "rate_hz: .* less than or equal to 1000"),
        ("streams.rate_hz", 1e-30, "rate_hz: "),
        ("streams.width", 160000, "width: "),
        ("transformer.width", 2**20, "width: "),
        ("transformer.width", 4096, r"\(size mismatch"),
        ("transformer.depth", 10**9, "depth: "),
        ("autoencoder.coarse_width", 4096, r"\(size mismatch"),
        ("autoencoder.decoder_blocks", 128, r"\(Missing key.* \.\.\.\)$"),
        ("action.dim", 10**9, "dim: "),
        ("action.std", [1e-300, 1.0], "std.0: "),
        ("action.mean", [float("nan"), 1.0], "mean.0: "),
        ("horizon", 10**6, "horizon: "),
        ("schedule.guidance", float("inf"), "guidance: "),
    ],
)
def test_absurd_settings_take_no_memory(folder: Path, entry: str, value: object, problem: str) -> None:
    entries = yaml.safe_load((folder / CONFIG).read_text())
    *path, last = entry.split(".")
    part = entries
    for name in path:
        part = part[name]
    part[last] = value
    (folder / CONFIG).write_text(yaml.safe_dump(entries))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=rf"{CONFIG}.*({problem})") as caught:
            load_checkpoint(folder)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        assert len(str(caught.value)) < 1000
    finally:
        tracemalloc.stop()


def test_a_prediction_has_a_limit(folder: Path) -> None:
    entries = yaml.safe_load((folder / CONFIG).read_text())
    entries["streams"] |= {"width": 4096, "height": 4096}
    entries["horizon"] = 4096
    (folder / CONFIG).write_text(yaml.safe_dump(entries))
    with pytest.raises(InputError, match=r"config\.yaml: .*a prediction takes \d+ GiB, expected 2 at most"):
        load_checkpoint(folder)


def test_a_header_that_promises_more_than_the_file_holds(folder: Path) -> None:
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    ).encode()
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError, match=r"safetensors: damaged"):
        load_checkpoint(folder)
    save_file({"w": torch.zeros(3)}, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"safetensors: does not fit"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[" * 100_000, "expected at most 32 levels, got more in line 1"),
        ("a: " + "{a: " * 50_000, "expected at most 32 levels"),
        ("\n".join(" " * n + "-" for n in range(1000)), "expected at most 32 levels"),
        (BOMB, r"expected at most 200000 values, got more by line \d"),
        ("a: &a [*a]\n", r"line 1 refers to \*a, which is not known or holds it"),
        ("a: *b\n", r"line 1 refers to \*b, which is not known"),
        ("a: [" + "1," * 300_000 + "]", "expected at most 200000 values"),
        ("n: " + "9" * 10_000, "is not YAML"),
        ("d: 2001-99-99", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("\x00", "is not YAML"),
        ("x" * (MOST_BYTES + 1), "expected at most 4 MiB"),
    ],
)
def test_yaml_has_limits(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "deep.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=rf"^{file}: .*{problem}"):
        load_yaml(file)
    file.write_text("a: &a {x: [1, 2]}\nb: {<<: *a}\n")
    assert load_yaml(file) == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}}
    file.write_bytes(b"a: \xff\xfe\xff")
    with pytest.raises(InputError, match=rf"^{file}: is not YAML"):
        load_yaml(file)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(InputError, match=re.escape(name)):
        load_checkpoint(folder)


def test_weights_that_git_lfs_left_out_are_named_with_the_cure(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(
        InputError, match=r"is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    ):
        load_checkpoint(folder)


def test_a_card_commands_no_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / CARD).write_bytes(b"# tiny\n\x1b[2J\x1b]0;title\x07 \xff\xfe text\n")
    inspect(str(folder))
    shown = capfd.readouterr().out
    assert "text" in shown
    assert "\x1b" not in shown
