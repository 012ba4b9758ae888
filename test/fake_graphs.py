# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs as a CPU can have them: operators are recorded with their buffers, and replayed into the same ones.

So work that only runs right the first time, or reads what a later part may overwrite, goes wrong here as on a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from dd_ros.graphs import WARM_UP, Parts, Work, copy_all, shares_memory


class Call(NamedTuple):
    """An operator that was recorded: what it was given and what it made, at their addresses."""

    operator: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    made: list[Tensor]


class Recording(TorchDispatchMode):
    """Runs operators and notes them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._made: dict[int, Tensor] = {}  # by where their memory lies
        self._held: dict[int, list[weakref.ref[Tensor]]] = {}

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        tensors = [item for item in tree_flatten(result)[0] if isinstance(item, Tensor)]
        for tensor in tensors:  # views, too: memory lives as long as one of them
            self._held.setdefault(address(tensor), []).append(weakref.ref(tensor))
        given = {address(item) for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)}
        fresh = not any(address(tensor) in given for tensor in tensors)  # neither a view nor in place
        alias = [tensor.detach() for tensor in tensors] if fresh else []
        self._made |= {address(tensor): tensor for tensor in alias}
        self.calls.append(Call(operator, *tree_map_only(Tensor, Tensor.detach, (args, kwargs)), alias))
        return result

    def replay(self) -> None:
        """All operators again, into the memory that their results had."""
        for call in self.calls:
            result = call.operator(*call.args, **call.kwargs)
            if call.made:
                again = [item for item in tree_flatten(result)[0] if isinstance(item, Tensor)]
                for old, new in zip(call.made, again, strict=True):
                    old.copy_(new)

    def free(self) -> list[Tensor]:
        """Memory of results that nobody holds any more."""
        return [
            tensor
            for place, tensor in self._made.items()
            if not any(holder() is not None for holder in self._held[place])
        ]


def spoil(memory: Sequence[Tensor]) -> None:
    """Overwrite ``memory``: a graph's pool gives what is free to whoever comes next."""
    for tensor in memory:
        tensor.fill_(float("nan") if tensor.is_floating_point() else 85)


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class FakeGraphs:
    """A ``graphs.Recorder`` of such recordings."""

    replays = True

    def __init__(self) -> None:
        self.recorded = 0
        self._pool: list[Tensor] = []  # memory that all work which shares it gives away

    def record(self, work: Work[Parts], inputs: Sequence[Tensor], parts: int) -> Work[Parts]:
        self.recorded += 1
        with torch.inference_mode():
            own = [tensor.clone() for tensor in inputs]
        for _ in range(WARM_UP):
            for _ in work(own):
                pass
        recordings: list[Recording] = []
        results: list[Parts] = []
        free: list[list[Tensor]] = []  # after each part
        steps = work(own)
        for _ in range(parts):
            with Recording() as recording:
                results.append(next(steps))
            recordings.append(recording)
            free.append([tensor for recording in recordings for tensor in recording.free()])

        shared = shares_memory(parts)
        if shared:
            self._pool += free[-1]

        def replay(given: Sequence[Tensor]) -> Iterator[Parts]:
            assert steps is not None
            copy_all(own, given)
            for recording, result, memory in zip(recordings, results, free, strict=True):
                with torch.inference_mode():
                    recording.replay()
                    spoil(memory)
                    if shared:
                        spoil(self._pool)
                yield result

        return replay

    def fetch(self, tensor: Tensor) -> Callable[[], NDArray]:
        copy = np.array(tensor.numpy())
        return lambda: copy
