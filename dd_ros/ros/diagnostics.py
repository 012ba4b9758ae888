# SPDX-License-Identifier: Apache-2.0
"""State of the node -> diagnostic messages: one status per input and one for the predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dd_ros.live.problems import Level, Problem, Problems
from dd_ros.live.statistics import Rate, Statistics

# Seconds without a prediction that the diagnostics call a problem.
SILENCE = 3.0
# Keys of the counters that ``dd_ros bench --node`` reads.
STEPS_SKIPPED, OBSERVED_FRAMES, LOST_IMAGES = "steps skipped", "observed frames", "lost images"
COUNTS = (OBSERVED_FRAMES, "published chunks", "missed chunks", "late frames", LOST_IMAGES, "resets")


class Condition(NamedTuple):
    """What the diagnostics tell that no counter knows.

    Attributes:
        node: full name of the node.
        phase: lifecycle state.
        failure: why the last transition failed, or empty.
        device, checkpoint: what runs where; empty before configuration.
        topics: input -> topic, type and reliability in words.
        dropped: due frames overwritten by newer ones before they were used.
        waiting: requests for rollouts that are not answered yet.
    """

    node: str
    phase: str
    failure: str
    device: str
    checkpoint: str
    topics: Mapping[str, str]
    dropped: int
    waiting: int = 0


def diagnostic_statuses(
    condition: Condition, statistics: Statistics, problems: Problems
) -> list[DiagnosticStatus]:
    """Statuses of each input (image, action, plan) and of the predictions."""
    if condition.phase != "active":
        level = Level.ERROR if condition.failure else Level.OK
        text = condition.failure or condition.phase
        values = _prediction_values(condition, statistics)
        return [_status(condition, "prediction", level=level, text=text, values=values)]
    statuses = [
        _judged(
            condition,
            name,
            found=problems.current(name),
            values=_input_values(topic, statistics.inputs[name], problems.times(name)),
        )
        for name, topic in condition.topics.items()
    ]
    found = problems.current("prediction")
    silence = statistics.predictions.silence()
    if not found and (silence is None or silence > SILENCE):
        since = "yet" if silence is None else f"for {silence:.0f} s"
        blocked = [status.name.rpartition(" ")[2] for status in statuses if status.level != _byte(Level.OK)]
        reason = f"no prediction {since}" + (f"; look at: {', '.join(blocked)}" if blocked else "")
        found = [Problem(reason, Level.ERROR if blocked else Level.WARN, 0.0, logged=False)]
    values = _prediction_values(condition, statistics)
    statuses.append(_judged(condition, "prediction", found=found, values=values))
    return statuses


def diagnostic_array(stamp: object, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message


def _judged(
    condition: Condition, name: str, *, found: list[Problem], values: dict[str, str]
) -> DiagnosticStatus:
    level = found[0].level if found else Level.OK
    text = "; ".join(p.text.split("\n")[0] for p in found) or "ok"
    return _status(condition, name, level=level, text=text, values=values)


def _status(
    condition: Condition, name: str, *, level: Level, text: str, values: dict[str, str]
) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    node = condition.node
    return DiagnosticStatus(
        level=_byte(level), name=f"{node}: {name}", message=text, hardware_id=node, values=pairs
    )


def _byte(level: Level) -> bytes:
    return bytes([level])


def _input_values(topic: str, rate: Rate, problems: int) -> dict[str, str]:
    silence = rate.silence()
    return {
        "topic": topic,
        "messages": str(rate.total),
        "rate (Hz)": f"{rate.hz():.1f}",
        "last message (s ago)": "never" if silence is None else f"{silence:.2f}",
        "problems": str(problems),
    }


def _prediction_values(condition: Condition, statistics: Statistics) -> dict[str, str]:
    values = {
        "state": condition.phase,
        "checkpoint": condition.checkpoint,
        "device": condition.device,
        "rate (Hz)": f"{statistics.predictions.hz():.1f}",
        "rung": statistics.rung,
        "requests waiting": str(condition.waiting),
    }
    for name, label in (
        ("age", "age of first chunk"),
        ("first_chunk", "first chunk"),
        ("horizon", "horizon"),
    ):
        found = statistics.percentiles(name)
        values[f"{label} p50/p99 (ms)"] = "none" if found is None else f"{found[0]:.0f} / {found[1]:.0f}"
    due = statistics.counts["observed_frames"] + condition.dropped
    values[STEPS_SKIPPED] = str(condition.dropped)
    values["predicted steps"] = f"{statistics.predictions.total / due:.0%}" if due else "none"
    for key in COUNTS:
        values[key] = str(statistics.counts[key.replace(" ", "_")])
    return values
