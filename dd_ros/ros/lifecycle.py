# SPDX-License-Identifier: Apache-2.0
"""Base of lifecycle nodes: no transition fails in silence, and a node can start itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from dd_ros.errors import InputError
from dd_ros.live.problems import Level


class ManagedNode(LifecycleNode):
    """Lifecycle node whose steps are plain methods that raise when they fail.

    rclpy swallows exceptions of transition callbacks without a line in the log; here they are
    logged, what was begun is undone, and the transition returns FAILURE, so the node stays in the
    state it came from and can be tried again.

    Subclasses override ``configure``, ``activate``, ``deactivate`` and ``cleanup``; the latter two
    must cope with a ``configure`` or ``activate`` that stopped half way.

    Attributes:
        phase: ``unconfigured``, ``inactive``, ``active`` or ``finalized``.
        failure: why the last transition failed, or empty.
    """

    def __init__(self, name: str, **kwargs: Any):
        self.phase = "unconfigured"
        self.failure = ""
        super().__init__(name, **kwargs)

    def configure(self) -> None:
        """Load everything that takes long."""

    def activate(self) -> None:
        """Begin to work."""

    def deactivate(self) -> None:
        """Stop working, keep what was loaded."""

    def cleanup(self) -> None:
        """Let go of what ``configure`` loaded."""

    def destroy_node(self) -> None:
        """Leave ROS now: rclpy leaves the state machine, and with it DDS and its memory, to the garbage collector."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("configure", "inactive", self.configure, undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def enable() -> None:
            super(ManagedNode, self).on_activate(state)  # enables the lifecycle publishers
            self.activate()

        return self._attempt("activate", "active", enable, undo=self.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def disable() -> None:
            self.deactivate()
            super(ManagedNode, self).on_deactivate(state)

        return self._attempt("deactivate", "inactive", disable)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("cleanup", "unconfigured", self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("shutdown", "finalized", self.stop)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("recover from an error", "unconfigured", self.stop)

    def stop(self) -> None:
        """Deactivate and clean up, from whatever phase."""
        self.deactivate()
        self.cleanup()

    def start(self) -> None:
        """Configure and activate this node itself.

        Raises:
            InputError: one of the two failed.
        """
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise InputError(self.failure)

    def _log(self, level: Level, text: str) -> None:
        """Write a problem, or that it is over, into the node's log."""
        if level is Level.OK:  # one line of code per severity: rclpy ties them together
            self.get_logger().info(text)
        elif level is Level.WARN:
            self.get_logger().warning(text)
        else:
            self.get_logger().error(text)

    def _attempt(
        self, what: str, phase: str, step: Callable[[], None], *, undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            step()
        except Exception as error:
            self.failure = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self.get_logger().error(f"{what} failed: {self.failure}")
            if not isinstance(error, InputError):
                self.get_logger().error(traceback.format_exc())
            if undo is not None:
                self._undo(undo)
            return TransitionCallbackReturn.FAILURE
        self.phase, self.failure = phase, ""
        return TransitionCallbackReturn.SUCCESS

    def _undo(self, undo: Callable[[], None]) -> None:
        try:
            undo()
        except Exception as error:
            self.get_logger().error(f"undoing it failed too: {error}")
