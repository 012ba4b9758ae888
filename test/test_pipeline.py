# SPDX-License-Identifier: Apache-2.0
"""Making the next item while this one is worked on: same results, both at once, each on its share of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from dd_ros.pipeline import Pipeline


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_are_those_of_map(two_threads: None, threads: int, count: int) -> None:
    torch.set_num_threads(threads)
    pipeline = Pipeline()
    items = iter(range(10))
    assert list(pipeline.map(lambda item: item * item, items, count)) == [i * i for i in range(count)]
    assert next(items) == count  # nothing beyond the last one was made


def test_the_next_item_is_made_while_this_one_is_worked_on(two_threads: None) -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for index, event in enumerate(made):
            event.set()
            yield index

    def work(item: int) -> bool:
        return item == 2 or made[item + 1].wait(timeout=60)

    assert list(Pipeline().map(work, items(), 3)) == [True, True, True]


def test_each_side_has_half_of_the_threads_and_afterwards_all_are_back(two_threads: None) -> None:
    def items() -> Iterator[int]:
        while True:
            torch.ones(10) + 1  # torch sets the threads of a new thread at its first operation
            yield torch.get_num_threads()

    counted = Pipeline().map(lambda made: (made, torch.get_num_threads()), items(), 4)
    # The first is made, and the last worked on, with nothing beside it.
    assert list(counted) == [(2, 1), (1, 1), (1, 1), (1, 2)]
    assert torch.get_num_threads() == 2


def test_an_error_while_making_an_item_reaches_the_caller(two_threads: None) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("no more")

    results = Pipeline().map(lambda item: item, items(), 3)
    assert next(results) == 0
    with pytest.raises(ValueError, match="no more"):
        next(results)


def test_settle_waits_for_the_item_under_way(two_threads: None) -> None:
    pipeline, go_on, ended = Pipeline(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        go_on.wait(timeout=60)
        ended.set()
        yield 1

    pipeline.drain()  # nothing is under way yet
    results = pipeline.map(lambda item: item, items(), 2)
    next(results)
    del results
    assert not ended.is_set()
    go_on.set()
    pipeline.drain()
    assert ended.is_set()
