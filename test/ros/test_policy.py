# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy names the interfaces that the node really has: none is missing, none too many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy
from rclpy.parameter import Parameter
from tiny import random_model, tiny_config

from dd_ros.checkpoint import save_checkpoint
from dd_ros.resources import shared_file
from dd_ros.ros.node import PredictorNode
from dd_ros.streams import ActionSource


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PredictorNode]:
    """An active node with simulated time, of a checkpoint whose topics are the names ``image`` and ``action``."""
    action = ActionSource(topic="/action", type="sensor_msgs/msg/JointState", dim=2)
    streams = tiny_config().streams.model_copy(update={"image_topic": "/image", "actions": (action,)})
    folder = tmp_path_factory.mktemp("checkpoints") / "plain"
    config = tiny_config(streams=streams)
    save_checkpoint(folder, config, random_model(config), card="")
    context = rclpy.Context()
    rclpy.init(context=context)
    values = {"checkpoint": str(folder), "device": "cpu", "autostart": False, "use_sim_time": True}
    values["image_transport"] = "compressed"
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = PredictorNode(context=context, parameter_overrides=overrides)
    node.trigger_configure()
    node.trigger_activate()
    yield node
    node.trigger_shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def allowed(node: PredictorNode, kind: str, access: str) -> set[str]:
    """Full names of the ``topic`` or ``service`` that the policy allows to ``publish``, ``subscribe`` or ``reply``."""
    (profile,) = ElementTree.parse(shared_file("config/sros2/policy.xml")).iter("profile")
    assert (profile.get("ns"), profile.get("node")) == (node.get_namespace(), node.get_name())
    names = [
        item.text or "" for group in profile if group.get(access) == "ALLOW" for item in group.iter(kind)
    ]
    assert len(set(names)) == len(names)
    resolve = node.resolve_topic_name if kind == "topic" else node.resolve_service_name
    return {resolve(name) for name in names}


def test_what_it_publishes(node: PredictorNode) -> None:
    own = node.get_publisher_names_and_types_by_node(node.get_name(), node.get_namespace())
    assert allowed(node, "topic", "publish") == {name for name, _ in own}


def test_what_it_subscribes_to(node: PredictorNode) -> None:
    own = node.get_subscriber_names_and_types_by_node(node.get_name(), node.get_namespace())
    assert {name for name, _ in own} == {"/image", "/camera_info", "/action", "/plan", "/clock"}
    # Of compressed images there are two names, of which it listens to the one that is published.
    assert allowed(node, "topic", "subscribe") == {name for name, _ in own} | {"/image/compressed"}


def test_what_it_serves(node: PredictorNode) -> None:
    own = node.get_service_names_and_types_by_node(node.get_name(), node.get_namespace())
    assert allowed(node, "service", "reply") == {name for name, _ in own}


def test_what_it_calls_and_does_else_is_nothing(node: PredictorNode) -> None:
    assert not node.get_client_names_and_types_by_node(node.get_name(), node.get_namespace())
    assert not allowed(node, "service", "request")
    tree = ElementTree.parse(shared_file("config/sros2/policy.xml"))
    assert not list(tree.iter("action"))


def test_it_is_shipped() -> None:
    assert (Path(__file__).parents[2] / "config/sros2/policy.xml").samefile(
        shared_file("config/sros2/policy.xml")
    )
