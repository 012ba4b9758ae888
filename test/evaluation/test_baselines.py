# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros.evaluation.baselines import copy_last, optical_flow
from dd_ros.evaluation.metrics import psnr


def moving_view(steps: int, dx: float, dy: float) -> NDArray[np.uint8]:
    """A camera that pans over a smooth texture: uint8 [steps, 96, 128, 3]."""
    noise = np.random.default_rng(3).uniform(0, 255, (200, 240, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 4.0)
    texture = (texture - texture.min()) * (255.0 / np.ptp(texture))
    frames = []
    for step in range(steps):
        shift = np.float32([[1, 0, dx * step - 50], [0, 1, dy * step - 50]])
        frames.append(cv2.warpAffine(texture, shift, (128, 96)).astype(np.uint8))
    return np.stack(frames)


def test_copy_last_repeats_the_last_frame():
    frames = moving_view(2, 1.0, 0.0)
    guess = copy_last(frames[0], frames[1], 3)
    assert guess.shape == (3, 96, 128, 3)
    assert (guess == frames[1]).all()


def test_optical_flow_carries_a_translation_on():
    """On a steady pan it predicts the inside of the image nearly exactly, copy-last does not."""
    frames = moving_view(8, 1.5, -1.0)
    inside = np.s_[:, 20:-20, 20:-20]
    true = frames[2:][inside]
    flow = psnr(true, optical_flow(frames[0], frames[1], 6)[inside])
    copy = psnr(true, copy_last(frames[0], frames[1], 6)[inside])
    assert (flow > 30.0).all()
    assert (flow > copy + 8.0).all()


def test_optical_flow_of_a_still_camera_is_copy_last():
    frame = moving_view(1, 0.0, 0.0)[0]
    assert (psnr(copy_last(frame, frame, 4), optical_flow(frame, frame, 4)) > 45.0).all()
