# SPDX-License-Identifier: Apache-2.0
"""The rules for model steps in the plainest way, to compare with."""

from __future__ import annotations

MS = 1_000_000  # ns


def slow_steps(stamps: list[int], step: int) -> list[list[tuple[int, int]]]:
    """Runs of (stamp, image number), by walking the grid of model steps one by one."""
    runs: list[list[tuple[int, int]]] = []
    newest = None
    for number, stamp in enumerate(stamps):
        if newest is not None and stamp <= newest - 1000 * MS:
            newest = None
        if newest is None:
            runs.append([(stamp, number)])
            newest = origin = due = stamp
            continue
        newest = max(newest, stamp)
        if stamp < due + step - step // 4:
            continue
        missed = 0
        while stamp >= due + 2 * step - step // 4:
            due += step
            missed += 1
        due += step
        if missed > 1:
            runs.append([(stamp, number)])
            origin = due = stamp
        else:
            if missed:
                previous, image = runs[-1][-1]
                runs[-1].append((previous + step, image))
            runs[-1].append((stamp, number))
        assert (due - origin) % step == 0
    return runs
