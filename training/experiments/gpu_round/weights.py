# SPDX-License-Identifier: Apache-2.0
"""Weights in files small enough to carry: half precision, in parts; the first one's metadata has the settings."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dd_ros.checkpoint import Model, save_checkpoint
from dd_ros.config import CheckpointConfig
from dd_ros.errors import InputError
from dd_ros.settings import validated

PART_BYTES = 14 * 10**6  # of a file at most, unless a single tensor is larger
PATTERN = "weights-*.safetensors"


def leave(folder: Path, config: CheckpointConfig, model: Model) -> list[Path]:
    """Write the networks as float16 parts into ``folder``, in place of those there; gives their paths."""
    parts: list[dict[str, Tensor]] = [{}]
    room = PART_BYTES
    for name, value in model.state_dict().items():
        half = value.detach().to("cpu", torch.float16).contiguous()
        if half.nbytes > room and parts[-1]:
            parts.append({})
            room = PART_BYTES
        parts[-1][name] = half
        room -= half.nbytes
    metadata = {"config": yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)}
    written = []
    for number, part in enumerate(parts, start=1):
        path = folder / f"weights-{number}-of-{len(parts)}.safetensors"
        staging = path.with_suffix(".tmp")
        save_file(part, staging, metadata if number == 1 else None)
        staging.replace(path)
        path.chmod(0o644)
        written.append(path)
    for old in set(folder.glob(PATTERN)) - set(written):
        old.unlink()
    return written


def join(folder: Path, out: Path, *, name: str | None = None) -> None:
    """Make the checkpoint ``out``, called ``name`` if given, of the parts in ``folder``.

    Raises:
        InputError: there are none, or one is missing.
    """
    paths = sorted(folder.glob(PATTERN))
    if not paths or len(paths) != int(paths[0].stem.rpartition("-")[2]):
        raise InputError(f"{folder}: expected all parts of {PATTERN}, got {len(paths)}")
    weights: dict[str, Tensor] = {}
    entries = None
    for path in paths:
        with safe_open(path, "pt") as file:
            entries = (file.metadata() or {}).get("config") or entries
            weights |= {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  no mapping
    config = validated(yaml.safe_load(entries or ""), CheckpointConfig, str(folder))
    config = config.model_copy(update={"name": name or config.name})
    model = Model(config)
    model.load_state_dict(weights)
    save_checkpoint(out, config, model, card=f"# {config.name}\nMade of float16 parts.\n")
