# SPDX-License-Identifier: Apache-2.0
"""How far commands are from those that a checkpoint was trained on, in deviations of each value."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dd_ros.config import ActionSpec
from dd_ros.data.commands import LARGEST, check_finite
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource

# Deviations from the mean of training within which a command is like those. Recorded ones stay within 5.2 (g1_pick,
# of which a part was trained on) and 6.9 (car); joints in degrees instead of radians are 1,000 away.
FAR = 10.0
SLICE = re.compile(r"(.+)\[(\d*):(\d+)\]")
JOINTS = re.compile(r"(.+)\[([^\]:]*[^\]:\d][^\]:]*)\]")


class TrainedRange:
    """The values that a checkpoint knows, of all of its action vector or a part.

    Args:
        mean, std: of training, [A]; a value that never changed has deviation 1.
        labels: what each value is called.
    """

    def __init__(self, mean: ArrayLike, std: ArrayLike, labels: Sequence[str]):
        self._mean, self._std, self._labels = (
            np.asarray(mean, np.float64),
            np.asarray(std, np.float64),
            tuple(labels),
        )

    @classmethod
    def of(cls, action: ActionSpec, sources: Sequence[ActionSource]) -> TrainedRange:
        """That of a checkpoint whose action comes from ``sources``."""
        labels = action.names or sum((field_labels(source) for source in sources), ())
        if len(labels) != action.dim:
            labels = tuple(f"value {index}" for index in range(action.dim))
        return cls(action.mean, action.std, labels)

    def part(self, first: int, count: int) -> TrainedRange:
        """That of ``count`` values from number ``first`` on."""
        part = slice(first, first + count)
        return TrainedRange(self._mean[part], self._std[part], self._labels[part])

    def far(self, values: NDArray[np.floating], name: str) -> str:
        """What is unlike training in ``values`` [A] or [n, A], those of ``name``; empty if all are within FAR.

        Raises:
            InputError: another number of values, NaN, infinity, or more than the network's numbers, float32, can hold.
        """
        rows = np.atleast_2d(np.asarray(values, np.float64))
        if rows.shape[1] != len(self._mean):
            raise InputError(f"{name}: expected {len(self._mean)} action values, got {rows.shape[1]}")
        check_finite(rows, name)
        with np.errstate(over="ignore"):  # infinitely far is too far
            deviations = np.abs(rows - self._mean) / self._std
        row, worst = np.unravel_index(int(deviations.argmax()), deviations.shape)
        got = f"{self._labels[worst]} = {rows[row, worst]:g}"
        if not deviations[row, worst] <= LARGEST:
            raise InputError(f"{name}: expected values that fit float32 (3.4e38) once normalised, got {got}")
        if deviations[row, worst] <= FAR:
            return ""
        return (
            f"expected values like those of training, got {got}, {deviations[row, worst]:.3g} deviations "
            f"from their mean {self._mean[worst]:.3g}: are the units and the order right? "
            "What is predicted is a guess"
        )


def field_labels(source: ActionSource) -> tuple[str, ...]:
    """What each value of an action topic is called, such as ``position[3]``; of whole fields just the field."""
    labels: list[str] = []
    for field in source.fields:
        if whole := SLICE.fullmatch(field):
            name, start, stop = whole.groups()
            labels += [f"{name}[{index}]" for index in range(int(start or 0), int(stop))]
        elif joints := JOINTS.fullmatch(field):
            labels += [f"{joints[1]}[{joint.strip()}]" for joint in joints[2].split(",")]
        else:
            labels.append(field)
    return tuple(labels)


def normalised(
    actions: ArrayLike, shape: tuple[int, ...], *, mean: NDArray[np.float32], std: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Raw actions whose last dimensions are ``shape``, in deviations [..., A] from the mean of training, float32.

    Raises:
        InputError: another shape, or numbers that are not finite in float32.
    """
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        array = np.asarray(actions, np.float32)
    if array.shape[-len(shape) :] != shape or array.ndim > len(shape) + (len(shape) == 2):
        raise InputError(f"actions: expected shape {list(shape)}, got {list(array.shape)}")
    with np.errstate(over="ignore"):
        scaled = (array - mean) / std
    if not np.isfinite(scaled).all():
        raise InputError("actions: expected finite numbers, got NaN or infinity in float32")
    return scaled
