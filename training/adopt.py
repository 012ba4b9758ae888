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

    Networks of one origin can be averaged (Wortsman et al. 2022, "Model soups"). Where none has as many action values,
    commands say nothing yet: the network begins as it is at the mean, unchanging action of its own robot.
    """
    known = [other.state_dict() for other in given]
    for name, value in model.state_dict().items():
        fitting = [part[name] for part in known if name in part and part[name].shape == value.shape]
        if fitting:
            value.copy_(mean(fitting))
    weight, bias = (model.state_dict()[f"{FIRST}.{part}"] for part in ("weight", "bias"))
    if not any(part[f"{FIRST}.weight"].shape == weight.shape for part in known) and all(
        part[f"{FIRST}.bias"].shape == bias.shape for part in known
    ):
        weight.zero_()
        bias.copy_(mean([part[f"{FIRST}.bias"] + at_mean(part) for part in known]))


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
    still = at_mean(model.state_dict())
    bias.copy_(mean([weights[f"{FIRST}.bias"] - (still - at_mean(weights)) for weights in own.values()]))


def at_mean(weights: Mapping[str, Tensor]) -> Tensor:
    """What the first layer adds to its bias where actions are the mean ones and stay so."""
    weight = weights[f"{FIRST}.weight"]
    return weight @ Conditioning.at_mean(weight.shape[1] // PER_VALUE)


def mean(values: list[Tensor]) -> Tensor:
    """The mean of tensors of one shape, in the number format of the first."""
    if len(values) == 1:
        return values[0]
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)
