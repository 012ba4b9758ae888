# SPDX-License-Identifier: Apache-2.0
"""Bags and LeRobot data sets as the messages that a player publishes: one order, one kind of stamp."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState

from dd_ros.data.actions import stamp_ns
from dd_ros.data.bags import read_actions
from dd_ros.data.commands import JoinedActions
from dd_ros.data.lerobot import LeRobotReader, episode_number, keys_of, set_of
from dd_ros.data.lerobot.episodes import SENT_NS, reader_at, times_and_commands
from dd_ros.data.rosbag import Record, records
from dd_ros.data.video import ImageStream, VideoRecord
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.ros.messages import header_at
from dd_ros.ros.topics import message_class, ros_name
from dd_ros.streams import StreamSpec

JOINTS, IMAGE = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image"  # what the data of a set come as


class TimedImage(NamedTuple):
    """Where an image stands among the actions of its recording: its own time, and all of them."""

    stamp_ns: int
    actions: JoinedActions


class Recorded(NamedTuple):
    """A message to publish.

    Attributes:
        received_ns: when it came; the order of messages.
        topic, type: where and as what it is published.
        message: rclpy message, with the stamp that was recorded.
        image: its place in time, if it is an image that has one.
    """

    received_ns: int
    topic: str
    type: str
    message: Any
    image: TimedImage | None = None


def messages(bag: Path, spec: StreamSpec, problems: Report) -> Iterator[Recorded]:
    """The messages of a bag, or of an episode of a LeRobot data set, on the topics of ``spec``, in their order.

    Args:
        bag: as ``data.bags.find_bags`` names it.
        spec: which streams.
        problems: is told what cannot be used.

    Raises:
        InputError: the recording lacks a topic or a feature.
    """
    return (episode_messages if set_of(bag) else bag_messages)(bag, spec, problems)


def bag_messages(bag: Path, spec: StreamSpec, problems: Report) -> Iterator[Recorded]:
    """As ``messages``, of a bag: as recorded, but for packets of a video, which come as Image rgb8."""
    timeline = read_actions(bag, spec, problems)
    images = ImageStream()
    for record in records(bag, spec.topics, problems):
        if record.topic != spec.image_topic:
            message = deserialize_message(bytes(record.raw), message_class(record.msgtype))
            yield Recorded(record.received_ns, record.topic, record.msgtype, message)
            continue
        for number, found in images.add(record):
            stamp, resets = timeline.image_stamps[number], timeline.image_resets[number]
            place = None if stamp is None else TimedImage(stamp, timeline.actions[resets])
            try:
                image = played(found)
            except InputError as error:
                problems.add(f"{bag} {spec.image_topic}", error)
                continue
            yield Recorded(record.received_ns, record.topic, found.msgtype, image, place)


def played(record: Record) -> Any:
    """The message with a recorded image: as recorded, or with what a packet of a video decodes to.

    Raises:
        InputError: such a packet does not decode.
    """
    if not isinstance(record, VideoRecord):
        return deserialize_message(bytes(record.raw), message_class(record.msgtype))
    shown = record.msg
    pixels = shown.data.reshape(shown.height, shown.width, 3)
    return image_message(pixels, stamp_ns(shown) or record.received_ns)


def episode_messages(bag: Path, spec: StreamSpec, problems: Report) -> Iterator[Recorded]:
    """As ``messages``, of an episode: Image rgb8, and after it the JointState with the command it was followed by.

    Stamps count from 1 s, as 0 is no stamp; a message for each action source, with its values by their names.
    """
    reader, number = reader_at(bag.parent, spec), episode_number(bag)
    found = times_and_commands(reader, number, spec, problems=problems)
    if found is None:
        return
    stamps, commands = found
    parts = [LeRobotReader(reader.data, spec.image_topic, keys_of(source)) for source in spec.actions]
    ends = np.cumsum([part.dim for part in parts])[:-1]
    for frame, rgb in reader.images(number, range(len(stamps)), problems):
        place, sent = TimedImage(stamps[frame], commands), stamps[frame] + SENT_NS
        image = image_message(rgb, since_one(stamps[frame]))
        yield Recorded(since_one(stamps[frame]), ros_name(spec.image_topic), IMAGE, image, place)
        values = commands.at(sent + commands.lag_ns)
        if values is None:
            continue
        for source, part, own in zip(spec.actions, parts, np.split(values, ends), strict=True):
            command = JointState(header=header_at(since_one(sent), ""), name=list(part.names), position=own)
            yield Recorded(since_one(sent), ros_name(source.topic), JOINTS, command)


def since_one(stamp_ns: int) -> int:
    """A stamp of a data set, which begins at 0, as one of a message, where 0 is none."""
    return stamp_ns + 1_000_000_000


def image_message(rgb: NDArray[np.uint8], stamp_ns: int) -> Image:
    """uint8 RGB [H, W, 3] as a message."""
    height, width, _ = rgb.shape
    message = Image(
        header=header_at(stamp_ns, "camera"), height=height, width=width, encoding="rgb8", step=3 * width
    )
    message.data = array("B", np.ascontiguousarray(rgb).tobytes())
    return message
