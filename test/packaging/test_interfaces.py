# SPDX-License-Identifier: Apache-2.0
"""The messages have the documented fields, and bags of them can be read without ROS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dd_ros_msgs.msg import ActionSequence, PredictedVideo
from dd_ros_msgs.srv import PredictRollouts
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

ROOT = Path(__file__).parents[2] / "dd_ros_msgs"
VIDEO = {
    "header": "std_msgs/Header",
    "count": "uint32",
    "height": "uint32",
    "width": "uint32",
    "encoding": "string",
    "data": "sequence<uint8>",
    "target_stamps": "sequence<builtin_interfaces/Time>",
    "late": "sequence<boolean>",
    "uncertainty": "sequence<float>",
    "error_intervals": "sequence<float>",
    "action_dim": "uint32",
    "actions": "sequence<float>",
    "chunk": "uint32",
    "chunks": "uint32",
    "first_step": "uint32",
    "checkpoint": "string",
}
SEQUENCE = {
    "header": "std_msgs/Header",
    "step": "double",
    "count": "uint32",
    "dim": "uint32",
    "data": "sequence<float>",
}
REQUEST = {
    "candidates": "sequence<dd_ros_msgs/ActionSequence>",
    "return_frames": "boolean",
    "cost": "string",
    "goal": "sensor_msgs/Image",
    "goal_state": "sequence<float>",
    "deadline": "builtin_interfaces/Time",
}
RESPONSE = {
    "success": "boolean",
    "message": "string",
    "header": "std_msgs/Header",
    "schedule": "string",
    "target_stamps": "sequence<builtin_interfaces/Time>",
    "candidates": "uint32",
    "reduced": "boolean",
    "costs": "sequence<float>",
    "uncertainty": "sequence<float>",
    "readout_names": "sequence<string>",
    "readouts": "sequence<float>",
    "futures": "sequence<dd_ros_msgs/PredictedVideo>",
}


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (PredictedVideo, VIDEO),
        (ActionSequence, SEQUENCE),
        (PredictRollouts.Request, REQUEST),
        (PredictRollouts.Response, RESPONSE),
    ],
)
def test_fields_as_documented(message: type, fields: dict[str, str]) -> None:
    assert message.get_fields_and_field_types() == fields


def test_built_messages_are_those_of_the_sources() -> None:
    # A stale build would pass every other test here with the old fields.
    for message in (PredictedVideo, ActionSequence):
        name = f"dd_ros_msgs/msg/{message.__name__}"
        source = (ROOT / "msg" / f"{message.__name__}.msg").read_text()
        fields = get_types_from_msg(source, name)[name][1]
        assert [field for field, _ in fields] == list(message.get_fields_and_field_types())


def test_rclpy_and_rosbags_read_each_other() -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    store = get_typestore(Stores.ROS2_JAZZY)
    source = (ROOT / "msg/PredictedVideo.msg").read_text()
    store.register(get_types_from_msg(source, "dd_ros_msgs/msg/PredictedVideo"))
    video = PredictedVideo(count=1, height=1, width=2, encoding="rgb8", chunk=1, chunks=4, first_step=5)
    video.header.frame_id = "camera"
    video.data.frombytes(bytes(range(6)))
    video.uncertainty.append(0.5)
    video.late.append(True)
    offline = store.deserialize_cdr(serialize_message(video), "dd_ros_msgs/msg/PredictedVideo")
    assert offline.header.frame_id == "camera"
    np.testing.assert_array_equal(offline.data, np.arange(6))
    back = bytes(store.serialize_cdr(offline, "dd_ros_msgs/msg/PredictedVideo"))
    assert deserialize_message(back, PredictedVideo) == video
