# SPDX-License-Identifier: Apache-2.0
"""The clocks of a bag: which one its stamps are of, and where it was reset.

The live node takes header stamps where there are any and else the time of arrival; so does this, as far as these
are of one clock. What the bag shows of that: how far header stamps are ahead of receive times, whether that
differs between topics, and whether it drifts or jumps while recording. Where clocks differ, receive times are
used for all topics: they are of one clock always. A time of 0 is no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_ros.report import Report

JUMP_NS = 1_000_000_000  # a step back at least this long is a reset, not a late message
# Stamps of two topics farther apart than this, against their receive times, are of different clocks: no link is
# so slow. The same for stamps against receive times that stand in for missing headers.
SAME_CLOCK_NS = 5 * 10**9
ODD_LAG_NS = 2 * 10**9  # differences of more than this are worth a word
AHEAD_NS = 20_000_000  # stamps so far ahead of their receipt are of another clock than the recorder's
DRIFT_NS = 100_000_000  # so much drift within a recording puts images beside other commands
BLOCKS = 12  # parts of a recording, in each of which the clocks are compared
LEAST = 12  # messages in such a part

Times = Sequence[tuple[int | None, int]]  # (header stamp or None, receive time) of messages


@dataclass(frozen=True)
class Lag:
    """How far the header stamps of a topic are ahead of their receive times.

    Attributes:
        ahead_ns: typically.
        drift: by how much more each second of receive time, without unit.
        drifted_ns: by how much in all, as far as that is steady; a slow link that comes and goes is no drift.
        jumped_ns: greatest difference between parts of the recording.
    """

    ahead_ns: float
    drift: float = 0.0
    drifted_ns: float = 0.0
    jumped_ns: float = 0.0

    @property
    def steady(self) -> bool:
        """Whether header stamps and receive times may be of one clock."""
        apart = abs(self.ahead_ns) < SAME_CLOCK_NS and self.jumped_ns < SAME_CLOCK_NS
        return apart and abs(self.drifted_ns) < DRIFT_NS

    @property
    def near_recorder(self) -> bool:
        """Whether receive times can stand in for header stamps."""
        return self.steady and self.ahead_ns < AHEAD_NS

    def __str__(self) -> str:
        where = "ahead of" if self.ahead_ns > 0 else "behind"
        drift = f", drifting by {100 * self.drift:+.3g}%" if abs(self.drifted_ns) > DRIFT_NS / 10 else ""
        jump = f", jumping by {self.jumped_ns / 1e9:.1f} s" if self.jumped_ns >= SAME_CLOCK_NS else ""
        return f"{abs(self.ahead_ns) / 1e9:.3f} s {where} receipt{drift}{jump}"


def known_times(times: Times) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Header stamps and receive times of the messages that have both, in order of receipt."""
    both = sorted((received, header) for header, received in times if header and received > 0)
    table = np.array(both, np.int64).reshape(-1, 2)
    return table[:, 1], table[:, 0]


def lag(times: Times) -> Lag | None:
    """How far header stamps are ahead of receive times; None if most are missing or stuck."""
    headers, received = known_times(times)
    counted = sum(1 for header, got in times if got > 0 or header)
    if 2 * len(headers) <= counted or 3 * len(np.unique(headers)) <= len(headers):
        return None
    return trend(received, headers - received)


def trend(received: NDArray[np.int64], ahead: NDArray[Any]) -> Lag:
    """Middle, drift and jumps of ``ahead`` (ns) over the receive times (ns), by the medians of parts of it."""
    parts = np.array_split(np.arange(len(received)), min(BLOCKS, max(1, len(received) // LEAST)))
    times = np.array([np.median(received[part] - received[0]) for part in parts])
    medians = np.array([np.median(ahead[part]) for part in parts])
    return line(times, medians, float(np.median(ahead)), float(received[-1] - received[0]))


def line(
    times: NDArray[np.float64], medians: NDArray[np.float64], middle: float, span: float | None = None
) -> Lag:
    """Drift and jumps of ``medians`` (ns) at ``times`` (ns, from 0) around ``middle``, over a ``span`` (default: theirs)."""
    span = float(times[-1]) if span is None else span
    if len(times) < 4 or span <= 0:
        return Lag(middle, jumped_ns=float(np.ptp(medians)))
    slope = steady_slope(times, medians)
    rest = medians - slope * times
    if np.ptp(rest) < abs(slope * span) / 4:
        return Lag(middle, slope, slope * span, float(np.ptp(rest)))
    return Lag(middle, jumped_ns=float(np.ptp(medians)))


def steady_slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The median slope between any two points, which a few odd ones do not change."""
    first, second = np.triu_indices(len(x), 1)
    apart = x[second] > x[first]
    return (
        float(np.median((y[second] - y[first])[apart] / (x[second] - x[first])[apart]))
        if apart.any()
        else 0.0
    )


def difference(times: Times, reference: Times) -> Lag:
    """How far the header stamps of one topic are ahead of another's, each taken against its receive times."""
    headers, received = known_times(times)
    others, others_received = known_times(reference)
    inside = (received >= others_received[0]) & (received <= others_received[-1])
    if inside.sum() < 2:  # not at the same time: by what is typical of both
        return Lag(float(np.median(headers - received) - np.median(others - others_received)))
    beside = np.interp(
        (received[inside] - others_received[0]).astype(float),
        (others_received - others_received[0]).astype(float),
        (others - others_received - (others - others_received)[0]).astype(float),
    )
    ahead = (headers - received)[inside] - (others - others_received)[0]
    return trend(received[inside], ahead - beside)


def choose_stamps(
    streams: Mapping[str, Times], problems: Report, source: str = "", *, starts: Sequence[str] = ()
) -> dict[str, list[int | None]]:
    """Stamps of all topics on one clock; None for a message that has none on it.

    Args:
        streams: topic -> times of its messages.
        problems: takes a line where header stamps cannot be used, or look odd.
        source: the bag, for ``problems``.
        starts: topics whose header stamps say when their commands begin, which may be later.
    """
    judged = {topic: times for topic, times in streams.items() if topic not in starts}
    lags = {topic: lag(times) for topic, times in judged.items()}
    known = {topic: ahead for topic, ahead in lags.items() if ahead is not None}
    if len(known) == len(judged) and all(lag(streams[topic]) for topic in starts):
        why = why_apart(judged, known, problems, source=source)
        if not why:
            near = all(ahead.near_recorder for ahead in known.values())
            return {
                topic: headers(times, near if topic in starts else known[topic].near_recorder)
                for topic, times in streams.items()
            }
        problems.add(source, why, "receive times are used")
    elif known:
        if all(ahead.near_recorder for ahead in known.values()):
            return {topic: headers(times, True) for topic, times in streams.items()}
        topic, ahead = max(known.items(), key=lambda item: (not item[1].near_recorder, abs(item[1].ahead_ns)))
        problems.add(
            source,
            f"only {', '.join(known)} of {', '.join(streams)} has header stamps, of another clock: "
            f"those of {topic} are {ahead}",
            "receive times are used",
        )
    return {
        topic: [received if received > 0 else None for _, received in times]
        for topic, times in streams.items()
    }


def why_apart(streams: Mapping[str, Times], lags: Mapping[str, Lag], problems: Report, *, source: str) -> str:
    """Why the header stamps of the topics are not of one clock; empty if they seem to be."""
    first = next(iter(lags))
    for topic in lags:
        apart = difference(streams[topic], streams[first]) if topic != first else Lag(0.0)
        ahead = (lags[first].ahead_ns > AHEAD_NS) != (lags[topic].ahead_ns > AHEAD_NS)
        if not apart.steady or (ahead and abs(apart.ahead_ns) > AHEAD_NS):
            return (
                f"header stamps of {first} and {topic} are of different clocks: "
                f"{first} is {lags[first]}, {topic} {lags[topic]}"
            )
        if abs(apart.ahead_ns) > ODD_LAG_NS:
            problems.add(
                source,
                f"header stamps of {first} and {topic} differ by {abs(apart.ahead_ns) / 1e9:.1f} s more than their "
                "receive times do: are the clocks of camera and robot synchronised?",
            )
    return ""


def headers(times: Times, received_too: bool) -> list[int | None]:
    """Header stamps; where one is missing the receive time, if that is of the same clock."""
    return [header or (received or None if received_too else None) for header, received in times]


def count_resets(stamps: Sequence[tuple[str, int]]) -> list[int]:
    """Number of clock resets before each message (topic, stamp), in recorded order.

    A topic whose stamps go back by a second or more was reset. Other topics follow as soon as their
    stamps are nearer to the new time than to their own old one, so that a reset counts once even
    where some topic was silent.
    """
    newest: dict[str, int] = {}
    resets: dict[str, int] = {}
    current, leader = 0, ""
    found = []
    for topic, stamp in stamps:
        last = newest.get(topic)
        reset = last is not None and stamp <= last - JUMP_NS
        if last is None:
            joins = True
        elif resets[topic] < current:
            joins = abs(stamp - newest[leader]) <= abs(stamp - last)
        else:
            joins = False
        if joins:
            resets[topic] = current
        elif reset:
            current, leader = max(current, resets[topic] + 1), topic
            resets[topic] = current
        newest[topic] = stamp if joins or reset or last is None else max(last, stamp)
        found.append(resets[topic])
    return found
