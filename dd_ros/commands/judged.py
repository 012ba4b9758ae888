# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros evaluate`` and ``calibrate`` have in common: bags, and how windows of them are judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict


class Judged(TypedDict):
    """Options that both hand on as they are; what each means stands at ``evaluation.evaluate.evaluate``."""

    image_topic: str | None
    action_topics: tuple[str, ...]
    stride: int
    max_windows: int | None
    device: str
    seed: int


def judged_bags(bags: Sequence[Path], split: str) -> list[Path]:
    """The bags under ``bags`` that belong to the part ``split``; InputError where there are none."""
    from dd_ros.data.bags import find_bags
    from dd_ros.data.split import select

    return select(find_bags(bags), split)
