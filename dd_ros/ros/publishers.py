# SPDX-License-Identifier: Apache-2.0
"""Everything the node publishes about a prediction."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from dd_ros_msgs.msg import PredictedVideo
from numpy.typing import NDArray
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64, UInt64

from dd_ros.data.images import rgb_to_image
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Statistics
from dd_ros.live.upcoming import Due, Screen, Upcoming
from dd_ros.live.worker import Prediction
from dd_ros.predictions import Chunk
from dd_ros.predictor import Predictor
from dd_ros.ros.messages import header_at, predicted_video, rescaled

RCLError = rclpy_implementation.RCLError
# Small frames are enlarged to about this height for people.
PREVIEW_HEIGHT = 240


class Publishers:
    """Publishes chunks on ~/prediction and, where somebody listens, images for viewers.

    Args:
        node: owner; its clock tells which frames are late.
        predictor: gives sizes, step and checkpoint name.
        statistics: where misses and ages are counted.
        settings: parameter values; replace the attribute to change them.
    """

    def __init__(
        self,
        node: LifecycleNode,
        *,
        predictor: Predictor,
        statistics: Statistics,
        settings: PredictorParameters,
    ):
        self.settings = settings
        self.camera_info: CameraInfo | None = None
        self._node, self._statistics = node, statistics
        self._checkpoint, self._step_ns = predictor.config.name, predictor.step_ns
        self._upcoming = Upcoming(step_ns=predictor.step_ns, horizon=predictor.horizon)
        self._screen = Screen(self._upcoming, now_ns=self._now, show=self._show)
        chunks = predictor.horizon // predictor.chunk_frames
        reliable = QoSProfile(depth=max(chunks, 1), reliability=ReliabilityPolicy.RELIABLE)
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        create = node.create_lifecycle_publisher
        self._prediction = create(PredictedVideo, "~/prediction", reliable)
        self._image = create(Image, "~/predicted_image", newest)
        self._leads = {lead: create(Image, lead_topic(lead), newest) for lead in settings.image_leads}
        self._preview = create(Image, "~/preview", newest)
        self._camera_info = create(CameraInfo, "~/camera_info", newest)
        # Numbers that any plot can show: the diagnostics hold theirs as text.
        self._age = create(Float64, "~/age", newest)
        self._missed = create(UInt64, "~/missed_chunks", newest)
        self._frames: list[NDArray[np.uint8]] = []  # of the prediction under way
        self._frame_id = ""  # the camera's

    def destroy(self) -> None:
        """Take the topics back."""
        self._screen.stop()
        images = (self._image, *self._leads.values(), self._preview)
        for publisher in (self._prediction, *images, self._camera_info, self._age, self._missed):
            self._node.destroy_lifecycle_publisher(publisher)

    def chunk(self, prediction: Prediction, chunk: Chunk) -> None:
        """Publish one chunk as soon as it is there; nothing once ROS is shutting down."""
        try:
            self._publish(prediction, chunk)
        except RCLError:
            if self._node.context.ok():
                raise

    def _publish(self, prediction: Prediction, chunk: Chunk) -> None:
        first = chunk.first_step - 1
        actions = prediction.actions[first : first + len(chunk.frames)]
        now = self._now()
        message = predicted_video(
            chunk, actions, stamp_ns=prediction.stamp_ns, step_ns=self._step_ns, now_ns=now,
            frame_id=prediction.frame_id, checkpoint=self._checkpoint,
        )  # fmt: skip
        late = sum(message.late)
        self._count(chunk, age_ns=now - prediction.stamp_ns, late=late)
        if not (self.settings.drop_late and late == len(chunk.frames)):
            self._prediction.publish(message)
            self._statistics.add("published_chunks")
        self._viewers(prediction, chunk)

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _count(self, chunk: Chunk, *, age_ns: int, late: int) -> None:
        deadline = self.settings.deadline
        missed = age_ns > deadline * 1e9 if deadline > 0.0 else late == len(chunk.frames)
        self._statistics.add("late_frames", late)
        self._statistics.add("missed_chunks", missed)
        if chunk.index == 0:
            self._statistics.sample("age", age_ns / 1e6)
            if self._age.get_subscription_count():
                self._age.publish(Float64(data=age_ns / 1e9))
        if self._missed.get_subscription_count():
            self._missed.publish(UInt64(data=self._statistics.counts["missed_chunks"]))

    def _viewers(self, prediction: Prediction, chunk: Chunk) -> None:
        if chunk.index == 0:
            self._frames, self._frame_id = [], prediction.frame_id
            self._pass_on_camera_info(prediction)
        self._frames.extend(chunk.frames)
        if self.settings.preview_lead:
            self._publish_lead(self._image, self.settings.preview_lead, prediction=prediction, chunk=chunk)
        else:
            self._for_now(prediction, chunk)
        for lead, publisher in self._leads.items():
            self._publish_lead(publisher, lead, prediction=prediction, chunk=chunk)
        if chunk.index == chunk.count - 1 and self._preview.get_subscription_count():
            header = header_at(prediction.stamp_ns, prediction.frame_id)
            image = preview(prediction.observed, self._frames, self._step_ns / 1e9)
            self._preview.publish(rgb_to_image(image, header, Image))

    def _publish_lead(self, publisher: Any, lead: float, *, prediction: Prediction, chunk: Chunk) -> None:
        """The frame ``lead`` seconds ahead, stamped with the time it is for; never one whose time is over."""
        wanted = lead_step(lead, step_ns=self._step_ns, horizon=chunk.count * len(chunk.frames))
        if not publisher.get_subscription_count() or not chunk.first_step <= wanted <= len(self._frames):
            return
        target = prediction.stamp_ns + wanted * self._step_ns
        if target > self._now():
            self._send(publisher, self._frames[wanted - 1], target)
        else:
            self._statistics.add("missed_images")

    def _for_now(self, prediction: Prediction, chunk: Chunk) -> None:
        """Keep what is to come, and show what is for now."""
        if not self._image.get_subscription_count():
            return
        self._upcoming.add(prediction.stamp_ns, chunk.first_step, chunk.frames)
        self._screen.look()
        end = prediction.stamp_ns + (chunk.first_step + len(chunk.frames) - 1) * self._step_ns
        if chunk.index == chunk.count - 1 and end <= self._now():
            self._statistics.add("missed_images")  # of this prediction nothing can be shown

    def _show(self, due: Due) -> None:
        """Send the frame for now, on the screen's thread."""
        try:
            if self._image.is_activated and not self.settings.preview_lead:
                self._send(self._image, due.frame, due.target_ns)
        except RCLError:
            if self._node.context.ok():
                raise

    def _send(self, publisher: Any, frame: NDArray[np.uint8], target_ns: int) -> None:
        publisher.publish(rgb_to_image(frame, header_at(target_ns, self._frame_id), Image))

    def _pass_on_camera_info(self, prediction: Prediction) -> None:
        if self.camera_info is not None:
            height, width, _ = prediction.observed.shape
            header = header_at(prediction.stamp_ns, prediction.frame_id)
            self._camera_info.publish(rescaled(self.camera_info, width=width, height=height, header=header))


def lead_topic(seconds: float) -> str:
    """Topic of the frames so many seconds ahead: ``~/predicted_image/lead_0_5s``."""
    return f"~/predicted_image/lead_{seconds:g}s".replace(".", "_")


def lead_step(lead: float, *, step_ns: int, horizon: int) -> int:
    """Which predicted frame is ``lead`` seconds ahead of the observed image, by its step, 1 to ``horizon``.

    Args:
        lead: seconds, above 0.
        step_ns: one model step.
        horizon: predicted frames.
    """
    return min(max(round(lead * 1e9 / step_ns), 1), horizon)


def preview(observed: NDArray[np.uint8], frames: list[NDArray[np.uint8]], step: float) -> NDArray[np.uint8]:
    """Observed frame and the predicted ones at 1/4, 1/2 and the full horizon, side by side.

    Args:
        observed: uint8 RGB [H, W, 3].
        frames: the predicted ones, same shape.
        step: seconds of a model step.
    """
    leads = sorted({max(1, len(frames) * part // 4) for part in (1, 2, 4)})
    scale = max(1, round(PREVIEW_HEIGHT / observed.shape[0]))
    tiles = [_tile(observed, "observed", scale)]
    tiles += [_tile(frames[lead - 1], f"+{lead * step:.2f} s", scale) for lead in leads]
    return np.concatenate(tiles, axis=1)


def _tile(pixels: NDArray[np.uint8], label: str, scale: int) -> NDArray[np.uint8]:
    tile = cv2.resize(np.ascontiguousarray(pixels), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)
