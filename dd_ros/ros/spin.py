# SPDX-License-Identifier: Apache-2.0
"""How our nodes run as programs: until a signal comes, and then they end in order.

rclpy's own signal handlers shut the context down while the executor waits and other threads publish: whoever uses it
next fails somewhere in the middle. Here the context lives until all that use it have ended: first the node's work and
its threads, then the executor, then the node, then ROS.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dd_ros.errors import InputError
from dd_ros.ros.shared_memory import clear_dead_segments
from dd_ros.ros.signals import Ending, noted

N = TypeVar("N", bound=Node)
POLL = 0.1  # s after a signal until it is seen, while no message comes
LAST_TURNS = 20  # of the executor once the work has ended: answers to those who wait


def run_until_signalled(
    name: str,
    kind: Callable[[], N],
    args: Sequence[str] | None,
    *,
    start: Callable[[N], None],
    stop: Callable[[N], int],
    over: Callable[[N], bool] = lambda node: False,
    failed: Callable[[N, Exception], None] | None = None,
    beside: Callable[[N], Sequence[Node]] = lambda node: (),
) -> int:
    """Run a node until SIGINT or SIGTERM comes, or until it is over; first shared memory of the killed is cleared.

    What a signal waits for: the node's constructor and ``start`` (loading a checkpoint and running it once: seconds),
    the callback under way, and ``stop``. Further signals change nothing.

    Args:
        name: what the program is called in messages.
        kind: makes the node.
        args: ROS arguments; None: those of the process.
        start: called before the first callback, unless a signal came already.
        stop: ends the work and joins the node's threads, whatever ``start`` has done; its result is the status.
        over: whether the node has nothing more to do.
        failed: gets the exceptions that callbacks of rclpy's own raise, such as that of /clock; the node lives on.
            None: they end it.
        beside: more nodes in its process, which ``start`` and ``stop`` see to.

    Returns:
        Exit status: that of ``stop``; 2 for bad input, a bad parameter, or where ROS cannot start the node, with one
        line on stderr saying why.
    """
    faulthandler.enable(sys.__stderr__ or sys.stderr)  # a crash in native code says where each thread was
    with noted() as ending:
        try:
            with _told():
                rclpy.init(
                    args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO
                )
            freed = clear_dead_segments()
            if freed:
                get_logger(name).info(
                    f"cleared {freed / 2**20:.0f} MiB of shared memory that killed programs left"
                )
            return _run(kind, ending, start=start, stop=stop, over=over, failed=failed, beside=beside)
        except (InputError, InvalidParameterTypeException, InvalidParameterValueException) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        finally:
            rclpy.try_shutdown()


@contextmanager
def _told() -> Iterator[None]:
    """What ROS says when it cannot start, as InputError of one line that says what to do."""
    try:
        yield
    except rclpy_implementation.RCLError as error:
        if os.environ.get("ROS_SECURITY_ENABLE", "").lower() == "true":
            cure = "ROS_SECURITY_ENABLE is true: see docs/security.md for what that needs, or unset it"
        else:
            cure = "check the ROS arguments, ROS_DOMAIN_ID and RMW_IMPLEMENTATION"
        raise InputError(f"ROS does not start: {' '.join(str(error).split())}; {cure}") from error


def _run(
    kind: Callable[[], N],
    ending: Ending,
    *,
    start: Callable[[N], None],
    stop: Callable[[N], int],
    over: Callable[[N], bool],
    failed: Callable[[N, Exception], None] | None,
    beside: Callable[[N], Sequence[Node]],
) -> int:
    with _told():
        node = kind()
    nodes: list[Node] = [node, *beside(node)]
    executor = SingleThreadedExecutor()

    def turn(seconds: float) -> None:
        try:
            executor.spin_once(timeout_sec=seconds)
        except ExternalShutdownException:
            raise
        except Exception as error:
            if failed is None:
                raise
            failed(node, error)
            time.sleep(seconds)  # it may be there to stay

    try:
        for one in nodes:
            executor.add_node(one)
        try:
            if not ending.asked:
                start(node)
            while node.context.ok() and not (ending.asked or over(node)):
                turn(POLL)
        except ExternalShutdownException:
            pass
        finally:
            status = stop(node)
        for _ in range(LAST_TURNS if node.context.ok() else 0):
            turn(0.0)
        return status
    finally:
        executor.shutdown()
        for one in nodes:
            one.destroy_node()
