# SPDX-License-Identifier: Apache-2.0
"""Values of commands that never change in the bags: a model cannot learn what they do, so they are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dd_ros.data.survey import TopicInfo
from dd_ros.data.trained import JOINTS, SLICE
from dd_ros.report import Report
from dd_ros.streams import ActionSource


class Value(NamedTuple):
    """A value of an action topic.

    Attributes:
        field: that gives it alone, such as ``linear.x`` or ``position[3]``.
        named: whether the user asked for just this one.
    """

    field: str
    named: bool


def values_of(source: ActionSource, asked: ActionSource) -> list[Value]:
    """The values of a source, one by one; empty where a field gives an unknown number of them.

    Args:
        source: with its fields and ``dim``.
        asked: the same as the user named it, who may have named no fields.
    """
    found: list[Value] = []
    for field in source.fields:
        if part := SLICE.fullmatch(field):
            name, start, stop = part.groups()
            found += [Value(f"{name}[{index}]", False) for index in range(int(start or 0), int(stop))]
        elif part := JOINTS.fullmatch(field):
            found += [Value(f"{part[1]}[{joint.strip()}]", True) for joint in part[2].split(",")]
        elif len(source.fields) == 1 and not field.endswith("]") and source.dim != 1:
            found += [Value(f"{field}[{index}]", False) for index in range(source.dim or 0)]
        else:
            found.append(Value(field, field in asked.fields))
    return found if len(found) == source.dim else []


def changing(
    sources: Sequence[ActionSource], asked: Sequence[ActionSource], topics: Sequence[Sequence[TopicInfo]],
    problems: Report,
) -> tuple[ActionSource, ...]:  # fmt: skip
    """The sources with those fields that change, or that the user named one by one.

    Where all are constant they stay: training goes on, and what is predicted is motion that nobody commands.

    Args:
        sources: with type, fields and ``dim``.
        asked: the same as the user named them.
        topics: of each source, what the bags hold of it.
        problems: takes a line on what is left out.
    """
    kept: list[ActionSource] = []
    odd = Report()
    for source, named, infos in zip(sources, asked, topics, strict=True):
        values = values_of(source, named)
        ranges = [(info.low, info.high) for info in infos if len(info.low) == source.dim]
        low, high = (np.stack(column) for column in zip(*ranges, strict=True))
        moves = (low.min(axis=0) < high.max(axis=0)).tolist()
        if any(value.named for value in values) and not any(moves):
            kept.append(source)
            continue
        if not any(moves):
            odd.add(source.topic, "never changes, left out", f"to keep it, name its fields: {shown(values)}")
            continue
        left = [value.field for value, move in zip(values, moves, strict=False) if not (move or value.named)]
        if left:
            text = f"never changes in {', '.join(left)}, left out"
            odd.add(source.topic, text, f"to keep that, name all its fields: {shown(values)}")
            fields = tuple(value.field for value in values if value.field not in left)
            source = source.model_copy(update={"fields": fields, "dim": len(fields)})
        kept.append(source)
    if not kept:
        names = ", ".join(source.topic for source in sources)
        problems.add(
            names, "commands never change", "training goes on; they can say nothing about the motion"
        )
        return tuple(sources)
    problems.update(odd)
    return tuple(kept)


def shown(values: Sequence[Value]) -> str:
    """The fields as they are named on the command line."""
    return ",".join(value.field for value in values)
