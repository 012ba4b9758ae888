# SPDX-License-Identifier: Apache-2.0
"""Networks that begin with the weights of other robots'."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dd_ros.checkpoint import Model
from dd_ros.model.conditioning import PER_VALUE, Conditioning

FIRST = "transformer.conditioning.action.0"  # the layer that knows each action value


@torch.no_grad()
def adopt(model: Model, *given: Model) -> None:
    """Copy every weight that has the same name and shape in ``model``: the mean over those ``given`` that have it.

    Networks of one origin can be averaged (Wortsman et al. 2022, "Model soups").
    """
    known = [other.state_dict() for other in given]
    for name, value in model.state_dict().items():
        fitting = [part[name] for part in known if name in part and part[name].shape == value.shape]
        if fitting:
            value.copy_(mean(fitting))


@torch.no_grad()
def adopt_actions(model: Model, given: Mapping[str, Model], slots: Mapping[str, range]) -> None:
    """What each of the robots ``given`` makes of its own actions, where these lie at ``slots`` of a common vector.

    Where the others' values are their means, a robot's first layer is then its own but for the bias, which is the
    mean of theirs.
    """
    weight, bias = (model.state_dict()[f"{FIRST}.{part}"] for part in ("weight", "bias"))
    dim = weight.shape[1] // PER_VALUE
    own = {name: other.state_dict() for name, other in given.items()}
    for name, weights in own.items():
        weight[:, Conditioning.columns(dim, slots[name])] = weights[f"{FIRST}.weight"]
    still = weight @ Conditioning.at_mean(dim)
    biases = []
    for name, weights in own.items():
        others = still - weights[f"{FIRST}.weight"] @ Conditioning.at_mean(len(slots[name]))
        biases.append(weights[f"{FIRST}.bias"] - others)
    bias.copy_(mean(biases))


def mean(values: list[Tensor]) -> Tensor:
    """The mean of tensors of one shape, in the number format of the first."""
    if len(values) == 1:
        return values[0]
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)
