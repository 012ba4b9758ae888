# SPDX-License-Identifier: Apache-2.0
"""torch's Muon with matrices of one shape taken together: a few large kernels instead of many small ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Muon

from dd_ros.device import native_dtype


class BatchedMuon(Muon):
    """``torch.optim.Muon`` (Nesterov momentum, Keller's learning rate); state and options are the same.

    The blocks of a transformer have the same few shapes. torch orthogonalises one matrix after the other: hundreds of
    kernels that each do next to nothing.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One optimiser step; gives the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for matrices in shapes.values():
                self.update(matrices, group)
        return loss

    def update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Move ``matrices`` of one shape by their gradients."""
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        for matrix in matrices:
            state = self.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(matrix)
        momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])
        steps = torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        orthogonal = orthogonalised(steps, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = steps.shape[1:]
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(matrices, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(orthogonal.float().contiguous()), alpha=-rate)


def orthogonalised(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float
) -> Tensor:
    """Nearly orthogonal matrices of the same singular vectors, by Newton and Schulz; [N, rows, columns].

    In bfloat16 where the device multiplies it natively. Emulated on a CPU it takes longer than the rest of a training step.
    """
    a, b, c = coefficients
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices.to(native_dtype(matrices.device))
    x = x if wide else x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(epsilon).to(x.dtype)  # autocast takes norms in float32
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
