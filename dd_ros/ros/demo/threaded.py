# SPDX-License-Identifier: Apache-2.0
"""A node that works on a thread of its own, and how to run it as a program."""

from __future__ import annotations

import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from dd_ros.ros.spin import run_until_signalled

RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


class ThreadedNode(Node, ABC):
    """Subclasses do their work in ``work``, which returns soon after ``stopping`` is set.

    Attributes:
        stopping: set when the node has to end.
        failed: ``work`` ended with an error, which is on stderr.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.stopping = threading.Event()
        self.failed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """What the node is for."""

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the work."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self.work()
        except Exception:
            traceback.print_exc()
            self.failed = True


def run_node(name: str, kind: Callable[[], ThreadedNode], args: Sequence[str] | None) -> int:
    """Run a node until it is told to stop; 1 when its work failed, 2 for bad input."""

    def stop(node: ThreadedNode) -> int:
        node.stop()
        return int(node.failed)

    return run_until_signalled(
        name, kind, args, start=ThreadedNode.start, stop=stop, over=lambda node: node.failed
    )
