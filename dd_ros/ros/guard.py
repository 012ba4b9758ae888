# SPDX-License-Identifier: Apache-2.0
"""No callback ends the node: whatever exception comes out of one is named, and the next message is as good as any."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from rclpy.context import Context
from rclpy.executors import ExternalShutdownException

from dd_ros.errors import InputError
from dd_ros.live.problems import Problems

P = ParamSpec("P")
T = TypeVar("T")


class Guard:
    """Stands around every callback of a node.

    Args:
        context: of the node; once it is shut down nothing is worth a word.
        problems: where exceptions are named, input errors by their text and others as bugs.
    """

    def __init__(self, context: Context, problems: Problems):
        self._context, self._problems = context, problems

    def __call__(
        self, name: str, callback: Callable[P, T], *, refused: Callable[[Exception], T] | None = None
    ) -> Callable[P, T | Any]:
        """``callback``, from which no exception comes but that of a shutdown.

        Args:
            name: of the problem, such as ``plan callback``; its first word is the input it is shown at.
            callback: any function.
            refused: makes of the exception what is returned instead. Whoever gets that knows of an input error, which
                then is no problem of the node's.
        """

        @wraps(callback)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T | Any:
            try:
                result = callback(*args, **kwargs)
            except ExternalShutdownException:
                raise
            except Exception as error:
                if refused is None or not isinstance(error, InputError):
                    self.failed(name, error)
                return None if refused is None else refused(error)
            self._problems.solved(name)
            return result

        return guarded

    def failed(self, name: str, error: Exception) -> None:
        """Name an exception."""
        if not self._context.ok():
            return
        if isinstance(error, InputError):
            self._problems.report(name, str(error))
        else:
            self._problems.failed(name, error)

    def passed(self, name: str, error: Exception) -> None:
        """Name an exception that is over with the message that brought it: what comes next is as good as any."""
        self.failed(name, error)
        self._problems.solved(name)


def reason_of(error: Exception) -> str:
    """An exception in one line for whoever is answered with it."""
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return text.splitlines()[0]
