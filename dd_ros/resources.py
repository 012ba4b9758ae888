# SPDX-License-Identifier: Apache-2.0
"""Where files of this package lie: checkpoints by name, launch and configuration files. No torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dd_ros.about import About
from dd_ros.config import CheckpointConfig
from dd_ros.errors import InputError
from dd_ros.settings import read_yaml, validated
from dd_ros.upgrades import upgraded_config
from dd_ros.yaml_files import load_yaml

CONFIG, WEIGHTS, CARD, ABOUT = "config.yaml", "model.safetensors", "README.md", "about.yaml"


def share_folders() -> list[Path]:
    """Where installed files of this package may lie: the source checkout first, then where this very package was installed.

    pip puts them below the prefix that the package is in (a virtual environment, the user's own, ``--target``), colcon too.
    """
    here = Path(__file__).resolve().parent
    named = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    prefixes = [*here.parents[:4], *map(Path, named), Path(sys.prefix)]
    shares = [prefix / "share/dd_ros" for prefix in prefixes]
    found = [share for share in shares if (share / "package.xml").is_file()]
    return [here.parent, *dict.fromkeys(found)]


def shared_file(name: str) -> Path:
    """An installed file such as ``config/fastdds.xml``; FileNotFoundError if it is nowhere."""
    for folder in share_folders():
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{name}: not in any of {', '.join(map(str, share_folders()))}")


def shipped_folders() -> dict[str, Path]:
    """Folders of the checkpoints that are installed, by name."""
    found: dict[str, Path] = {}
    for parent in share_folders():
        for config in parent.glob(f"checkpoints/*/{CONFIG}"):
            found.setdefault(config.parent.name, config.parent)
    return dict(sorted(found.items()))


def shipped_checkpoints() -> list[str]:
    """Names of the checkpoints that are installed."""
    return list(shipped_folders())


def find_checkpoint(name: str | Path) -> Path:
    """Folder of a checkpoint given as a path or as the name of a shipped one.

    Raises:
        InputError: there is none; the message lists the shipped names.
    """
    shipped = shipped_folders()
    for folder in (Path(name), shipped.get(str(Path(name)))):
        if folder is not None and (folder / CONFIG).is_file():
            return folder
    raise InputError(
        f"checkpoint {str(name)!r}: no folder with a {CONFIG} there, and not one of the shipped ones "
        f"({', '.join(shipped) or 'none found'})"
    )


def read_config(name: str | Path) -> CheckpointConfig:
    """Settings of a checkpoint of any format; InputError names the file and what is wrong in it."""
    file = find_checkpoint(name) / CONFIG
    return validated(upgraded_config(load_yaml(file), file), CheckpointConfig, str(file))


def read_about(folder: Path) -> About:
    """What the checkpoint in ``folder`` says of itself, an empty one where it says nothing; InputError as ``read_yaml``."""
    file = folder / ABOUT
    return read_yaml(file, About) if file.exists() else About()
