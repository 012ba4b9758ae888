# SPDX-License-Identifier: Apache-2.0
"""The checks one after the other, printed as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from dd_ros.doctor import installed, transport
from dd_ros.doctor.finding import Finding, Level
from dd_ros.doctor.trial import trial
from dd_ros.errors import InputError
from dd_ros.json_files import write_json
from dd_ros.resources import read_config

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}
USUAL = (640, 480)  # images of a camera, where the checkpoint does not tell their size
FAST_DDS = "fastrtps"  # in the names of its RMWs
Check = Callable[[], Finding | Sequence[Finding]]


def doctor(
    checkpoint: str, size: tuple[int, int] | None = None, *, json_path: Path | None = None
) -> dict[str, Any]:
    """Check all, printing a line each.

    Args:
        checkpoint: folder or shipped name, which shall run here.
        size: width and height of the camera's images; None: those of the checkpoint.
        json_path: where what is returned goes as well; None: nowhere.

    Returns:
        ``checks``, each with ``check``, ``level`` (OK, WARN or FAIL), ``text`` and ``cure``; and ``healthy``, False where
        one of them fails.
    """
    console = Console(soft_wrap=True)
    found = []
    for finding in findings(checkpoint, size, os.environ):
        line = Text(f"{finding.level.value:<4}", COLOURS[finding.level]).append(
            f"  {finding.line}", "default"
        )
        console.print(line, highlight=False)
        found.append(finding)
    healthy = all(finding.level is not Level.FAIL for finding in found)
    checks = [finding._asdict() | {"level": finding.level.value} for finding in found]
    result = {"healthy": healthy, "checks": checks}
    write_json(json_path, result)
    return result


def findings(
    checkpoint: str, size: tuple[int, int] | None, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """What all checks find, in the order in which one would mend things; none of them ends the others."""
    yield from attempted("dd_ros", installed.package)
    yield from attempted("packages", installed.packages)
    yield from attempted("files", installed.files)
    there = list(attempted("ros", lambda: installed.ros(environment)))
    yield from there
    if any(one.check == "messages" for one in there):
        if FAST_DDS in there[0].text:
            yield from attempted("transport", lambda: transport.profile(environment))
            yield from attempted("shared memory", transport.shared_memory)
        yield from attempted("images", lambda: transport.images(size or size_of(checkpoint), environment))
    yield from attempted("gpu", gpu)
    yield from attempted("checkpoint", lambda: trial(checkpoint, environment))


def attempted(name: str, check: Check) -> Iterator[Finding]:
    """What a check finds, or that it failed itself."""
    try:
        found = check()
    except ModuleNotFoundError as error:
        found = Finding(
            name, Level.FAIL, f"cannot be looked at without {error.name}", "install it, see above"
        )
    except Exception as error:
        found = Finding(name, Level.FAIL, f"the check itself failed: {type(error).__name__}: {error}")
    yield from [found] if isinstance(found, Finding) else found


def gpu() -> Finding:
    from dd_ros.doctor.machine import gpu as check  # torch takes seconds

    return check()


def size_of(checkpoint: str) -> tuple[int, int]:
    """The size of a checkpoint's images; a usual one where it cannot be read, which is said elsewhere."""
    try:
        streams = read_config(checkpoint).streams
    except InputError:
        return USUAL
    return streams.width, streams.height
