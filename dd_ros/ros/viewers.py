# SPDX-License-Identifier: Apache-2.0
"""The launch files' argument ``view``: which program shows what the predictor publishes, and what to do where it is missing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from dd_ros.console import from_checkout
from dd_ros.resources import shared_file

VIEWS = ("none", "rviz", "foxglove", "rerun")
RVIZ, FOXGLOVE = "config/view/predictor.rviz", "config/view/foxglove.json"
FOXGLOVE_PORT = 8765


class Viewer(NamedTuple):
    """What to start and what to say.

    Attributes:
        node: arguments of ``launch_ros.actions.Node``; None starts nothing.
        text: a line for people; empty says nothing.
    """

    node: dict[str, Any] | None
    text: str


def viewer(view: str, *, namespace: str = "", **parameters: str | bool) -> Viewer:
    """The viewer of one of VIEWS.

    Args:
        view: which.
        namespace: of the predictor.
        parameters: of our own node ``viewer``; empty ones are left to their defaults.
    """
    if view == "none":
        return Viewer(None, "")
    package = {"rviz": "rviz2", "foxglove": "foxglove_bridge", "rerun": "dd_ros"}[view]
    if view == "rerun":
        if find_spec("rerun") is None:
            return Viewer(None, f"view:=rerun: rerun is not installed; {from_checkout('view')}")
        given = {name: value for name, value in parameters.items() if value}
        return Viewer(_node(package, "viewer", namespace, parameters=[given]), "")
    if not installed(package):
        return Viewer(
            None,
            f"view:={view}: {package} is not installed; apt install ros-$ROS_DISTRO-{package.replace('_', '-')}",
        )
    if view == "rviz":
        file = shared_file(RVIZ)
        remappings = [(topic, f"/{namespace.strip('/')}{topic}") for topic in rviz_topics(file.read_text())]
        node = _node(package, package, namespace, arguments=["-d", str(file)])
        return Viewer(node | ({"remappings": remappings} if namespace.strip("/") else {}), "")
    text = f"open ws://localhost:{FOXGLOVE_PORT} in Foxglove, and there import the layout {shared_file(FOXGLOVE)}"
    return Viewer(_node(package, package, namespace, parameters=[{"port": FOXGLOVE_PORT}]), text)


def installed(package: str) -> bool:
    """Whether a ROS package is there."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def rviz_topics(text: str) -> list[str]:
    """Topics that the displays of an RViz configuration name."""
    displays = yaml.safe_load(text)["Visualization Manager"]["Displays"]
    return [display["Topic"]["Value"] for display in displays if "Topic" in display]


def _node(package: str, executable: str, namespace: str, **extra: Any) -> dict[str, Any]:
    return {
        "package": package, "executable": executable, "name": executable, "namespace": namespace, "output": "screen",
        **extra,
    }  # fmt: skip
