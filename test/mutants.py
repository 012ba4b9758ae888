# SPDX-License-Identifier: Apache-2.0
"""Files with bytes flipped, cut out, swapped and zeroed, and how many of them the tests look at."""

from __future__ import annotations

import os

import numpy as np

MUTANTS = int(os.environ.get("MUTANTS", "30"))  # of each kind of recording


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """``data`` with one to four changes."""
    for _ in range(int(rng.integers(1, 5))):
        size = len(data)
        first, second = sorted(int(place) for place in rng.integers(0, max(size, 1), 2))
        length = int(rng.integers(1, 64))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            data = data[:first] + bytes(rng.integers(0, 256, length, np.uint8)) + data[first + length :]
        elif kind == 1:
            data = data[:second]
        elif kind == 2:
            data = data[:first] + data[first + length :]
        elif kind == 3:
            data = data[:first] + data[second : second + length] + data[first + length :]
        elif kind == 4:
            data = data[:first] + bytes(length) + data[first + length :]
        else:
            flipped = bytearray(data)
            flipped[min(first, size - 1) : min(first, size - 1) + 1] = bytes(
                [1 << int(rng.integers(0, 8))]
            ) * bool(size)
            data = bytes(flipped)
    return data
