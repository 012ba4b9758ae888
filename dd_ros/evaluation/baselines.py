# SPDX-License-Identifier: Apache-2.0
"""Trivial guesses that a prediction must beat. Both see only the frames that the model sees."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def copy_last(previous: Images, last: Images, horizon: int) -> Images:
    """The last frame [H, W, 3], repeated: uint8 [horizon, H, W, 3]. ``previous`` is not used."""
    return np.repeat(last[None], horizon, axis=0)


def optical_flow(previous: Images, last: Images, horizon: int) -> Images:
    """Motion between the last two frames [H, W, 3] goes on at constant speed: uint8 [horizon, H, W, 3].

    Dense flow (Farneback) from the last frame back to the one before says where each pixel's content
    came from; step k looks k times as far back along it.
    """
    now, before = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (last, previous))
    back = np.zeros((*now.shape, 2), np.float32)
    back = cv2.calcOpticalFlowFarneback(now, before, back, 0.5, 3, 15, 3, 5, 1.2, 0)
    rows, columns = np.mgrid[0 : last.shape[0], 0 : last.shape[1]].astype(np.float32)
    return np.stack(
        [
            cv2.remap(
                last,
                columns + step * back[..., 0],
                rows + step * back[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for step in range(1, horizon + 1)
        ]
    )


BASELINES = {"copy_last": copy_last, "optical_flow": optical_flow}
