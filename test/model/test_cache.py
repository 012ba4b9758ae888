# SPDX-License-Identifier: Apache-2.0
"""The cache keeps its size for ever and gives back exactly what was observed."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
import torch

from dd_ros.model.attention import KeysValues
from dd_ros.model.cache import KVCache
from dd_ros.predictor import Predictor

STRETCH = 100  # observations from one count to the next
MOST_STRETCHES = 20  # by then nothing may be left behind


def observed(value: float) -> torch.Tensor:
    """Keys and values of a frame of three tokens in a network of one block."""
    return torch.stack([torch.full((1, 2, 3, 4), value), torch.full((1, 2, 3, 4), -value)])[None]


def generated(value: float) -> list[KeysValues]:
    return [KeysValues(torch.full((1, 2, 3, 4), value), torch.full((1, 2, 3, 4), -value))]


def kept(cache: KVCache, part: int = 0) -> list[float]:
    """A channel of the keys, or with 1 of the values, of each observed token."""
    assert cache.observed is not None
    return cache.observed[0, part, 0, 0, :, 0].tolist()


def test_the_first_frame_stands_for_those_before_it() -> None:
    cache = KVCache(context_frames=3, window_chunks=2)
    cache.observe(observed(1.0))
    assert kept(cache) == [1.0] * 9
    cache.observe(observed(2.0))
    assert kept(cache) == [1.0] * 6 + [2.0] * 3


def test_observing_one_more_drops_the_oldest_in_place() -> None:
    cache = KVCache(context_frames=2, window_chunks=2)
    cache.observe(observed(1.0))
    assert cache.observed is not None
    address = cache.observed.data_ptr()
    for value in (2.0, 3.0, 4.0):
        cache.observe(observed(value))
    assert kept(cache) == [3.0] * 3 + [4.0] * 3
    assert kept(cache, 1) == [-3.0] * 3 + [-4.0] * 3
    assert cache.observed.data_ptr() == address


def test_generated_chunks_stay_within_the_window_and_roll_back() -> None:
    cache = KVCache(context_frames=2, window_chunks=2)
    cache.observe(observed(1.0))
    for value in (5.0, 6.0, 7.0):
        cache.append(generated(value))
    assert [chunk[0].keys[0, 0, 0, 0].item() for chunk in cache.generated] == [6.0, 7.0]
    cache.rollback()
    assert not cache.generated
    assert kept(cache)[0] == 1.0


def test_a_prediction_leaves_the_context_as_it_was(tiny_checkpoint) -> None:
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    predictor.observe(image, 0, [0.1, 0.2])
    before = predictor.context().observations.tensors()
    predictor.seed(3)
    first = predictor.predict(np.zeros((8, 2)))
    predictor.predict(np.ones((8, 2)))
    predictor.seed(3)
    assert np.array_equal(first, predictor.predict(np.zeros((8, 2))))
    after = predictor.context().observations.tensors()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_observations_take_no_more_memory_however_many_they_are(tiny_checkpoint) -> None:
    """What one more leaves behind is counted, so that a few hundred tell as much as a day of them."""
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    action = np.zeros(2)

    def held(start: int, count: int) -> tuple[int, int]:
        """Number of tensors, and bytes allocated by Python and NumPy, after so many more observations."""
        for index in range(start, start + count):
            assert predictor.observe(image, index * predictor.step_ns, action)
        gc.collect()
        tensors = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
        return len(tensors), tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        counted = [held(0, STRETCH)]
        for number in range(1, MOST_STRETCHES):
            counted.append(held(STRETCH * number, STRETCH))
            grown = counted[-1][1] - counted[-2][1]
            # Not even a number per observation. Before, Python keeps more as it learns what is done often; other threads
            # of a long run of tests, too.
            if number > 2 and grown < STRETCH * 16:
                break
        else:
            pytest.fail(f"each stretch leaves something behind: {counted}")
    finally:
        tracemalloc.stop()
    assert len({tensors for tensors, _ in counted[-3:]}) == 1
