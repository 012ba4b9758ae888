# SPDX-License-Identifier: Apache-2.0
"""Which topics become model inputs, and how: one description for live nodes, bags and training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dd_ros.errors import InputError
from dd_ros.settings import Settings

# What no camera or robot has; a checkpoint may come from anywhere.
Side = Annotated[int, Field(gt=0, le=4096)]  # of an image
Count = Annotated[int, Field(gt=0, le=4096)]  # of frames, action values, or channels
MOST_LAG = 2.0  # seconds between a command's stamp and when it acts
LEROBOT = "lerobot"  # type of an action source whose fields are parts of a LeRobot feature's name
TOPIC = r"[\w/~]+(\[[-\d:]+\])?"


class ActionSource(Settings):
    """A topic whose commands are part of the action vector, or all of it.

    Attributes:
        topic: its name; of a LeRobot data set, a feature such as ``action`` or ``action[0:7]``, up to its first dot.
        type: ROS type that ``fields`` are of, or ``lerobot`` where they are the rest of a feature's name; None is any.
        fields: fields that make up its part, in order, such as ``position[0:7]``,
            ``position[left_hip,right_hip]`` or ``twist.linear.x``; empty takes the type's default ones.
        dim: number of its action values; None takes what comes.
        joints: where its messages name their joints, these in the order that positions in ``fields`` mean;
            messages with another order are read by name. Empty takes the order of a stream's first message.
    """

    topic: Annotated[str, Field(pattern=rf"^{TOPIC}$")]
    type: str | None = None
    fields: tuple[str, ...] = ()
    dim: Count | None = None
    joints: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As on the command line: ``/joint_command.position[0:7]``."""
        return ".".join([self.topic, *([",".join(self.fields)] if self.fields else [])])


def parse_actions(texts: Sequence[str]) -> tuple[ActionSource, ...]:
    """Action sources from the command line: topics, each with a dot and fields with commas between, or without.

    A topic that is named again adds its fields to those it has.

    Raises:
        InputError: no topic, no name of a topic, or no field after a dot.
    """
    fields: dict[str, list[str]] = {}
    for text in texts:
        topic, dot, rest = text.partition(".")
        named = [field.strip() for field in re.split(r",(?![^\[]*\])", rest)] if dot else []
        if not re.fullmatch(TOPIC, topic) or not all(named):
            raise InputError(
                f"action topic: expected a topic, or one with fields as in /arm.position[0:7], got {text!r}"
            )
        if topic in fields and not (named and fields[topic]):
            raise InputError(
                f"action topic: expected {topic} once, or with fields each time, got {text!r} as well"
            )
        fields.setdefault(topic, []).extend(named)
    if not fields:
        raise InputError("action topic: expected at least one, got none")
    return tuple(ActionSource(topic=topic, fields=tuple(named)) for topic, named in fields.items())


class StreamSpec(Settings):
    """How topics become model inputs: one description for live nodes, bags and training.

    Attributes:
        image_topic: camera topic (Image or CompressedImage).
        actions: topics with the commands as executed; the action vector is theirs, joined in this order.
        action_mode: value between two commands: ``hold`` the older one, or ``linear`` between both.
        action_lag_s: seconds after its own stamp from which a command counts as in force; negative is before it.
        measured: numbers of values of the action vector that are no commands, and have no lag.
        rate_hz: model steps per second.
        width, height: image size of the model in pixels; images are stretched to it.
    """

    image_topic: str
    actions: Annotated[tuple[ActionSource, ...], Field(min_length=1)]
    action_mode: Literal["hold", "linear"] = "hold"
    action_lag_s: Annotated[float, Field(ge=-MOST_LAG, le=MOST_LAG, allow_inf_nan=False)] = 0.0
    measured: tuple[int, ...] = ()
    rate_hz: Annotated[float, Field(ge=0.001, le=1000.0, allow_inf_nan=False)]
    width: Side
    height: Side

    @model_validator(mode="after")
    def _sources(self) -> StreamSpec:
        if len(set(self.action_topics)) < len(self.actions):
            raise ValueError("each action topic must be named once, with all its fields")
        if len(self.actions) > 1 and not all(source.dim for source in self.actions):
            raise ValueError("where several topics make up the action, each needs its dim")
        return self

    @property
    def action_topics(self) -> tuple[str, ...]:
        """Names of the action topics, in order."""
        return tuple(source.topic for source in self.actions)

    @property
    def action_lag_ns(self) -> int:
        """``action_lag_s`` in nanoseconds."""
        return round(1e9 * self.action_lag_s)

    @property
    def topics(self) -> tuple[str, ...]:
        """The image topic, then the action topics."""
        return (self.image_topic, *self.action_topics)

    def with_topics(self, image_topic: str | None = None, actions: Sequence[str] = ()) -> StreamSpec:
        """The same streams on other topics; None and empty keep those there are.

        Args:
            image_topic: camera topic.
            actions: action sources as ``parse_actions`` takes them. As many as there are now take their
                place one by one, and those without fields their type and fields too, but for what is part of
                the name of a LeRobot feature.

        Raises:
            InputError: as ``parse_actions``.
        """
        sources = parse_actions(actions) if actions else self.actions
        if actions and len(sources) == len(self.actions):
            sources = tuple(
                new.model_copy(
                    update={"dim": old.dim}
                    if new.fields or old.type == LEROBOT
                    else {**dict(old), "topic": new.topic}
                )
                for new, old in zip(sources, self.actions, strict=True)
            )
        return self.model_copy(update={"image_topic": image_topic or self.image_topic, "actions": sources})
