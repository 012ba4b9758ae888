# SPDX-License-Identifier: Apache-2.0
"""The optimiser of matrices moves them as torch's does, only together."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim import Muon

from dd_ros_training.muon import BatchedMuon, orthogonalised


def matrices() -> nn.ParameterList:
    torch.manual_seed(0)
    shapes = [(24, 8), (8, 8), (24, 8), (8, 32), (8, 8)]
    return nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)


def learn(optimizer: torch.optim.Optimizer, parts: nn.ParameterList, steps: int) -> None:
    """Towards smaller sines; one matrix never has a gradient."""
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack([part.sin().square().mean() for part in list(parts)[:-1]]).sum().backward()
        optimizer.step()


def test_matrices_move_as_by_the_optimiser_of_torch() -> None:
    """Within the rounding of bfloat16, and each goes on from the other's state."""
    mine, theirs = matrices(), matrices()
    start = copy.deepcopy(mine)
    one, other = BatchedMuon(mine, lr=0.02, weight_decay=0.01), Muon(theirs, lr=0.02, weight_decay=0.01)
    learn(one, mine, 3)
    learn(other, theirs, 3)
    onward = BatchedMuon(theirs, lr=0.02, weight_decay=0.01)
    onward.load_state_dict(other.state_dict())
    learn(one, mine, 3)
    learn(onward, theirs, 3)
    for moved, expected, before in zip(mine, theirs, start, strict=True):
        change = (expected - before).norm()
        assert (moved - expected).norm() <= 0.02 * change
    assert torch.equal(mine[-1], start[-1])
    assert not torch.equal(mine[0], start[0])


def test_orthogonal_matrices_have_singular_values_about_one() -> None:
    tall = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    found = orthogonalised(tall, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    values = torch.linalg.svdvals(found.float())
    assert found.shape == tall.shape
    assert (values.min() > 0.4) & (values.max() < 1.4)
