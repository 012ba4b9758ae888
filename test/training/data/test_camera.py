# SPDX-License-Identifier: Apache-2.0
"""Views that pan, turn and zoom over recorded frames, and the command that says so."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dd_ros_training.data.camera import POSE, UNIT, CameraMoves, MovedBatches, draw_paths, seen_from

HEIGHT, WIDTH = 48, 64


def picture() -> np.ndarray:
    """A smooth image whose every place looks different, uint8 [H, W, 3]."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def view_of(image: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The slow, obvious view: for each pixel, where it looks."""
    right, down, turn, zoom = pose.astype(float)
    result = np.zeros((HEIGHT, WIDTH, 3))
    for row in range(HEIGHT):
        for column in range(WIDTH):
            # From the view's middle, in pixels, sized and turned, then moved by half image sizes.
            x, y = np.exp(zoom) * np.array([column + 0.5 - WIDTH / 2, row + 0.5 - HEIGHT / 2])
            x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
            x, y = x + WIDTH / 2 * (1 + right) - 0.5, y + HEIGHT / 2 * (1 + down) - 0.5
            x, y = np.clip(x, 0, WIDTH - 1), np.clip(y, 0, HEIGHT - 1)
            x0, y0 = int(min(x, WIDTH - 2)), int(min(y, HEIGHT - 2))
            a, b = x - x0, y - y0
            corners = image[y0 : y0 + 2, x0 : x0 + 2].astype(float)
            top = (1 - a) * corners[0, 0] + a * corners[0, 1]
            result[row, column] = (1 - b) * top + b * ((1 - a) * corners[1, 0] + a * corners[1, 1])
    return result


@pytest.mark.parametrize(
    "pose", [(0, 0, 0, 0), (0.2, -0.1, 0, -0.4), (0, 0.1, 0.3, -0.3), (-0.3, 0.2, -0.2, 0)]
)
def test_a_view_is_where_its_command_says(pose: tuple[float, ...]) -> None:
    image, path = picture(), torch.tensor(pose, dtype=torch.float32)
    seen = seen_from(torch.from_numpy(image)[None, None], path[None, None])[0, 0].numpy()
    assert np.abs(seen - view_of(image, path.numpy())).max() <= 1.0


@given(seed=st.integers(0, 2**32 - 1), smallest=st.floats(0.3, 0.95))
def test_views_that_do_not_turn_lie_within_the_image(seed: int, smallest: float) -> None:
    settings = CameraMoves(smallest=smallest, turn=0.0)
    path = draw_paths(settings, np.random.default_rng(seed), 3, 18)
    size = np.exp(path[..., 3])
    assert path.shape == (3, 18, len(POSE))
    assert (size >= smallest - 1e-6).all()
    assert (np.abs(path[..., :2]) + size[..., None] <= 1.0 + 1e-6).all()


def batches(clips: int) -> dict[str, torch.Tensor]:
    frames = torch.from_numpy(picture()).expand(clips, 5, HEIGHT, WIDTH, 3)
    actions = torch.zeros(clips, 5, 2 + len(POSE))
    actions[..., :2] = 7.0
    return {
        "frames": frames, "actions": actions, "earlier_frames": frames[:, :2], "earlier_actions": actions[:, :2]
    }  # fmt: skip


def test_clips_are_moved_with_their_command_and_others_are_left() -> None:
    whole = batches(4)
    (batch,) = MovedBatches([whole], CameraMoves(share=0.5), seed=(1, 2))
    assert torch.equal(batch["actions"][..., :2], whole["actions"][..., :2])  # the robot's own stay
    path = batch["actions"][:2, :, 2:] * torch.from_numpy(UNIT)
    assert torch.equal(batch["frames"][:2], seen_from(whole["frames"][:2], path))
    assert (path.std(dim=1) > 0).all()
    assert torch.equal(batch["earlier_actions"][:2, :, 2:], batch["actions"][:2, :1, 2:].expand(-1, 2, -1))
    assert torch.equal(batch["earlier_frames"][:2, 1], batch["frames"][:2, 0])
    for name in ("frames", "actions", "earlier_frames", "earlier_actions"):
        assert torch.equal(batch[name][2:], whole[name][2:])
        assert batch[name].shape == whole[name].shape
    assert (whole["actions"][..., 2:] == 0).all()  # the batch that came in is as it was


def test_as_many_clips_are_moved_as_asked_for() -> None:
    made = MovedBatches([batches(4)] * 400, CameraMoves(share=0.3), seed=(0,))
    counts = [int((batch["actions"][:, 0, 2:] != 0).any(dim=1).sum()) for batch in made]
    assert set(counts) == {1, 2}
    assert np.mean(counts) == pytest.approx(1.2, abs=0.1)
    assert [b["actions"].sum() for b in made] == [b["actions"].sum() for b in made]  # the same seed, the same
