# SPDX-License-Identifier: Apache-2.0
"""The clocks of a bag: which one its stamps are of, and where it was reset.

The live node takes header stamps where there are any and else the time of arrival; so does this,
as far as the stamps of camera and commands are of one clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from dd_ros.report import Report

JUMP_NS = 1_000_000_000  # a step back at least this long is a reset, not a late message
# Stamps of two topics farther apart than this, against their receive times, are of different clocks.
SAME_CLOCK_NS = 3600 * 10**9
# Receive times stand in for missing headers only next to headers of the recorder's own clock.
RECORDER_CLOCK_NS = 5 * 10**9
# Lags that differ by more than this are worth a word.
ODD_LAG_NS = 2 * 10**9

Times = Sequence[tuple[int | None, int]]  # (header stamp or None, receive time) of messages


def lag(times: Times) -> float | None:
    """How far header stamps are ahead of receive times (ns), typically; None if most are missing or stuck."""
    lags = [header - received for header, received in times if header is not None]
    different = len({header for header, _ in times if header is not None})
    return median(lags) if 2 * len(lags) > len(times) and 3 * different > len(lags) else None


def choose_stamps(
    streams: Mapping[str, Times], problems: Report, source: str = ""
) -> dict[str, list[int | None]]:
    """Stamps of all topics on one clock; None for a message that has none on it.

    Args:
        streams: topic -> times of its messages.
        problems: takes a line where header stamps cannot be used, or look odd.
        source: the bag, for ``problems``.
    """
    lags = {topic: lag(times) for topic, times in streams.items()}
    known = {topic: ahead for topic, ahead in lags.items() if ahead is not None}
    spread = max(known.values()) - min(known.values()) if known else 0.0
    if len(known) == len(streams) and spread < SAME_CLOCK_NS:
        if spread > ODD_LAG_NS:
            problems.add(
                source,
                f"header stamps of {extremes(known)} differ by {spread / 1e9:.1f} s more than their "
                "receive times do: are the clocks of camera and robot synchronised?",
            )
        return {topic: headers(times, near_recorder(lags[topic])) for topic, times in streams.items()}
    if known and len(known) < len(streams) and all(map(near_recorder, known.values())):
        return {topic: headers(times, True) for topic, times in streams.items()}
    if len(known) == len(streams):
        problems.add(
            source, f"header stamps of {extremes(known)} are of different clocks", "receive times are used"
        )
    elif known:
        problems.add(
            source,
            f"only {', '.join(known)} of {', '.join(streams)} has header stamps, of another clock",
            "receive times are used",
        )
    return {topic: [received for _, received in times] for topic, times in streams.items()}


def extremes(lags: Mapping[str, float]) -> str:
    """The topics whose clocks are farthest apart."""
    return f"{min(lags, key=lags.__getitem__)} and {max(lags, key=lags.__getitem__)}"


def near_recorder(lag_ns: float | None) -> bool:
    """Whether header stamps are of the clock of the receive times."""
    return lag_ns is not None and abs(lag_ns) < RECORDER_CLOCK_NS


def headers(times: Times, received_too: bool) -> list[int | None]:
    """Header stamps; where one is missing the receive time, if that is of the same clock."""
    return [header or (received if received_too else None) for header, received in times]


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
