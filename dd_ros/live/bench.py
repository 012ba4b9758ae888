# SPDX-License-Identifier: Apache-2.0
"""What those who measure a running node agree on: the camera's topics, and what a listener keeps of the node."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CAMERA = (640, 480)  # width and height of the published images
ACTIONS_PER_IMAGE = 4
IMAGE_TOPIC, ACTION_TOPIC = "/bench/image", "/bench/action"


class Arrival(NamedTuple):
    """A chunk of a prediction as it came in.

    Attributes:
        received_ns: time of arrival.
        stamp_ns: stamp of the camera image that was predicted from.
        chunk, chunks: number of this chunk (from 0), and of how many.
        late: whether the time of each frame had passed at publication.
    """

    received_ns: int
    stamp_ns: int
    chunk: int
    chunks: int
    late: tuple[bool, ...]


class Counters(NamedTuple):
    """What the node has counted of camera images since its activation.

    Attributes:
        observed: used for predictions.
        dropped: overwritten by newer ones before they were used.
        lost: lost by the transport.
    """

    observed: int
    dropped: int
    lost: int


class Received(NamedTuple):
    """A chunk of a prediction as it came.

    Attributes:
        stamp_ns: stamp of the image that was predicted from.
        published_ns: when the node gave it to the middleware, by the system's clock.
        chunk, chunks: number of this chunk (from 0), and of how many.
        first_step: model steps from the image to the first frame.
        targets_ns: time of each frame.
        late: whether it had passed at publication.
        frames: uint8 [c, H, W, 3].
    """

    stamp_ns: int
    published_ns: int
    chunk: int
    chunks: int
    first_step: int
    targets_ns: tuple[int, ...]
    late: tuple[bool, ...]
    frames: NDArray[np.uint8]

    def wrong_times(self, step_ns: int, slack_ns: int) -> str:
        """What is wrong with its times: one step apart from the image on, nothing past called future; or empty."""
        wanted = tuple(self.stamp_ns + (self.first_step + k) * step_ns for k in range(len(self.targets_ns)))
        if self.targets_ns != wanted:
            return f"expected target times {wanted}, got {self.targets_ns}"
        for target, late in zip(self.targets_ns, self.late, strict=True):
            if not late and target < self.published_ns - slack_ns:
                return f"a frame for {target} published at {self.published_ns} is not marked late"
            if late and target > self.published_ns:
                return f"a frame for {target} published at {self.published_ns} is marked late"
        return ""
