# SPDX-License-Identifier: Apache-2.0
"""The nodes as installed programs: signals are seen to before the imports that take seconds."""

from __future__ import annotations

from importlib import import_module
from typing import NoReturn

from dd_ros.ros.signals import leave, leave_at_once_when_signalled


def predictor() -> NoReturn:
    _run("dd_ros.ros.node")


def bag_player() -> NoReturn:
    _run("dd_ros.ros.demo.player")


def planner() -> NoReturn:
    _run("dd_ros.ros.planner")


def pusht_robot() -> NoReturn:
    _run("dd_ros.ros.demo.robot")


def pusht_table() -> NoReturn:
    _run("dd_ros.ros.demo.table")


def plan_recorder() -> NoReturn:
    _run("dd_ros.ros.demo.plan_recorder")


def recorder() -> NoReturn:
    _run("dd_ros.ros.demo.recorder")


def viewer() -> NoReturn:
    _run("dd_ros.ros.viewer")


def _run(module: str) -> NoReturn:
    leave_at_once_when_signalled()
    leave(import_module(module).main())
