# SPDX-License-Identifier: Apache-2.0
"""What a soak saw: phases, what the node used, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

LEVEL_LIFE = 600.0  # s of one process, once settled, from which its memory's slope says anything
SETTLED = 900.0  # s of a process that do not count for that: caches and allocators reach their size


@dataclass
class Phase:
    """One fault and the time after it.

    Attributes:
        fault: its name.
        predictions: that came, during and after the fault.
        missed: chunks all of whose target times had passed.
        recovery: seconds from good data to the first prediction of it; None where none came.
        checked, wrong_content: chunks of good data whose frames were compared, and those that were wrong.
        wrong_times: chunks with wrong times.
        crashes, tracebacks: of the node.
        psnr: in dB, of the chunks that were compared, against what the camera showed.
        problems: in words, the first few.
    """

    fault: str
    predictions: int = 0
    missed: int = 0
    recovery: float | None = None
    checked: int = 0
    wrong_content: int = 0
    wrong_times: int = 0
    crashes: int = 0
    tracebacks: int = 0
    psnr: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether anything was wrong but the time it took."""
        wrong = self.wrong_content or self.wrong_times or self.crashes or self.tracebacks
        return bool(wrong) or self.recovery is None


class Sample(NamedTuple):
    """What a node used at one moment.

    Attributes:
        life: number of the process, from 1; it is killed now and then.
        seconds: age of the process.
        rss_mib: memory.
        threads, descriptors: how many it had.
    """

    life: int
    seconds: float
    rss_mib: float
    threads: int
    descriptors: int


def sample(pid: int, life: int, seconds: float) -> Sample | None:
    """Of a process now; None where it is gone."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return Sample(
            life, seconds, int(lines["VmRSS"].split()[0]) / 1024, int(lines["Threads"]), descriptors
        )
    except (OSError, KeyError):
        return None


def figures(phases: Sequence[Phase], samples: Sequence[Sample], slow: float) -> dict[str, Any]:
    """The sums of a soak.

    Args:
        phases, samples: what was seen.
        slow: seconds from which a recovery counts as slow.
    """
    recoveries = [phase.recovery for phase in phases if phase.recovery is not None]
    return {
        "phases": len(phases),
        "failed_phases": sum(phase.failed for phase in phases),
        "predictions": sum(phase.predictions for phase in phases),
        "crashes": sum(phase.crashes for phase in phases),
        "tracebacks": sum(phase.tracebacks for phase in phases),
        "wrong_content": sum(phase.wrong_content for phase in phases),
        "wrong_times": sum(phase.wrong_times for phase in phases),
        "missed_chunks": sum(phase.missed for phase in phases),
        "longest_recovery_s": max(recoveries, default=None),
        "slow_recoveries": sum(recovery > slow for recovery in recoveries),
        "memory_mib_per_hour": slope(samples),
        "threads": sorted({item.threads for item in samples}),
        "descriptors": sorted({item.descriptors for item in samples}),
    }


def slope(samples: Sequence[Sample]) -> float | None:
    """MiB per hour of the process that lived longest; None where it did not live long enough to tell."""
    lives = {item.life for item in samples}
    longest = max(
        ([item for item in samples if item.life == life and item.seconds > SETTLED] for life in lives),
        key=lambda life: life[-1].seconds - life[0].seconds if life else 0.0,
        default=[],
    )
    if len(longest) < 3 or longest[-1].seconds - longest[0].seconds < LEVEL_LIFE:
        return None
    rise = np.polyfit([item.seconds for item in longest], [item.rss_mib for item in longest], 1)[0]
    return float(3600.0 * rise)


def markdown(result: dict[str, Any], phases: Sequence[Phase], samples: Sequence[Sample]) -> str:
    """The report: a row per kind of fault, the sums, and what went wrong in words."""
    lines = [
        "# Soak",
        "",
        *(f"- {key.replace('_', ' ')}: {_shown(value)}" for key, value in result.items()),
        "",
    ]
    lines += [
        "| fault | phases | predictions | recovery, longest (s) | missed chunks | checked | PSNR (dB) | wrong content | "
        "wrong times | crashes | tracebacks |",
        "|---" * 11 + "|",
    ]
    for fault in dict.fromkeys(phase.fault for phase in phases):
        of = [phase for phase in phases if phase.fault == fault]
        recoveries = [phase.recovery for phase in of]
        longest = "never" if None in recoveries else f"{max(r for r in recoveries if r is not None):.2f}"
        psnr = [value for phase in of for value in phase.psnr]
        cells = [fault, len(of), sum(p.predictions for p in of), longest, sum(p.missed for p in of)]
        cells += [sum(p.checked for p in of), f"{mean(psnr):.1f}" if psnr else "none"]
        cells += [sum(p.wrong_content for p in of), sum(p.wrong_times for p in of)]
        cells += [sum(p.crashes for p in of), sum(p.tracebacks for p in of)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    problems = [f"- {phase.fault}: {text}" for phase in phases for text in phase.problems[:3]]
    lines += ["", "## What went wrong", "", *(problems or ["Nothing."]), "", "## The node's processes", ""]
    lines += [
        "| process | seconds | memory, first and last (MiB) | threads | descriptors |",
        "|---" * 5 + "|",
    ]
    for life in sorted({item.life for item in samples}):
        own = [item for item in samples if item.life == life]
        lines.append(
            f"| {life} | {own[-1].seconds:.0f} | {own[0].rss_mib:.0f}, {own[-1].rss_mib:.0f} | "
            f"{own[0].threads}, {own[-1].threads} | {own[0].descriptors}, {own[-1].descriptors} |"
        )
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if value is None:
        return "too short to tell"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
