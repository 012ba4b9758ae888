# SPDX-License-Identifier: Apache-2.0
"""Processes that decode images beside the one that trains."""

from __future__ import annotations

import signal

import cv2

from dd_ros_training.device import die_with_parent


def context(workers: int) -> str | None:
    """Workers are forked: only those are children of the training process, which they are to die with."""
    return "fork" if workers else None


def begin_worker(_: int) -> None:
    """A worker decodes on one core, leaves Ctrl-C to the training process, and dies with it even on a kill -9."""
    die_with_parent()
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
