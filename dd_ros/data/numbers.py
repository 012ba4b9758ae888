# SPDX-License-Identifier: Apache-2.0
"""Recorded numbers beside images and actions: by the door that actions come through, as more values of the same vector."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dd_ros.data.actions import NUMERIC, default_fields
from dd_ros.data.trained import field_labels
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource, StreamSpec


@dataclass(frozen=True)
class Beside:
    """Streams whose action vector is followed or mingled by other numbers.

    Attributes:
        streams: what to read; a topic that gives both has the fields of both.
        actions, numbers: which values of its action vector are actions, and which are the other numbers.
    """

    streams: StreamSpec
    actions: tuple[int, ...]
    numbers: tuple[int, ...]


def beside(streams: StreamSpec, sources: Sequence[ActionSource], *, action_dim: int) -> Beside:
    """Streams that give the numbers of ``sources`` at each image, by the rules of actions, beside its action.

    Args:
        streams: images and actions.
        sources: topics and fields of the numbers, each with its ``dim``.
        action_dim: values of the action.

    Raises:
        InputError: a topic that both come from, of which it is not known how many values are actions.
    """
    named = {source.topic: source for source in sources}
    if len(streams.actions) == 1:
        (only,) = streams.actions
        streams = streams.model_copy(update={"actions": (only.model_copy(update={"dim": action_dim}),)})
    joined: list[ActionSource] = []
    actions: list[int] = []
    numbers: dict[str, list[int]] = {}
    at = 0
    for source in streams.actions:
        if source.dim is None:
            raise InputError(
                f"{source.topic}: expected to know how many values are actions; name their fields"
            )
        actions += range(at, at + source.dim)
        other = named.pop(source.topic, None)
        at += source.dim
        if other is not None:
            source = both(source, other)
            numbers[other.topic] = list(range(at, at + (other.dim or 0)))
            at += other.dim or 0
        joined.append(source)
    for source in named.values():
        numbers[source.topic] = list(range(at, at + (source.dim or 0)))
        joined.append(source)
        at += source.dim or 0
    order = [index for source in sources for index in numbers[source.topic]]
    streams = streams.model_copy(update={"actions": tuple(joined), "measured": tuple(order)})
    return Beside(streams, tuple(actions), tuple(order))


def both(action: ActionSource, other: ActionSource) -> ActionSource:
    """One source with the fields of an action and then those of other numbers of the same topic."""
    kind = action.type or other.type
    fields = action.fields or default_fields(kind or "")
    return action.model_copy(
        update={
            "type": kind, "fields": (*fields, *other.fields), "dim": (action.dim or 0) + (other.dim or 0),
            "joints": action.joints or other.joints,
        }
    )  # fmt: skip


def names_of(sources: Sequence[ActionSource]) -> tuple[str, ...]:
    """What each number is called: its field, such as ``position[3]`` or ``position[left_hip]``, or the joint's name alone;
    with its topic before it where names would be the same."""
    labels: list[tuple[str, str]] = []
    for source in sources:
        found = field_labels(source)
        if len(found) != source.dim:
            found = tuple(f"value[{index}]" for index in range(source.dim or 0))
        labels += [(source.topic, label) for label in found]
    short = [label for _, label in labels]
    return tuple(label if short.count(label) == 1 else f"{topic}.{label}" for topic, label in labels)


def for_people(names: Sequence[str]) -> tuple[str, ...]:
    """The names where a person reads them: just the joint of a field that names one, ``elbow`` for ``position[elbow]``, unless
    two would be called the same then."""
    found = [re.fullmatch(r"\w+\[([^\]]+)\]", name) for name in names]
    short = [
        match[1] if match and not NUMERIC.fullmatch(match[1]) else name
        for match, name in zip(found, names, strict=True)
    ]
    return tuple(new if short.count(new) == 1 else name for new, name in zip(short, names, strict=True))
