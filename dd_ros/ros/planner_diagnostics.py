# SPDX-License-Identifier: Apache-2.0
"""State of the planner -> a diagnostic message."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from dd_ros.live.problems import Level, Problems
from dd_ros.live.statistics import Statistics


def planner_status(
    node: str, phase: str, failure: str, *, statistics: Statistics, problems: Problems
) -> DiagnosticStatus:
    """Plans, how long they take and how many came late, and what is wrong.

    Args:
        node: full name.
        phase, failure: of its lifecycle.
        statistics, problems: what to tell.
    """
    found = [problem for name in ("plan", "goal", "action", "planner") for problem in problems.current(name)]
    level = found[0].level if found else Level.OK
    if failure:
        level = Level.ERROR
    text = failure or "; ".join(problem.text.split("\n")[0] for problem in found) or phase
    took = statistics.percentiles("plan")
    plans = statistics.predictions.total
    values = {
        "state": phase,
        "plans": str(plans),
        "rate (Hz)": f"{statistics.predictions.hz():.1f}",
        "plan p50/p99 (ms)": "none" if took is None else f"{took[0]:.0f} / {took[1]:.0f}",
        "late plans": str(statistics.counts["late_plans"]),
        "iterations per plan": f"{statistics.counts['iterations'] / plans:.1f}" if plans else "none",
    }
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(
        level=bytes([level]), name=f"{node}: planner", message=text, hardware_id=node, values=pairs
    )
