# SPDX-License-Identifier: Apache-2.0
"""The time line of a bag: which clock its stamps are of, and where it was reset.

The live node takes header stamps where there are any and else the time of arrival; so does this,
as far as the stamps of camera and commands are of one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from dd_ros.streams import JUMP_NS

# Stamps of two topics farther apart than this, against their receive times, are of different clocks.
SAME_CLOCK_NS = 3600 * 10**9
# Receive times stand in for missing headers only next to headers of the recorder's own clock.
RECORDER_CLOCK_NS = 5 * 10**9
# Lags that differ by more than this are worth a word.
ODD_LAG_NS = 2 * 10**9

Times = Sequence[tuple[int | None, int]]  # (header stamp or None, receive time) of messages


def lag(times: Times) -> float | None:
    """How far header stamps are ahead of receive times (ns), typically; None if most are missing."""
    lags = [header - received for header, received in times if header is not None]
    return median(lags) if 2 * len(lags) > len(times) else None


def choose_stamps(
    images: Times, actions: Times, problems: list[str]
) -> tuple[list[int | None], list[int | None]]:
    """Stamps of images and actions on one clock; None for a message that has none on it."""
    image, action = lag(images), lag(actions)
    near_image, near_action = near_recorder(image), near_recorder(action)
    if image is not None and action is not None and abs(image - action) < SAME_CLOCK_NS:
        if abs(image - action) > ODD_LAG_NS:
            problems.append(
                f"header stamps of images and actions differ by {abs(image - action) / 1e9:.1f} s more than their "
                "receive times do: are the clocks of camera and robot synchronised?"
            )
        return headers(images, near_image), headers(actions, near_action)
    if image is not None and action is not None:
        problems.append("header stamps of images and actions are of different clocks; receive times are used")
    elif near_image or near_action:
        return headers(images, True), headers(actions, True)
    elif image is not None or action is not None:
        problems.append(
            "only one of images and actions has header stamps, of another clock; receive times are used"
        )
    return [received for _, received in images], [received for _, received in actions]


def near_recorder(lag_ns: float | None) -> bool:
    """Whether header stamps are of the clock of the receive times."""
    return lag_ns is not None and abs(lag_ns) < RECORDER_CLOCK_NS


def headers(times: Times, received_too: bool) -> list[int | None]:
    """Header stamps; where one is missing the receive time, if that is of the same clock."""
    return [header or (received if received_too else None) for header, received in times]


def segments(stamps: Sequence[tuple[str, int]]) -> list[int]:
    """Number of clock resets before each message (topic, stamp), in recorded order.

    A topic whose stamps go back by a second or more was reset. Other topics follow as soon as their
    stamps are nearer to the new time than to their own old one, so that a reset counts once even
    where some topic was silent.
    """
    newest: dict[str, int] = {}
    segment: dict[str, int] = {}
    current, leader = 0, ""
    found = []
    for topic, stamp in stamps:
        last = newest.get(topic)
        reset = last is not None and stamp <= last - JUMP_NS
        if last is None:
            joins = True
        elif segment[topic] < current:
            joins = abs(stamp - newest[leader]) <= abs(stamp - last)
        else:
            joins = False
        if joins:
            segment[topic] = current
        elif reset:
            current, leader = max(current, segment[topic] + 1), topic
            segment[topic] = current
        newest[topic] = stamp if joins or reset or last is None else max(last, stamp)
        found.append(segment[topic])
    return found
