# SPDX-License-Identifier: Apache-2.0
"""What the two ends of ``dd_ros bench --node`` agree on: the camera's topics, and what a listener keeps of the node."""

from __future__ import annotations

from typing import NamedTuple

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
