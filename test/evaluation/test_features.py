# SPDX-License-Identifier: Apache-2.0
"""The distance of features sees what squared errors forgive."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra 'evaluate'")
from dd_ros.evaluation import features
from dd_ros.evaluation.features import feature_distance
from dd_ros.evaluation.metrics import psnr

IMAGE = cv2.resize(astronaut(), (128, 96), interpolation=cv2.INTER_AREA)


def test_equal_images_are_at_no_distance() -> None:
    pair = np.stack([IMAGE, IMAGE[:, ::-1]])
    assert np.array_equal(feature_distance(pair, pair), [0.0, 0.0])


def test_several_predictions_face_the_same_truth() -> None:
    pair = np.stack([IMAGE, IMAGE[::-1]])
    other = np.stack([IMAGE[:, ::-1], IMAGE // 2])
    together = feature_distance(pair, np.stack([other, pair, pair[::-1]]))
    assert together.shape == (3, 2)
    assert np.allclose(together[0], feature_distance(pair, other), atol=1e-6)
    assert np.allclose(together[1], 0.0, atol=1e-6)


def test_it_grows_with_blur() -> None:
    blurred = [cv2.GaussianBlur(IMAGE, (0, 0), sigma) for sigma in (0.5, 1.0, 2.0, 4.0)]
    distances = feature_distance(np.stack([IMAGE] * 4), np.stack(blurred))
    assert (np.diff(distances) > 0).all()
    assert 0.0 < distances[0] < distances[-1] < 2.0


def test_blur_is_worse_than_other_light_of_the_same_error() -> None:
    blurred = cv2.GaussianBlur(IMAGE, (0, 0), 2.0)
    error = np.sqrt(np.mean((IMAGE.astype(float) - blurred) ** 2))
    brighter = (IMAGE * ((255.0 - error) / 255.0) + error).clip(0, 255).astype(np.uint8)
    assert psnr(IMAGE, brighter) < psnr(IMAGE, blurred) + 6.0
    brighter_by, blurred_by = feature_distance(IMAGE[None], np.stack([brighter, blurred])[:, None])[:, 0]
    assert brighter_by < blurred_by


def test_without_the_network_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "network", lambda: None)
    assert np.isnan(feature_distance(IMAGE[None], IMAGE[None])).all()
