# SPDX-License-Identifier: Apache-2.0
"""Counts, rates and latencies of a running node. Thread safe, no rclpy."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable

import numpy as np

# Enough for a percentile of the last minute at 10 Hz, little enough to follow a change of load.
REMEMBERED = 512


class Rate:
    """Events per second over the last few seconds, and when the last one was."""

    def __init__(self, window: float = 5.0, clock: Callable[[], float] = time.monotonic):
        self._window, self._clock = window, clock
        self._times: deque[float] = deque(maxlen=REMEMBERED)
        self.total = 0

    def count(self) -> None:
        self.total += 1
        self._times.append(self._clock())

    def hz(self) -> float:
        """Rate in Hz by the median interval, which one pause does not change; 0 before a second has passed."""
        now = self._clock()
        times = [t for t in tuple(self._times) if now - t <= self._window]
        if len(times) < 2 or times[-1] - times[0] < 1.0:
            return 0.0
        return 1.0 / max(float(np.median(np.diff(times))), 1e-6)

    def silence(self) -> float | None:
        """Seconds since the last event; None before the first."""
        return self._clock() - self._times[-1] if self._times else None

    def clear(self) -> None:
        self.total = 0
        self._times.clear()


class Statistics:
    """What the diagnostics report.

    Attributes:
        inputs: rate of what came in, by the name of the input.
        predictions: rate of what went out.
        counts: totals by name (``missed_chunks``, ``late_frames``, ``lost_images``, ...).
        rung: how much of a horizon is predicted now, in words.
    """

    def __init__(self) -> None:
        self.inputs: defaultdict[str, Rate] = defaultdict(Rate)
        self.predictions = Rate()
        self.counts: Counter[str] = Counter()
        self.rung = "none"
        self._samples: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self.counts[name] += amount

    def sample(self, name: str, milliseconds: float) -> None:
        """Add one latency or age."""
        with self._lock:
            self._samples.setdefault(name, deque(maxlen=REMEMBERED)).append(milliseconds)

    def percentiles(self, name: str) -> tuple[float, float] | None:
        """p50 and p99 of the latest samples in ms; None without samples."""
        with self._lock:
            values = list(self._samples.get(name, ()))
        if not values:
            return None
        p50, p99 = np.percentile(values, (50, 99))
        return float(p50), float(p99)

    def clear(self) -> None:
        """Start over, as at activation."""
        with self._lock:
            self.counts.clear()
            self._samples.clear()
            self.rung = "none"
        for rate in (*self.inputs.values(), self.predictions):
            rate.clear()
