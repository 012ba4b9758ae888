# SPDX-License-Identifier: Apache-2.0
"""What shows the node's topics: layout files that name what it really publishes, and the launch files' argument ``view``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.parameter import Parameter

from dd_ros.resources import shared_file
from dd_ros.ros.node import PredictorNode
from dd_ros.ros.viewers import FOXGLOVE, RVIZ, installed, rviz_topics, viewer

IMAGE = "sensor_msgs/msg/Image"
# Panel of Foxglove -> message types that it shows.
PANELS = {
    "Image": {IMAGE},
    "Plot": {"std_msgs/msg/Float64", "std_msgs/msg/UInt64", "dd_ros_msgs/msg/PredictedVideo"},
    "DiagnosticSummary": {"diagnostic_msgs/msg/DiagnosticArray"},
}


@pytest.fixture(scope="module")
def published(tiny_checkpoint: Path) -> Iterator[dict[str, set[str]]]:
    """Topics that an active node with default parameters publishes, with their types."""
    context = rclpy.Context()
    rclpy.init(context=context)
    values = {"checkpoint": str(tiny_checkpoint), "device": "cpu", "autostart": False}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = PredictorNode(context=context, parameter_overrides=overrides)
    node.start()
    own = node.get_publisher_names_and_types_by_node(node.get_name(), node.get_namespace())
    yield {name: set(types) for name, types in own}
    node.trigger_shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def panels(place: Any) -> list[str]:
    """Names of the panels in a layout."""
    return [place] if isinstance(place, str) else panels(place["first"]) + panels(place["second"])


def paths(config: dict[str, Any]) -> list[str]:
    """What a panel of Foxglove shows: topics, with a path into the message where it is a plot."""
    image = config.get("imageMode", {}).get("imageTopic")
    whole = [topic for topic in (image, config.get("topicToRender")) if topic]
    return [*whole, *(path["value"] for path in config.get("paths", []))]


def test_foxglove_shows_what_the_node_publishes(published: dict[str, set[str]]) -> None:
    layout = json.loads(shared_file(FOXGLOVE).read_text())
    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])
    for name, config in layout["configById"].items():
        assert paths(config), name
        for path in paths(config):
            topic = re.split(r"[.{]", path)[0]
            assert published[topic] <= PANELS[name.partition("!")[0]], path


def test_rviz_shows_what_the_node_publishes(published: dict[str, set[str]]) -> None:
    text = shared_file(RVIZ).read_text()
    displays = yaml.safe_load(text)["Visualization Manager"]["Displays"]
    assert len(displays) == len(rviz_topics(text)) > 1
    for display in displays:
        assert display["Class"] == "rviz_default_plugins/Image"
        assert published[display["Topic"]["Value"]] == {IMAGE}
        assert display["Topic"]["Reliability Policy"] == "Best Effort", "looking on slows nobody"


def test_both_show_every_lead_of_the_default_parameters(published: dict[str, set[str]]) -> None:
    leads = {topic for topic in published if "/predicted_image/" in topic}
    assert len(leads) == 3
    layout = json.loads(shared_file(FOXGLOVE).read_text())
    shown = {path for config in layout["configById"].values() for path in paths(config)}
    assert leads <= shown
    assert leads <= set(rviz_topics(shared_file(RVIZ).read_text()))


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where ROS packages are looked for; none is there."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return tmp_path


def install(prefix: Path, package: str) -> None:
    """Put a ROS package into the index of ``prefix``, as its installation does."""
    marker = prefix / "share/ament_index/resource_index/packages" / package
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def test_none_starts_nothing_and_says_nothing(prefix: Path) -> None:
    assert viewer("none") == (None, "")


@pytest.mark.parametrize(
    ("view", "package"), [("rviz", "ros-$ROS_DISTRO-rviz2"), ("foxglove", "ros-$ROS_DISTRO-foxglove-bridge")]
)
def test_what_is_not_installed_is_named_with_its_cure(view: str, package: str, prefix: Path) -> None:
    node, text = viewer(view, namespace="robot3")
    assert node is None
    assert f"view:={view}" in text
    assert text.endswith(f"apt install {package}")


def test_rviz_gets_its_configuration_and_the_topics_of_the_namespace(prefix: Path) -> None:
    install(prefix, "rviz2")
    assert installed("rviz2")
    node, text = viewer("rviz")
    assert (node or {})["arguments"] == ["-d", str(shared_file(RVIZ))]
    assert not text
    assert "remappings" not in (node or {})
    for namespace in ("robot3", "/robot3"):
        node, _ = viewer("rviz", namespace=namespace)
        assert ("/predictor/preview", "/robot3/predictor/preview") in (node or {})["remappings"]


def test_foxglove_gets_a_bridge_and_people_the_layout(prefix: Path) -> None:
    install(prefix, "foxglove_bridge")
    node, text = viewer("foxglove", namespace="robot3")
    assert (node or {})["executable"] == "foxglove_bridge"
    assert "ws://localhost:8765" in text
    assert str(shared_file(FOXGLOVE)) in text


@pytest.mark.skipif(find_spec("rerun") is None, reason="needs rerun (extra view)")
def test_rerun_is_our_own_node(prefix: Path) -> None:
    node, text = viewer("rerun", namespace="robot3", checkpoint="pusht", action_topic="")
    assert ((node or {})["package"], (node or {})["executable"]) == ("dd_ros", "viewer")
    assert (node or {})["parameters"] == [{"checkpoint": "pusht"}]
    assert not text


def test_without_rerun_its_extra_is_named(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    node, text = viewer("rerun")
    assert node is None
    assert "pip install '.[view]'" in text
