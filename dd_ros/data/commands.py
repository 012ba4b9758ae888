# SPDX-License-Identifier: Apache-2.0
"""Actions by time: the commands of a topic, of several joined, and those planned behind the executed ones."""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dd_ros.data.action_reader import Command
from dd_ros.data.clocks import JUMP_NS
from dd_ros.errors import InputError

LARGEST = float(np.finfo(np.float32).max)


class ActionBuffer:
    """The newest commands of an action stream, bounded, and their value at any time.

    Args:
        dim: length of an action vector; None takes the first one's.
        mode: ``hold`` gives the newest command not after the time asked for; ``linear``
            interpolates to the next command where that is known already.
        capacity: commands kept.
        name: topic named in errors.
    """

    def __init__(self, dim: int | None, *, mode: str = "hold", capacity: int = 4096, name: str = "action"):
        self.dim, self.mode, self.capacity, self.name = dim, mode, capacity, name
        self._items: list[tuple[int, int, NDArray[np.float64]]] = []
        self._count = 0

    def push(self, stamp_ns: int, values: ArrayLike) -> None:
        """Add a command; late ones are sorted in, a step back of a second or more clears the rest.

        Raises:
            InputError: wrong length, NaN or infinity.
        """
        vector = np.asarray(values, np.float64).reshape(-1)
        if self.dim is None:
            self.dim = len(vector)
        if len(vector) != self.dim:
            raise InputError(f"{self.name}: expected {self.dim} action values, got {len(vector)}")
        check_finite(vector, self.name)
        if self._items and stamp_ns <= self._items[-1][0] - JUMP_NS:
            self._items.clear()
        self._count += 1
        insort(self._items, (stamp_ns, self._count, vector))
        del self._items[: -self.capacity]

    def push_all(self, stamp_ns: int, command: Command) -> None:
        """Add what one message of ``stamp_ns`` commands; one that spans time replaces what is left of others.

        Raises:
            InputError: wrong length, NaN or infinity; nothing is added then.
        """
        if not command.spans:
            self.push(stamp_ns, command.values[0])
            return
        checked = ActionBuffer(self.dim, mode=self.mode, capacity=len(command.values), name=self.name)
        for offset, values in zip(command.offsets_ns, command.values, strict=True):
            checked.push(stamp_ns + offset, values)
        self.dim = checked.dim
        past = bisect_right(self._items, stamp_ns, key=lambda item: item[0])
        self._items[past:] = [
            (stamp, self._count + number, values) for stamp, number, values in checked._items
        ]
        self._count += len(checked)
        del self._items[: max(0, past - self.capacity)]  # the bound is one of the past

    def at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Command in force at ``stamp_ns``, float32 [dim]; None before the first command."""
        after = bisect_right(self._items, stamp_ns, key=lambda item: item[0])
        if after == 0:
            return None
        start, _, value = self._items[after - 1]
        if self.mode == "linear" and after < len(self._items):
            end, _, next_value = self._items[after]
            value = value + (next_value - value) * ((stamp_ns - start) / (end - start))
        return value.astype(np.float32)

    def clear(self) -> None:
        self._items.clear()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest command."""
        return self._items[-1][0] if self._items else None


def check_finite(values: NDArray[np.float64], name: str) -> None:
    """InputError unless all ``values`` are finite, as float32 too, which is what a network takes."""
    if not np.isfinite(values).all():
        raise InputError(f"{name}: expected finite action values, got NaN or infinity")
    if np.abs(values).max(initial=0.0) > LARGEST:
        raise InputError(
            f"{name}: expected action values that fit float32 (3.4e38), got {np.abs(values).max():.3g}"
        )


def actions_at(
    stamps_ns: NDArray[np.int64], values: NDArray[np.float64], at_ns: NDArray[np.int64], *, mode: str
) -> NDArray[np.float32]:
    """Actions in force at times ``at_ns`` [K], none of them before the first command, float32 [K, dim].

    Args:
        stamps_ns: [n], times of the commands, not decreasing; of equal ones the last counts.
        values: [n, dim].
        mode: as for ``ActionBuffer``.
    """
    before = np.searchsorted(stamps_ns, at_ns, side="right") - 1
    found = values[before]
    if mode == "linear":
        after = np.minimum(before + 1, len(stamps_ns) - 1)
        span = np.maximum(stamps_ns[after] - stamps_ns[before], 1)
        found = found + (values[after] - found) * ((at_ns - stamps_ns[before]) / span)[:, None]
    return found.astype(np.float32)


class Plan(NamedTuple):
    """Commands for the future, all of them: no bound that is made for what has been executed holds for them.

    Attributes:
        stamps: int64 [n], when each begins, increasing.
        values: float64 [n, dim].
    """

    stamps: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def start_ns(self) -> int:
        """When the first command begins."""
        return int(self.stamps[0])

    @property
    def end_ns(self) -> int:
        """When the last command begins, which stays in force."""
        return int(self.stamps[-1])


def in_order(stamps_ns: ArrayLike, values: NDArray[np.float64]) -> Plan:
    """Commands in any order, sorted by time; of those of one time the later in the list counts."""
    stamps = np.asarray(stamps_ns, np.int64)
    order = np.argsort(stamps, kind="stable")
    order = order[np.append(np.diff(stamps[order]) > 0, True)]
    return Plan(stamps[order], values[order])


class JoinedActions:
    """The commands of several topics on one time line: their vectors, joined in order.

    The one place where the lag counts: commands keep their own stamps, and are looked up ``lag_ns`` earlier.

    Args:
        parts: the commands of each topic.
        lag_ns: how long after its own stamp a command counts as in force; negative: before it.
        measured: numbers of those values that are no commands, which count from their own stamps on.
    """

    def __init__(self, parts: Sequence[ActionBuffer], *, lag_ns: int = 0, measured: Sequence[int] = ()):
        self.parts, self.lag_ns, self._measured = list(parts), lag_ns, list(measured)

    def at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """What is in force at ``stamp_ns`` of each topic, joined, float32 [dim]; None before all have spoken."""
        action = self._sent(stamp_ns - self.lag_ns)
        if action is not None and self.lag_ns and self._measured:
            now = self._sent(stamp_ns)
            if now is None:
                return None
            action[self._measured] = now[self._measured]
        return action

    def _sent(self, stamp_ns: int) -> NDArray[np.float32] | None:
        values = [part.at(stamp_ns) for part in self.parts]
        known = [value for value in values if value is not None]
        return np.concatenate(known) if len(known) == len(values) else None

    def clear(self) -> None:
        for part in self.parts:
            part.clear()

    @property
    def newest_ns(self) -> int | None:
        """Stamp up to which the commands of all topics are known; None before all have spoken."""
        newest = [part.newest_ns for part in self.parts]
        known = [stamp for stamp in newest if stamp is not None]
        return min(known) if len(known) == len(newest) else None


class Commands:
    """The action at any time: executed commands, then the plan, then the last command held. Thread safe.

    Args:
        dims: number of values from each action topic; the action vector is all of them, joined.
        mode: ``hold`` or ``linear``, as in ``StreamSpec.action_mode``.
        lag_ns: how long after its own stamp a command counts as in force, executed or planned; times that are asked
            for are those of images.
    """

    def __init__(self, dims: Sequence[int], mode: str = "hold", *, lag_ns: int = 0):
        self._lock = threading.Condition()
        self._dim, self._mode, self.lag_ns = sum(dims), mode, lag_ns
        parts = [ActionBuffer(dim, mode=mode, name="action") for dim in dims]
        self._executed = JoinedActions(parts, lag_ns=lag_ns)
        self._plan: Plan | None = None

    def push(self, stamp_ns: int, values: NDArray[np.float64] | Command, part: int = 0) -> None:
        """Add an executed command of action topic number ``part``; InputError for a wrong length, NaN or infinity."""
        command = values if isinstance(values, Command) else Command(values[None])
        with self._lock:
            self._executed.parts[part].push_all(stamp_ns, command)
            self._lock.notify_all()

    def set_plan(self, stamps_ns: ArrayLike, values: NDArray[np.float64]) -> None:
        """Replace the plan by commands ``values`` [n, dim] that begin at ``stamps_ns`` [n], in any order.

        Raises:
            InputError: no commands, wrong length, NaN, infinity or too large for float32; the old plan stays then.
        """
        if len(values) == 0:
            raise InputError("plan: expected at least one action, got none")
        if values.shape[1] != self._dim:
            raise InputError(f"plan: expected {self._dim} action values, got {values.shape[1]}")
        check_finite(values, "plan")
        plan = in_order(stamps_ns, values)
        with self._lock:
            self._plan = plan

    def at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Executed command in force at ``stamp_ns``, float32 [dim]; None before all topics have spoken.

        With a negative lag that one is not executed yet: what is planned for its time stands for it, or the last one held.
        """
        with self._lock:
            if self.lag_ns < 0 and self._executed.at(stamp_ns) is not None:
                return self._action(stamp_ns, stamp_ns, True)
            return self._executed.at(stamp_ns)

    def wait_newer(
        self, stamp_ns: int, timeout: float, *, unless: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait at most ``timeout`` seconds until the command in force at ``stamp_ns`` is known from every topic.

        That is, for one with its stamp less the lag or a later one: until there is, it may still be under way. With a
        negative lag, for one as new as the image. ``unless`` ends the wait, too; whoever makes it true calls ``wake``.
        """
        wanted = stamp_ns - max(0, self.lag_ns)
        with self._lock:
            self._lock.wait_for(lambda: unless() or (self._executed.newest_ns or 0) >= wanted, timeout)

    def wake(self) -> None:
        """Let whoever waits for a command see whether to go on."""
        with self._lock:
            self._lock.notify_all()

    def ahead(self, stamp_ns: int, step_ns: int, count: int, *, hold: bool) -> NDArray[np.float32] | None:
        """Commands in force at ``stamp_ns + k * step_ns`` for k = 1..count, float32 [count, dim].

        Executed commands come before planned ones, planned ones before the last one held. None if
        some step has neither an executed nor a planned command and ``hold`` is off; ``gap`` tells why.
        """
        with self._lock:
            stamps = [stamp_ns + k * step_ns for k in range(1, count + 1)]
            values = [self._action(stamp, stamp_ns, hold) for stamp in stamps]
        if any(value is None for value in values):
            return None
        return np.stack([value for value in values if value is not None])

    def gap(self, stamp_ns: int, step_ns: int) -> str:
        """Why the executed and planned commands do not reach from the image of ``stamp_ns`` over the steps ahead."""
        with self._lock:
            plan, executed = self._plan, self._executed.newest_ns
        stamp_ns -= self.lag_ns
        if plan is None:
            return "got no plan"
        if plan.end_ns <= stamp_ns:
            return f"got a plan that is over: its last command began {(stamp_ns - plan.end_ns) / 1e9:.1f} s before the image"
        known = max(stamp_ns, stamp_ns if executed is None else executed)
        first = stamp_ns + step_ns * ((known - stamp_ns) // step_ns + 1)
        return f"got a plan that begins later: {(plan.start_ns - first) / 1e9:.1f} s after the first step without a command"

    def _action(self, stamp: int, now: int, hold: bool) -> NDArray[np.float32] | None:
        executed, plan, sent = self._executed, self._plan, stamp - self.lag_ns
        if executed.newest_ns is not None and sent <= executed.newest_ns:
            return executed.at(stamp)
        if plan is not None and plan.start_ns <= sent and plan.end_ns > now - self.lag_ns:
            return actions_at(plan.stamps, plan.values, np.array([sent]), mode=self._mode)[0]
        return executed.at(stamp) if hold else None

    def on_time_jump(self, stamp_ns: int) -> None:
        """The clock went back to ``stamp_ns``: forget what belongs to the time before."""
        with self._lock:
            for part in self._executed.parts:
                if (part.newest_ns or 0) >= stamp_ns + JUMP_NS:
                    part.clear()
            if self._plan is not None and self._plan.start_ns >= stamp_ns + JUMP_NS:
                self._plan = None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._executed.clear()
            self._plan = None

    @property
    def newest_ns(self) -> int | None:
        """Stamp up to which the executed commands of all topics are known."""
        return self._executed.newest_ns

    def silent(self, stamp_ns: int) -> list[int]:
        """Numbers of the action topics without a command that is in force at ``stamp_ns``."""
        sent = stamp_ns - self.lag_ns
        with self._lock:
            return [number for number, part in enumerate(self._executed.parts) if part.at(sent) is None]

    @property
    def planned(self) -> bool:
        """Whether there is a plan, however old."""
        return self._plan is not None
