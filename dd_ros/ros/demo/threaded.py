# SPDX-License-Identifier: Apache-2.0
"""A node that works on a thread of its own, and how to run it as a program."""

from __future__ import annotations

import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from dd_ros.errors import InputError

RCLError = rclpy_implementation.RCLError
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
        except RCLError:
            self.failed = self.context.ok()  # otherwise ROS is shutting down under our feet
        except Exception:
            self.failed = True
        if self.failed:
            traceback.print_exc()
            self.context.try_shutdown()


def run_node(kind: Callable[[], ThreadedNode], args: Sequence[str] | None) -> int:
    """Run a node until it is told to stop; 1 when its work failed, 2 for bad input."""
    rclpy.init(args=None if args is None else list(args))
    node: ThreadedNode | None = None
    executor = SingleThreadedExecutor()
    try:
        node = kind()
        executor.add_node(node)
        node.start()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return 1 if node is not None and node.failed else 0
