# SPDX-License-Identifier: Apache-2.0
"""Predictions -> messages, and back."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from dd_ros_msgs.msg import PredictedVideo
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dd_ros.data.plans import NANOSECONDS
from dd_ros.errors import InputError

if TYPE_CHECKING:  # robots and recorders need no torch
    from dd_ros.predictions import Chunk

LAST_TIME_NS = 2**31 * NANOSECONDS - 1


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds -> Time; times before 1970 become 0, those after January 2038 the last that a Time can hold."""
    seconds, nanoseconds = divmod(min(max(stamp_ns, 0), LAST_TIME_NS), NANOSECONDS)
    return Time(sec=seconds, nanosec=nanoseconds)


def header_at(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=to_time(stamp_ns), frame_id=frame_id)


def predicted_video(
    chunk: Chunk,
    actions: NDArray[np.float32],
    *,
    stamp_ns: int,
    step_ns: int,
    now_ns: int,
    frame_id: str,
    checkpoint: str,
) -> PredictedVideo:
    """Message of one chunk.

    Args:
        chunk: frames uint8 RGB [c, H, W, 3].
        actions: [c, A] assumed, one row per frame.
        stamp_ns: stamp of the last observed image.
        step_ns: one model step.
        now_ns: time of publication; frames whose target time is not after it are marked late.
        frame_id: the camera's.
        checkpoint: name of the weights.
    """
    count, height, width, _ = chunk.frames.shape
    targets = [stamp_ns + (chunk.first_step + k) * step_ns for k in range(count)]
    msg = PredictedVideo(
        header=header_at(stamp_ns, frame_id), count=count, height=height, width=width, encoding="rgb8",
        target_stamps=[to_time(target) for target in targets], late=[target <= now_ns for target in targets],
        action_dim=actions.shape[1], chunk=chunk.index, chunks=chunk.count, first_step=chunk.first_step,
        checkpoint=checkpoint,
    )  # fmt: skip
    msg.data.frombytes(np.ascontiguousarray(chunk.frames).data)
    msg.uncertainty = array("f", np.ascontiguousarray(chunk.uncertainty, np.float32).tobytes())
    if chunk.error is not None:
        msg.error_intervals = array("f", np.ascontiguousarray(chunk.error, np.float32).tobytes())
    msg.actions = array("f", np.ascontiguousarray(actions, np.float32).tobytes())
    return msg


def video_frames(msg: PredictedVideo) -> NDArray[np.uint8]:
    """Frames of a message, uint8 RGB [count, height, width, 3], a view of its data.

    Raises:
        InputError: the data does not have the length that the sizes ask for.
    """
    shape = (msg.count, msg.height, msg.width, 3)
    raw = np.frombuffer(msg.data, np.uint8)
    if msg.encoding != "rgb8" or len(raw) != int(np.prod(shape)):
        raise InputError(
            f"PredictedVideo: expected rgb8 and {int(np.prod(shape))} bytes for {shape}, "
            f"got {msg.encoding!r} and {len(raw)}"
        )
    return raw.reshape(shape)


def rescaled(info: CameraInfo, *, width: int, height: int, header: Header) -> CameraInfo:
    """Calibration of the same camera for images stretched to width x height."""
    x, y = width / max(info.width, 1), height / max(info.height, 1)
    k, p = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    k[0] *= x
    k[1] *= y
    p[0] *= x
    p[1] *= y
    return CameraInfo(
        header=header, width=width, height=height, distortion_model=info.distortion_model, d=list(info.d),
        k=k.reshape(-1), r=list(info.r), p=p.reshape(-1),
    )  # fmt: skip
