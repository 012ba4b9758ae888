# SPDX-License-Identifier: Apache-2.0
"""Work of fixed shapes, recorded once and replayed: on a GPU as CUDA graphs, which launch thousands of kernels at once.

Work is a generator function of tensors; what it does up to one ``yield`` is a *part*. Recorded work copies the tensors
that it is given into inputs of its own, at addresses that stay, and replays part after part. What it yields lies at
addresses that stay, too: it is good until the same recorded work runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Parts = TypeVar("Parts")
Work = Callable[[Sequence[Tensor]], Iterator[Parts]]
WARM_UP = 2  # runs before a recording: libraries choose their kernels and set up their memory


class Recorder(Protocol):
    """How an engine runs its work."""

    replays: bool  # shapes are fixed, and the host does not wait for parts: the next may be asked for early

    def record(self, work: Work[Parts], inputs: Sequence[Tensor], parts: int) -> Work[Parts]:
        """``work`` ready to run again and again.

        Args:
            work: makes ``parts`` parts out of tensors like ``inputs``; it may change other tensors in place, but then
                the same ones each time.
            inputs: examples, for shapes and number formats.
            parts: how many parts there are.

        Returns:
            What to call instead of ``work``.

        Raises:
            torch.cuda.OutOfMemoryError: the device has too little memory for it.
        """
        ...

    def fetch(self, tensor: Tensor) -> Callable[[], NDArray]:
        """Begin to bring a tensor that work has yielded to the host; the call that is returned waits for it."""
        ...


class Plain:
    """Runs work as it is, on a CPU, where launching a kernel costs little."""

    replays = False

    def record(self, work: Work[Parts], inputs: Sequence[Tensor], parts: int) -> Work[Parts]:
        return work

    def fetch(self, tensor: Tensor) -> Callable[[], NDArray]:
        return tensor.numpy


def shares_memory(parts: int) -> bool:
    """Whether recorded work of so many parts may use the same memory as other work, which may run between two parts.

    What is free when a recording ends was in use between its first parts: keys and values that have left the window.
    """
    return parts == 1


class CudaGraphs:
    """A CUDA graph for each part.

    What a later part needs of an earlier one is held by the work's own generator, which stays where it stopped.
    """

    replays = True

    def __init__(self, device: torch.device):
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream()

    def record(self, work: Work[Parts], inputs: Sequence[Tensor], parts: int) -> Work[Parts]:
        with torch.inference_mode():
            own = [tensor.clone() for tensor in inputs]
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                for _ in work(own):
                    pass
        self._stream.synchronize()
        pool = self._pool if shares_memory(parts) else torch.cuda.graph_pool_handle()
        graphs: list[torch.cuda.CUDAGraph] = []
        results: list[Parts] = []
        steps = work(own)
        for _ in range(parts):
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile: another predictor, a viewer.
            with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
                results.append(next(steps))
            graphs.append(graph)

        def replay(given: Sequence[Tensor]) -> Iterator[Parts]:
            assert steps is not None  # what it holds is in use
            copy_all(own, given)
            for graph, result in zip(graphs, results, strict=True):
                graph.replay()
                yield result

        return replay

    def fetch(self, tensor: Tensor) -> Callable[[], NDArray]:
        # torch keeps pinned memory for the next of its size, and does not give it out before the copy is done.
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def wait() -> NDArray:
            done.synchronize()
            return host.numpy()

        return wait


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Each of ``sources`` into its target, in one kernel where that is possible."""
    if targets:
        with torch.inference_mode():
            torch._foreach_copy_(list(targets), list(sources))


def recorder_for(device: torch.device) -> Recorder:
    """What suits ``device``."""
    return CudaGraphs(device) if device.type == "cuda" else Plain()


class Runner:
    """Runs work on a device without gradients and in one number format.

    Args:
        device: where.
        dtype: number format of matrix products.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.device, self.dtype = device, dtype
        self.recorder = recorder_for(device)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """No gradients, and matrix products in ``dtype``."""
        low = self.dtype == torch.bfloat16
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=low, cache_enabled=False)
        with torch.inference_mode(), autocast:
            yield

    def record(self, work: Work[Parts], inputs: Sequence[Tensor], parts: int) -> Work[Parts]:
        """As ``Recorder.record``, of work for which ``inference`` holds, but not where it is suspended."""

        def guarded(given: Sequence[Tensor]) -> Iterator[Parts]:
            steps = work(given)
            while True:
                with self.inference():
                    try:
                        part = next(steps)
                    except StopIteration:
                        return
                yield part

        return self.recorder.record(guarded, inputs, parts)

    def run(self, work: Work[Parts], inputs: Sequence[Tensor]) -> Parts:
        """What work of one part yields."""
        (part,) = work(inputs)
        return part

    def to_device(self, array: NDArray) -> Tensor:
        """A tensor of ``array`` on the device; the array's own memory may be used for other things at once."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)
