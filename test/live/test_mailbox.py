# SPDX-License-Identifier: Apache-2.0
"""The newest items, in order, and what was lost."""

from __future__ import annotations

import threading

import pytest

from dd_ros.live.mailbox import Mailbox


def test_keeps_the_newest_in_order_and_counts_the_rest() -> None:
    box: Mailbox[int] = Mailbox(3)
    for item in range(10):
        box.put(item)
    assert box.dropped == 7
    assert box.take() == [7, 8, 9]
    assert box.take() == []


def test_clear_is_not_a_loss() -> None:
    box: Mailbox[int] = Mailbox(2)
    box.put(1)
    box.clear()
    assert (len(box), box.dropped) == (0, 0)


def test_wait_returns_for_items_and_for_wake_and_times_out() -> None:
    box: Mailbox[int] = Mailbox(1)
    assert not box.wait(0.0)
    box.wake()
    assert box.wait(0.0)
    assert not box.wait(0.0)
    box.put(1)
    assert box.wait()
    assert box.wait(), "the item is still there"


def test_needs_room() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Mailbox(0)


def test_nothing_is_lost_uncounted_between_threads() -> None:
    box: Mailbox[int] = Mailbox(4)
    total, taken = 5000, []

    def produce() -> None:
        for item in range(total):
            box.put(item)
        box.put(-1)

    thread = threading.Thread(target=produce)
    thread.start()
    while not taken or taken[-1] != -1:
        box.wait()
        taken += box.take()
    thread.join()
    assert len(taken) + box.dropped == total + 1
    assert taken[:-1] == sorted(taken[:-1])
