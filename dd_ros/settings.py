# SPDX-License-Identifier: Apache-2.0
"""The base of all settings, and settings <-> YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dd_ros.errors import InputError
from dd_ros.yaml_files import load_yaml

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def upgraded(cls, entries: Any, source: str) -> Any:
        """``entries`` of the file ``source`` in today's names; settings that had other names once replace this."""
        return entries


def read_yaml(path: Path, kind: type[SettingsT], on_top: Sequence[Path] = ()) -> SettingsT:
    """Read settings of type ``kind``; entries of the files ``on_top`` replace those of ``path``.

    Raises:
        InputError: a file that cannot be read or is no YAML, or the first wrong entry.
    """
    entries: Any = {}
    for file in (path, *on_top):
        entries = merged(entries, kind.upgraded(load_yaml(file), str(file)))
    return validated(entries, kind, " with ".join(map(str, (path, *on_top))))


def validated(entries: Any, kind: type[SettingsT], source: str) -> SettingsT:
    """``entries`` as settings of type ``kind``; InputError names ``source`` and the first wrong entry."""
    try:
        return kind.model_validate(entries)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise InputError(f"{source}: {place}: {first['msg']}") from error


def merged(entries: Any, changes: Any) -> Any:
    """``entries`` with ``changes``: mappings are merged at any depth, all else is replaced."""
    if not (isinstance(entries, dict) and isinstance(changes, dict)):
        return changes
    return entries | {key: merged(entries.get(key), value) for key, value in changes.items()}


def write_yaml(path: Path, settings: Settings) -> None:
    """Write ``settings`` so that ``read_yaml`` gives them back unchanged."""
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
