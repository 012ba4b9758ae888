# SPDX-License-Identifier: Apache-2.0
"""Clips seen by a camera that pans, turns and zooms: movement of the whole image without end, with its command.

A smaller view wanders over the recorded frames; where it is, is the command. A network that has seen it knows what a
moving camera does before it meets one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from dd_ros.settings import Settings
from dd_ros_training.data.augment import Share

POSE = ("right", "down", "turn", "zoom")  # what the command of the view consists of
# The command's unit: half image sizes, half image sizes, radians, and the logarithm of the view's size.
UNIT = np.array([0.15, 0.15, 0.08, 0.15], np.float32)
FASTEST = 1.5 * np.pi  # of a view's way to and fro that lies within a clip


class CameraMoves(Settings):
    """How recorded clips are seen by a camera that moves.

    Attributes:
        share: of the clips of a batch.
        smallest: side of the view at its smallest, as a share of the image's.
        turn: most turn to either side, radians.
    """

    share: Share = 0.3
    smallest: Annotated[float, Field(ge=0.3, lt=1.0)] = 0.55
    turn: Annotated[float, Field(ge=0.0, le=0.8)] = 0.12


def draw_paths(
    settings: CameraMoves, random: np.random.Generator, clips: int, steps: int
) -> NDArray[np.float32]:
    """Where the view is at each step of each clip: float32 [clips, steps, 4], in the order and units of POSE.

    The view goes to and fro between two places that both lie within the image (but for its corners where it is
    turned), slowly or fast, from anywhere on its way.
    """
    sizes = random.uniform(settings.smallest, 1.0, size=(clips, 2))
    margin = 1.0 - sizes.max(axis=1)
    places = margin[:, None, None] * random.uniform(
        -1.0, 1.0, size=(clips, 2, 2)
    )  # [clips, end, right and down]
    turns = settings.turn * random.uniform(-1.0, 1.0, size=(clips, 2))
    ends = np.concatenate((places, turns[..., None], np.log(sizes)[..., None]), axis=2)
    speed, start = (
        random.uniform(0.2, 1.0, size=(clips, 1)),
        random.uniform(0.0, 2.0 * np.pi, size=(clips, 1)),
    )
    way = 0.5 - 0.5 * np.cos(FASTEST * speed * np.linspace(0.0, 1.0, steps) + start)
    path = ends[:, :1] + way[..., None] * (ends[:, 1:] - ends[:, :1])
    return path.astype(np.float32)


def seen_from(frames: Tensor, path: Tensor) -> Tensor:
    """Frames uint8 [B, T, H, W, 3] as views at ``path`` float32 [B, T, 4] (see POSE) show them; the same shape.

    Where a view looks beyond the image, its border is repeated.
    """
    height, width = frames.shape[2:4]
    right, down, turn, zoom = path.flatten(0, 1).unbind(dim=1)
    size = zoom.exp()
    cosine, sine, shape = size * turn.cos(), size * turn.sin(), height / width
    rows = (
        torch.stack((cosine, -sine * shape, right), dim=1),
        torch.stack((sine / shape, cosine, down), dim=1),
    )
    images = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return views.round_().to(torch.uint8).permute(0, 2, 3, 1).unflatten(0, frames.shape[:2])


class MovedBatches:
    """Training batches of which some clips are seen by a camera that moves; the last values of their actions say how.

    Args:
        batches: as of ``BagData``, with at least len(POSE) spare action values at the end, zero so far.
        settings: how many clips, and how far.
        seed: of all draws.
    """

    def __init__(self, batches: Iterable[dict[str, Tensor]], settings: CameraMoves, seed: Sequence[int]):
        self.batches, self.settings, self.seed = batches, settings, list(seed)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        random = np.random.default_rng(self.seed)
        for batch in self.batches:
            clips, steps = batch["frames"].shape[:2]
            count = int(self.settings.share * clips + random.uniform())  # in the mean as many as asked for
            path = torch.from_numpy(draw_paths(self.settings, random, count, steps)).to(
                batch["frames"].device
            )
            yield moved(batch, path) if count else batch


def moved(batch: dict[str, Tensor], path: Tensor) -> dict[str, Tensor]:
    """The first clips of a batch as seen along ``path`` [n, T, 4]; their earlier frames from where it begins."""
    count, unit = len(path), torch.from_numpy(UNIT).to(path.device)
    start = path[:, :1].expand(-1, batch["earlier_frames"].shape[1], -1)
    result = dict(batch)
    for prefix, way in (("", path), ("earlier_", start)):
        frames, actions = batch[f"{prefix}frames"], batch[f"{prefix}actions"].clone()
        actions[:count, :, -len(POSE) :] = way / unit
        views = seen_from(frames[:count], way)
        result |= {f"{prefix}frames": torch.cat((views, frames[count:])), f"{prefix}actions": actions}
    return result
