# SPDX-License-Identifier: Apache-2.0
"""Networks that begin with the weights of others."""

from __future__ import annotations

import torch
from tiny import tiny_config

from dd_ros.checkpoint import Model
from dd_ros.config import ActionSpec
from dd_ros.model.conditioning import Conditioning
from dd_ros_training.adopt import adopt, adopt_actions


def model_of(dim: int, seed: int) -> Model:
    torch.manual_seed(seed)
    action = ActionSpec(dim=dim, mean=(0.0,) * dim, std=(1.0,) * dim)
    return Model(tiny_config().model_copy(update={"action": action}))


def first_layer(model: Model, actions: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """What the first layer makes of actions [A] after ``now`` [A]."""
    seen: list[torch.Tensor] = []
    conditioning: Conditioning = model.transformer.conditioning
    hook = conditioning.action[0].register_forward_hook(lambda _, given, made: seen.append(made))
    with torch.no_grad(), hook:
        conditioning(
            torch.zeros(1, 1), actions[None, None], now=now[None], steps=torch.ones(1, dtype=torch.int64)
        )
    return seen[0].flatten()


def test_several_are_averaged_where_they_fit() -> None:
    one, two, other = model_of(2, 1), model_of(2, 2), model_of(3, 3)
    mixed = model_of(2, 4)
    adopt(mixed, one, two, other)
    layer = "transformer.conditioning.action.0.weight"
    for name, value in mixed.state_dict().items():
        parts = [m.state_dict()[name] for m in ((one, two) if name == layer else (one, two, other))]
        torch.testing.assert_close(value, torch.stack(parts).mean(dim=0).to(value.dtype))


def test_a_robot_reads_its_own_actions_where_they_lie_among_others() -> None:
    """To the robots' common bias: the differences between two actions are exactly its own."""
    arm, car = model_of(3, 1), model_of(2, 2)
    mixed = model_of(8, 3)
    adopt_actions(mixed, {"arm": arm, "car": car}, {"arm": range(1, 4), "car": range(5, 7)})
    bias = []
    for own, slot in ((arm, slice(1, 4)), (car, slice(5, 7))):
        values, common = (
            torch.randn(2, own.transformer.conditioning.action[0].in_features // 10),
            torch.zeros(2, 8),
        )
        common[:, slot] = values
        bias.append(first_layer(mixed, *common) - first_layer(own, *values))
    torch.testing.assert_close(bias[0] + bias[1], torch.zeros_like(bias[0]), atol=1e-5, rtol=0.0)


def test_of_one_robot_alone_nothing_is_lost() -> None:
    arm, mixed = model_of(3, 1), model_of(5, 2)
    adopt_actions(mixed, {"arm": arm}, {"arm": range(2, 5)})
    values, common = torch.randn(2, 3), torch.zeros(2, 5)
    common[:, 2:] = values
    torch.testing.assert_close(first_layer(mixed, *common), first_layer(arm, *values), atol=1e-5, rtol=0.0)


def test_of_another_robot_commands_say_nothing_yet() -> None:
    """Whatever they are, the network is as it was at its own robot's mean action."""
    arm, car = model_of(3, 1), model_of(2, 2)
    adopt(car, arm)
    as_it_was = first_layer(arm, torch.zeros(3), torch.zeros(3))
    for values in torch.randn(2, 2, 2):
        torch.testing.assert_close(first_layer(car, *values), as_it_was)


def test_of_several_others_it_begins_between_them() -> None:
    arm, leg, car = model_of(3, 1), model_of(4, 2), model_of(2, 3)
    adopt(car, arm, leg)
    between = (first_layer(arm, *torch.zeros(2, 3)) + first_layer(leg, *torch.zeros(2, 4))) / 2
    torch.testing.assert_close(first_layer(car, *torch.randn(2, 2)), between)
