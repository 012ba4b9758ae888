# SPDX-License-Identifier: Apache-2.0
"""What the programs of a soak agree on: topics, the scene, and what is kept of predictions.

The scene stands still, so that what the node has to predict is known to the last digit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dd_ros.config import CheckpointConfig
from dd_ros.demo.pusht import World

IMAGE_TOPIC, ACTION_TOPIC, PLAN_TOPIC, FAULT_TOPIC = (
    "/soak/image",
    "/soak/action",
    "/soak/plan",
    "/soak/fault",
)


class Scene:
    """What the camera sees and what the robot is told, all the time.

    Attributes:
        image: uint8 RGB [H, W, 3], of the checkpoint's size.
        command: the action, as plain numbers.
    """

    def __init__(self, config: CheckpointConfig):
        streams = config.streams
        self.command = [float(value) for value in config.action.mean]
        coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
        rows = np.arange(streams.height) * 4 // streams.height
        columns = np.arange(streams.width) * 6 // streams.width
        self.image: NDArray[np.uint8] = np.ascontiguousarray(coarse[rows][:, columns])
        if config.name == "pusht":  # a scene that it was trained on
            world = World(0)
            self.image, self.command = world.image(), [float(value) for value in world.pusher]


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
