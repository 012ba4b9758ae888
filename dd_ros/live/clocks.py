# SPDX-License-Identifier: Apache-2.0
"""Whether the stamps that arrive are of this node's clock: the checks that bags get (``data.clocks``), while it runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dd_ros.data.clocks import AHEAD_NS, BLOCKS, DRIFT_NS, LEAST, ODD_LAG_NS, Lag, line
from dd_ros.live.problems import Level, Problems

CLOCK_SKEW = 5.0  # s; stamps this far from the node's clock mean two clocks rather than a slow link
RECENT = 3 * LEAST  # messages whose median is looked at, after every LEAST
KINDS = ("ahead", "drift", "offset")  # of problems of an input
CURE = "synchronise the clocks (chrony or PTP), or publish without stamps, so that arrival times are used"


class Time(Protocol):
    """The clock of whoever listens."""

    def now_ns(self) -> int:
        """Its time in nanoseconds."""
        ...

    def simulated(self) -> bool:
        """Whether it follows /clock."""
        ...


@dataclass
class Arrivals:
    """How far the stamps of an input are ahead of arrival: of late, and since the start in at most 2 * BLOCKS medians.

    Attributes:
        recent: of the newest messages, ns.
        medians: (time of arrival, median of ``recent``) in ns, evenly over all messages.
        lag: what these say; None before RECENT messages.
    """

    recent: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    medians: list[tuple[int, float]] = field(default_factory=list)
    lag: Lag | None = None
    _messages: int = 0
    _apart: int = LEAST  # messages from one median to the next

    def add(self, now: int, ahead: int) -> bool:
        """Add a message that arrived at ``now``; whether there is a new ``lag``."""
        self.recent.append(ahead)
        self._messages += 1
        if self._messages % LEAST or len(self.recent) < RECENT:
            return False
        middle = float(np.median(self.recent))
        if self._messages % self._apart == 0:
            self.medians.append((now, middle))
        if len(self.medians) >= 2 * BLOCKS:
            self.medians, self._apart = self.medians[::2], 2 * self._apart
        times, medians = np.array(self.medians or [(now, middle)], np.float64).T
        self.lag = line(times - times[0], medians, middle)
        return True


class Clocks:
    """Compares stamps with the node's clock, and those of commands with those of images. Used by one thread.

    Args:
        time: the node's clock.
        problems: where to report.
    """

    def __init__(self, time: Time, problems: Problems):
        self.time, self._problems = time, problems
        self._arrivals: dict[str, Arrivals] = {}

    def same(self, name: str, stamp: int, *, arrives: bool = True) -> bool:
        """Whether ``stamp`` (ns) of the input ``name`` is of the node's clock; a problem of the input if not.

        Args:
            name: the input, such as ``image`` or ``action_2``.
            stamp: of a message that arrived now.
            arrives: whether it says when the message was made, not when its commands begin.
        """
        now, simulated = self.time.now_ns(), self.time.simulated()
        skew = (now - stamp) / 1e9
        if abs(skew) >= CLOCK_SKEW:
            text = (
                f"expected stamps of this node's clock, got stamps {abs(skew):.1f} s "
                f"{'behind' if skew > 0 else 'ahead of'} it (use_sim_time is {str(simulated).lower()})"
            )
            self._problems.report(f"{name} time", text, Level.WARN, kind="skew")
            return False
        # simulated time comes in steps, and stamps from the one clock that there is
        if arrives and not simulated and self._arrivals.setdefault(name, Arrivals()).add(now, stamp - now):
            self._judge()
        return True

    def without_stamp(self, name: str) -> None:
        """A message of the input ``name`` came without stamp: there is nothing to compare any more."""
        if self._arrivals.pop(name, None) is not None:
            for kind in KINDS:
                self._problems.solved(f"{name} {kind}")

    def restart(self) -> None:
        """A clock was set: forget what was compared."""
        for name in list(self._arrivals):
            self.without_stamp(name)

    def _judge(self) -> None:
        lags = {name: of.lag for name, of in self._arrivals.items() if of.lag is not None}
        image = lags.get("image")
        for name, lag in lags.items():
            ahead = lag.ahead_ns > AHEAD_NS
            text = f"expected stamps of the time before arrival, got stamps {lag.ahead_ns / 1e9:.3f} s ahead of it"
            self._say(f"{name} ahead", text, ahead)
            drifts = abs(lag.drifted_ns) > DRIFT_NS
            text = f"expected stamps of one clock, got stamps that drift by {drift(lag.drifted_ns, lag.drift)} against arrival"
            self._say(f"{name} drift", text, drifts)
            if image is None or name == "image":
                continue
            apart, grown = lag.ahead_ns - image.ahead_ns, lag.drifted_ns - image.drifted_ns
            text = (
                f"expected stamps of one clock on images and commands, got commands {abs(apart) / 1e9:.3f} s "
                f"{'ahead of' if apart > 0 else 'behind'} images against arrival"
            )
            if abs(grown) > DRIFT_NS:
                text += f", changed by {drift(grown, lag.drift - image.drift)}"
            self._say(f"{name} offset", text, abs(apart) > ODD_LAG_NS or abs(grown) > DRIFT_NS)

    def _say(self, name: str, text: str, wrong: bool) -> None:
        if wrong:
            self._problems.report(name, f"{text}; {CURE}", Level.WARN, kind="clocks")
        else:
            self._problems.solved(name)


def drift(drifted_ns: float, rate: float) -> str:
    """A drift in words."""
    return f"{drifted_ns / 1e9:+.3f} s so far ({100 * rate:+.3g}%)"
