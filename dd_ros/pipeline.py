# SPDX-License-Identifier: Apache-2.0
"""Two computations at once on a CPU: the next chunk is denoised while this one is decoded.

The kernels of either are too small to keep all cores busy: a pass over one rollout takes one core about as long
as two. So each side gets half of the threads, and the decoder's time is hidden behind the denoiser's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

S = TypeVar("S")
T = TypeVar("T")


class Overlap:
    """Makes items in a thread of its own while the caller works on the one before."""

    def __init__(self) -> None:
        # torch sets a thread's number of threads when that is first asked for, which would undo a limit.
        self._pool = ThreadPoolExecutor(1, "denoising", initializer=torch.get_num_threads)
        self._openmp = ThreadpoolController().select(user_api="openmp")
        self._ahead: Future[Any] | None = None

    def map(self, work: Callable[[S], T], items: Iterator[S], count: int) -> Iterator[T]:
        """``work`` of the first ``count`` of ``items``; item k + 1 is made while ``work`` has item k.

        Whoever stops before the end calls ``drain`` before touching what ``items`` uses.
        """
        half = torch.get_num_threads() // 2
        if half == 0:
            yield from map(work, islice(items, count))
            return
        item = next(items)
        for _ in range(count - 1):
            self._ahead = ahead = self._pool.submit(self._limited, half, next, items)
            yield self._limited(half, work, item)
            item = ahead.result()
        yield work(item)

    def drain(self) -> None:
        """Wait for the item under way, if there is one."""
        if self._ahead is not None:
            wait([self._ahead])

    def _limited(self, threads: int, work: Callable[[S], T], item: S) -> T:
        with self._openmp.limit(limits=threads):
            return work(item)
