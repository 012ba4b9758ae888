# SPDX-License-Identifier: Apache-2.0
"""The file that all parts of a round write to, and the table that people read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dd_ros.json_files import write_json

RESULTS, TABLE = "results.json", "table.md"


class Results:
    """``results.json`` and ``table.md`` in a folder; both are there in full after each ``put``.

    Args:
        folder: made if it does not exist; figures that are in it stay.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / RESULTS
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, *place: str, value: Any) -> None:
        """Keep ``value`` under the names ``place``."""
        at = self.values
        for name in place[:-1]:
            at = at.setdefault(name, {})
        at[place[-1]] = value
        staging = self.folder / f".{RESULTS}"
        write_json(staging, self.values)
        staging.replace(self.folder / RESULTS)
        (self.folder / TABLE).write_text("\n".join(table(self.values)) + "\n")


def tests_of(junit: Path) -> dict[str, Any]:
    """Outcome of a pytest run: counts, what failed and why, what was skipped and why, and properties of the tests."""
    found: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}, "properties": {}}
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name = case.get("name", "")
        bad = [part for part in case if part.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if bad:
            found["failed"][name] = (bad[0].get("message") or "")[:500]
        elif skipped is not None:
            found["skipped"][name] = skipped.get("message")
        else:
            found["passed"] += 1
        properties = {part.get("name"): part.get("value") for part in case.iter("property")}
        if properties:
            found["properties"][name] = properties
    return found


def table(values: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown."""
    if "tests" in values:
        tests = values["tests"]
        yield f"Tests: {tests['passed']} passed, {len(tests['failed'])} failed, {len(tests['skipped'])} skipped."
        yield from (f"- {name}: {reason}" for name, reason in tests["failed"].items())
    measured = {name: row for name, row in values.get("bench", {}).items() if "latency_ms" in row}
    if measured:
        yield from speed(measured)
    for name, row in values.get("bench", {}).items():
        if "error" in row:
            yield f"\n{name}: {row['error']}"
    if "train" in values:
        yield from training(values["train"])


def speed(measured: Mapping[str, Any]) -> Iterator[str]:
    """Latency, floors, rivals and candidates of the sizes that were measured."""
    first = next(iter(measured.values()))
    yield f"\n{first['device']}, torch {first['torch']}, {first['dtype']}; ms, p50 (p99)\n"
    yield from rows(
        ("size", "parameters", "image", "first chunk", "horizon", "frames/s", "floor", "by operations", "by bytes",
         "by kernels", "kernels", "over the floor"),
        [
            (name, f"{row['parameters'] / 1e6:.1f}M", "x".join(map(str, row["image"])), *pair(row),
             f"{row['frames_per_second']:.0f}", *(f"{row['floor'][key]:.3g}" for key in
             ("ms", "operations_ms", "bytes_ms", "kernels_ms")), row["floor"]["kernels"], f"{row['floor']['ratio']:.1f}x")
            for name, row in measured.items()
        ],
    )  # fmt: skip
    yield ""
    yield from rows(
        ("size", "rival", "passes", "first chunk", "horizon", "frames/s", "over ours, first", "over ours, horizon"),
        [
            (name, rival, row["passes"], *pair(row), f"{row['frames_per_second']:.0f}",
             f"{row['speedup_first_frame']:.2f}x", f"{row['speedup_horizon']:.2f}x")
            for name, of_size in measured.items() for rival, row in of_size["versus"].items()
        ],
    )  # fmt: skip
    yield ""
    yield from rows(
        ("size", "candidates", "frames", "costs alone", "frames/s"),
        [
            (name, count, quantiles(row["frames"]), quantiles(row["costs"]), f"{row['frames_per_second']:.0f}")
            for name, of_size in measured.items() for count, row in of_size["candidates"].items() if row
        ],
    )  # fmt: skip
    for name, row in measured.items():
        node = row.get("node")
        if node:
            text = (
                node.get("error")
                or f"age {quantiles(node['age_ms'])} ms, {node['missed_deadlines']} chunks too late"
            )
            yield f"\nNode with {name}: {text}"


def training(found: Mapping[str, Any]) -> Iterator[str]:
    """What a leg of training came to."""
    yield f"\nTraining: {found.get('recipe')}; stages {found.get('stages')}"
    if "error" in found:
        yield found["error"]
    for name, mean in found.get("evaluation", {}).get("mean", {}).items():
        yield f"- {name}: {mean['psnr']:.2f} dB, SSIM {mean['ssim']:.4f}"


def pair(row: Mapping[str, Any]) -> tuple[str, str]:
    """Latency to the first chunk and to the horizon."""
    return quantiles(row["latency_ms"]["first_chunk"]), quantiles(row["latency_ms"]["horizon"])


def quantiles(values: Mapping[str, float]) -> str:
    return f"{values['p50']:.3g} ({values['p99']:.3g})"


def rows(head: Sequence[str], body: Sequence[Sequence[object]]) -> Iterator[str]:
    """A table of Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(map(str, row))} |" for row in body)
