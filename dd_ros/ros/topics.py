# SPDX-License-Identifier: Apache-2.0
"""Finding out what is on a topic: types, publishers and their reliability; and following it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from dd_ros.data.odd_images import VIDEO_CURE, is_video
from dd_ros.errors import InputError
from dd_ros.live.problems import Level, Problems
from dd_ros.live.statistics import Rate
from dd_ros.ros.guard import Guard

RCLError = rclpy_implementation.RCLError


class Source(NamedTuple):
    """A topic as the node listens to it."""

    topic: str
    type: str
    reliable: bool


class Input:
    """Subscription that follows what is published: topic variant, type and reliability.

    Until somebody publishes it waits on the first topic with the first type. Call ``watch`` now and
    then: it subscribes anew when the publishers changed, and reports a missing or silent topic.

    Args:
        node: owner.
        name: input named in problems, such as ``image``.
        topics: names to look at, the preferred first; relative ones are resolved and remapped.
        types: message types that will do, the preferred first.
        depth: queue length.
        callback: called with a message and its type.
        rate: counts what arrives; tells when the input is silent.
        problems: where to report.
        optional: an absent publisher is no problem.
        lost: called with the number of messages that the transport lost.
        single: types of which more than one publisher is a problem: what they send is mixed, and does not say whose it is.
        best_effort: whatever the publishers offer, so that looking on never makes them wait.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        *,
        topics: Sequence[str],
        types: Sequence[str],
        depth: int,
        callback: Callable[[Any, str], None],
        rate: Rate,
        problems: Problems,
        optional: bool = False,
        lost: Callable[[int], None] = lambda count: None,
        single: Collection[str] = (),
        best_effort: bool = False,
    ):
        self._node, self._name, self._depth, self._callback, self._rate = node, name, depth, callback, rate
        self._topics = [node.resolve_topic_name(topic) for topic in topics]
        self._types, self._problems = list(types), problems
        self._optional, self._lost, self._single = optional, lost, single
        self._best_effort = best_effort
        self._subscription: Subscription[Any] | None = None
        self.source = Source(self._topics[0], self._types[0], False)
        self._listen(self.source)
        self._since = Rate()
        self._since.count()

    def watch(self, timeout: float, expected: str, hint: str = "") -> None:
        """Follow the publishers and report what is wrong with the topic.

        Args:
            timeout: seconds of silence that are a problem.
            expected: what should come, for the report, such as ``about 10 Hz``.
            hint: what to try when there is a publisher and nothing comes.
        """
        offers = [(topic, *offer) for topic in self._topics for offer in publishers_of(self._node, topic)]
        usable = [offer for offer in offers if offer[1] in self._types]
        usable.sort(key=lambda offer: (self._topics.index(offer[0]), self._types.index(offer[1])))
        if usable:
            topic, kind, _ = usable[0]
            reliable = not self._best_effort and all(o[2] for o in usable if o[:2] == (topic, kind))
            if self._subscription is None or self.source != Source(topic, kind, reliable):
                self._listen(Source(topic, kind, reliable))
            count = sum(o[:2] == (topic, kind) for o in usable)
            self._report_crowd(topic, count if kind in self._single else 1)
        self._report(offers, bool(usable), timeout=timeout, expected=expected, hint=hint)

    def _report(
        self, offers: list[tuple[str, str, bool]], usable: bool, *, timeout: float, expected: str, hint: str
    ) -> None:
        aspect, silence = f"{self._name} topic", self._rate.silence()
        listening = self._since.silence() or 0.0
        wanted = " or ".join(self._types) if len(self._types) < 3 else f"one of {', '.join(self._types)}"
        if offers and not usable:
            got = ", ".join(sorted({o[1] for o in offers}))
            cure = f"; {VIDEO_CURE}" if any(is_video(o[1]) for o in offers) else ""
            self._problems.report(aspect, f"expected {wanted} on {offers[0][0]}, got {got}{cure}")
        elif silence is not None and silence <= timeout:
            self._problems.solved(aspect)
        elif self._optional or listening <= timeout:
            return
        elif not usable:
            topics = " or ".join(self._topics)
            text = f"expected {wanted} on {topics}, got no publisher{similar(self._node, self._topics, self._types)}"
            self._problems.report(aspect, text, kind="no publisher")
        else:
            text = f"expected {expected} on {self.source.topic}, got nothing for {silence or listening:.1f} s{hint}"
            self._problems.report(aspect, text, kind="silent")

    def _report_crowd(self, topic: str, count: int) -> None:
        """Report several publishers, whose messages come mixed."""
        if count < 2:
            self._problems.solved(f"{self._name} publishers")
            return
        infos = self._node.get_publishers_info_by_topic(topic)
        nodes = sorted({f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos})
        text = f"expected one publisher on {topic}, got {count} ({', '.join(nodes)}); what they send is mixed: stop or remap one"
        self._problems.report(f"{self._name} publishers", text, Level.WARN, kind="crowd")

    def _listen(self, source: Source) -> None:
        """Subscribe, or leave it to the next ``watch`` while Fast DDS still holds the old type."""
        self.destroy()
        reliability = ReliabilityPolicy.RELIABLE if source.reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=self._depth, history=HistoryPolicy.KEEP_LAST, reliability=reliability)

        def receive(msg: Any) -> None:
            self._rate.count()
            self._callback(msg, source.type)

        def lost(event: QoSMessageLostInfo) -> None:
            self._lost(event.total_count_change)

        guard = Guard(self._node.context, self._problems)

        try:
            self._subscription = self._node.create_subscription(
                message_class(source.type),
                source.topic,
                guard(f"{self._name} callback", receive),
                qos,
                # ``watch`` follows the publishers' reliability; rclpy's own warning would mislead.
                event_callbacks=SubscriptionEventCallbacks(
                    message_lost=guard(f"{self._name} lost", lost), incompatible_qos=lambda event: None
                ),
            )
        except RCLError as error:
            text = f"cannot subscribe to {source.topic} ({str(error).splitlines()[0]}); trying again"
            self._problems.report(f"{self._name} topic", text, kind="subscribe")
        self.source = source

    def destroy(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None


def message_class(name: str) -> Any:
    """Class of a message type such as ``sensor_msgs/msg/Image``; InputError if it is not installed."""
    package, _, kind = name.rpartition("/")
    try:
        return getattr(import_module(package.replace("/", ".")), kind)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"message type {name}: expected one that is installed here ({error}); source the workspace that has it"
        ) from error


def publishers_of(node: Node, topic: str) -> list[tuple[str, bool]]:
    """Type and reliability of every publisher of ``topic``."""
    infos = node.get_publishers_info_by_topic(topic)
    return [(info.topic_type, info.qos_profile.reliability == ReliabilityPolicy.RELIABLE) for info in infos]


def similar(node: Node, topics: Sequence[str], types: Sequence[str]) -> str:
    """A hint at other topics of these types, or nothing."""
    found = node.get_topic_names_and_types()
    names = [name for name, kinds in found if name not in topics and set(kinds) & set(types)]
    names = [name for name in names if node.count_publishers(name) and not name.startswith(node_prefix(node))]
    return f" (topics of that type: {', '.join(sorted(names)[:5])})" if names else ""


def variants(node: Node, name: str, recorded: str) -> list[str]:
    """Topics to look at for an input: its name; unless that is remapped, also the checkpoint's topic.

    The latter is taken relative to the node's namespace, so that two robots stay apart; of a LeRobot feature as
    ``ros_name`` has it.
    """
    resolved = node.resolve_topic_name(name)
    if resolved != node.resolve_topic_name(name, only_expand=True):
        return [resolved]
    return list(dict.fromkeys([resolved, node.resolve_topic_name(ros_name(recorded).lstrip("/"))]))


def ros_name(recorded: str) -> str:
    """A recorded stream as a topic: ``/observation/images/top`` for the feature ``observation.images.top``.

    Topics stay as they are. What no topic may hold becomes an underscore: ``/action_0_7`` for ``action[0:7]``.
    """
    if re.fullmatch(r"[\w/~]+", recorded):
        return recorded
    parts = [re.sub(r"\W+", "_", part).strip("_") for part in re.split(r"[./]", recorded)]
    return "/" + "/".join(f"_{part}" if part[:1].isdigit() else part for part in parts if part)


def node_prefix(node: Node) -> str:
    """Start of the node's private names."""
    return f"{node.get_fully_qualified_name()}/"


def namesakes(node: Node) -> int:
    """How many nodes have this one's full name, itself among them."""
    own = (node.get_name(), node.get_namespace())
    return node.get_node_names_and_namespaces().count(own)
