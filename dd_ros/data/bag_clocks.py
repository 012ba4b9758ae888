# SPDX-License-Identifier: Apache-2.0
"""Which clock each topic of a bag is read by, what that makes of the camera's rate, and how much hangs on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.clocks import choose_stamps, lag
from dd_ros.data.survey import BagInfo, typical_rate
from dd_ros.report import Report

Stamps = Mapping[str, Sequence[int | None]]


class BagClocks:
    """The stamps of a bag's images and actions, on one clock, as reading its episodes takes them.

    Args:
        info: what the bag holds.
        topics: the image topic, then the action topics; all must be there.

    Attributes:
        stamps: topic -> stamp of each message in ns, or None.
        image_rate: images per second of that clock; 0 if there are no two different times.
    """

    def __init__(self, info: BagInfo, topics: Sequence[str]):
        found = [info.topic(name) for name in topics]
        self._times = {topic.name: topic.times for topic in found}
        self._image, self._actions = topics[0], list(topics[1:])
        starts = [topic.name for topic in found if topic.starts]
        self.stamps = choose_stamps(self._times, Report(), starts=starts)
        gaps = np.diff(np.unique(known(self.stamps[self._image]))) / 1e9
        self.image_rate = typical_rate(gaps) if len(gaps) else 0.0

    def line(self) -> str:
        """Clocks, their lag and drift, and the share of images with another command by the other choice."""
        parts = []
        for topic, times in self._times.items():
            ahead = lag(times)
            by = "header stamps" if self._by_header(topic) else "receive times"
            parts.append(f"{topic} {by}" + (f" (header {ahead})" if ahead else ""))
        share = self.changed_share()
        other = "receive times" if self._by_header(self._image) else "header stamps"
        return "; ".join(parts) + (
            "" if share is None else f"; {other} would change the command of {share:.1%} of images"
        )

    def changed_share(self) -> float | None:
        """Share of images that would get another command by the other choice of clock; None without such."""
        by_header = self._by_header(self._image)
        if not any(header for header, _ in self._times[self._image]):
            return None
        other = {
            topic: [received if by_header else header or received for header, received in times]
            for topic, times in self._times.items()
        }
        changed = np.zeros(len(self._times[self._image]), bool)
        usable = np.array([stamp is not None for stamp in self.stamps[self._image]])
        for topic in self._actions:
            mine = in_force(self.stamps[self._image], self.stamps[topic])
            changed |= mine != in_force(other[self._image], other[topic])
        return float(changed[usable].mean()) if usable.any() else None

    def _by_header(self, topic: str) -> bool:
        """Whether a topic's stamps are those of its headers."""
        pairs = zip(self.stamps[topic], self._times[topic], strict=True)
        return any(
            header is not None and stamp == header != received for stamp, (header, received) in pairs
        ) or all(header == received for header, received in self._times[topic])


def known(stamps: Sequence[int | None]) -> NDArray[np.int64]:
    return np.array([stamp for stamp in stamps if stamp is not None], np.int64)


def in_force(images: Sequence[int | None], commands: Sequence[int | None]) -> NDArray[np.int64]:
    """Number of the command in force at each image, by time; -1 before the first."""
    times = np.array([-1 if stamp is None else stamp for stamp in commands], np.int64)
    order = np.argsort(times, kind="stable")
    places = np.searchsorted(times[order], [stamp or 0 for stamp in images], side="right") - 1
    return np.where(places >= 0, order[places], -1)
