# SPDX-License-Identifier: Apache-2.0
"""What a predictor is, for people: a line in a shell, a table in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any

from dd_ros.config import CheckpointConfig, Schedule
from dd_ros.streams import StreamSpec


def facts_of(config: CheckpointConfig, schedule: Schedule) -> dict[str, str]:
    """What a checkpoint predicts from what with a schedule, in a few words each."""
    streams, action = config.streams, config.action
    names = f" ({', '.join(action.names)})" if action.names else ""
    chunks = range(schedule.chunks(config.horizon))
    steps = "-".join(str(len(schedule.chunk_levels(chunk))) for chunk in chunks)
    return {
        "checkpoint": config.name,
        "images": f"{streams.width}x{streams.height} at {streams.rate_hz:g} Hz, {streams.image_topic}",
        "actions": f"{action.dim}{names}, {', '.join(map(str, streams.actions))}" + lagging(streams),
        "horizon": f"{config.horizon} frames, {config.horizon / streams.rate_hz:.2f} s",
        "denoising steps": f"{steps}, chunks of {schedule.chunk_frames} frames",
    }


class Described:
    """Says what it is: a mixin of things with the settings of a checkpoint, a schedule and a device."""

    config: CheckpointConfig
    schedule: Schedule
    device: Any

    def facts(self) -> dict[str, str]:
        """What it predicts from what, in a few words each."""
        return facts_of(self.config, self.schedule) | {"device": str(self.device)}

    def __repr__(self) -> str:
        facts = self.facts()
        name = facts.pop("checkpoint")
        return (
            f"<{type(self).__name__} {name!r}: {'; '.join(f'{key} {text}' for key, text in facts.items())}>"
        )

    def _repr_html_(self) -> str:
        """For notebooks; names may come from anywhere, so they are escaped."""
        rows = (f"<tr><th>{key}</th><td>{escape(text)}</td></tr>" for key, text in self.facts().items())
        return f"<table>{''.join(rows)}</table>"


def lagging(streams: StreamSpec) -> str:
    """When commands count as in force, to be put behind a list of them; empty where it is at their stamps."""
    lag = streams.action_lag_s
    return (
        f", commands in force {abs(lag):g} s {'after' if lag > 0 else 'before'} their stamps" if lag else ""
    )
