# SPDX-License-Identifier: Apache-2.0
"""Packets of a video in a bag -> images: each is the right one, or there is none and a word why.

A packet says how its image differs from others, so packets are decoded one after the other from a key frame on (by
PyAV, extra ``video``). Images come in the order in which they are to be shown, which need not be the packets'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from dd_ros.data.h264 import FrameNumbers, has_image
from dd_ros.data.images import MOST_PIXELS
from dd_ros.data.odd_images import DEPTH, DEPTH_CURE, UNNAMED, VIDEO_CURE, is_video, video_format
from dd_ros.data.rosbag import Record
from dd_ros.errors import InputError

if TYPE_CHECKING:
    import av

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
# Words in the name of a format or encoder -> the decoder's name.
DECODERS = {
    "264": "h264", "avc": "h264", "265": "hevc", "hevc": "hevc", "av1": "libdav1d", "vp8": "vp8", "vp9": "vp9",
    "libvpx": "vp8", "mpeg4": "mpeg4", "mjpeg": "mjpeg",
}  # fmt: skip
MOST_DELAY = 32  # packets until an image has come, if one comes: twice what the codecs allow


@dataclass(frozen=True)
class VideoImage:
    """A decoded image with the fields of an Image message (rgb8)."""

    header: Any
    frame: av.VideoFrame = field(repr=False)
    encoding = "rgb8"
    is_bigendian = 0

    @property
    def width(self) -> int:
        return self.frame.width

    @property
    def height(self) -> int:
        return self.frame.height

    @property
    def step(self) -> int:
        return 3 * self.width

    @cached_property
    def data(self) -> NDArray[np.uint8]:
        """uint8 [height * width * 3]."""
        return np.ascontiguousarray(self.frame.to_ndarray(format="rgb24"), np.uint8).reshape(-1)


@dataclass(kw_only=True)
class VideoRecord(Record):
    """The record of a packet, with the image that it stands for.

    Attributes:
        image: None where there is none.
        why: there is none.
        key: storage file and receive time (ns) of the packet from which on its image can be decoded.
    """

    image: VideoImage | None = field(default=None, repr=False)
    why: str = ""
    key: tuple[Path, int] | None = None

    @cached_property
    def msg(self) -> Any:
        """The image, with the fields of an Image message; InputError where there is none."""
        if self.image is None:
            raise InputError(self.why)
        return self.image


def format_of(record: Record) -> str:
    """Format or encoder of a packet of a video, in its own words; empty for any other message."""
    if record.msgtype == IMAGE or not (record.msgtype == COMPRESSED or is_video(record.msgtype)):
        return ""
    try:
        return video_format(record.msg)
    except InputError:
        return ""  # who reads the message says it


class ImageStream:
    """Messages of one camera topic, in recorded order -> its images; packets of a video are decoded.

    Every image comes with the number of its message. Messages that are no packets come as they are.
    """

    def __init__(self) -> None:
        self._count = 0
        self._video: Video | None = None

    def add(self, record: Record) -> Iterator[tuple[int, Record]]:
        """The images that are there once this message has come.

        Raises:
            InputError: packets of a video that cannot be decoded here.
        """
        number, name = self._count, format_of(record)
        self._count += 1
        if name == UNNAMED and self._video is not None:
            name = self._video.name
        if self._video is None or self._video.name != name:
            yield from self.end()
            self._video = Video(name) if name else None
        if self._video is None:
            yield number, record
        else:
            yield from self._video.add(number, record)

    def end(self) -> Iterator[tuple[int, Record]]:
        """The images that were still to come."""
        if self._video is not None:
            yield from self._video.end()

    def prepare(self, found: Iterable[Record]) -> None:
        """Learn the parameters of a video that sends them once, from the packets that it began with."""
        for record in found:
            if any(isinstance(image, VideoRecord) and image.image for _, image in self.add(record)):
                break
        self._count = 0
        if self._video is not None:
            self._video.restart()


def images_of(
    found: Iterable[Record], *, source: str, beginning: Iterable[Record] = ()
) -> Iterator[tuple[int, Record]]:
    """The images that messages of one camera topic hold, as ``ImageStream`` has them.

    Args:
        found: the messages.
        source: bag and topic, for errors.
        beginning: those that the video began with, where ``found`` begins later and its parameters may lie there.

    Raises:
        InputError: packets of a video that cannot be decoded here.
    """
    stream = ImageStream()
    try:
        stream.prepare(beginning)
        for record in found:
            yield from stream.add(record)
        yield from stream.end()
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


class Video:
    """Decodes the packets of one video.

    Args:
        name: their format or encoder, as messages name it.

    Raises:
        InputError: no such decoder, or none at all; or what it shows is no image for a model.
    """

    def __init__(self, name: str):
        self.name = name
        parts = name.lower().split(";")
        if any(part in ("mono16", *map(str.lower, DEPTH)) for part in parts):
            raise InputError(f"video: expected colours or greys, got depth ({name}); {DEPTH_CURE}")
        self._codec = "h264" if name == UNNAMED else ""
        self._codec = self._codec or next((codec for word, codec in DECODERS.items() if word in parts[0]), "")
        if not self._codec:
            known = ", ".join(dict.fromkeys(DECODERS.values()))
            raise InputError(f"video: expected one of {known}, got {name!r}; {VIDEO_CURE}")
        try:
            import av
        except ImportError as error:
            raise InputError(
                f"packets of a video ({name}): expected PyAV, which is not installed; run 'make setup' in the checkout "
                "of dd_ros, or pip install '.[video]' there"
            ) from error
        self._packet = av.Packet
        self._decoder = cast("av.VideoCodecContext", av.CodecContext.create(self._codec, "r"))
        self._decoder.thread_count = 1  # no image later than it must be
        self._decoder.options = {"max_pixels": str(MOST_PIXELS)}
        self._forget()

    def restart(self) -> None:
        """Forget all images; parameters of the video stay."""
        self._decoder.flush_buffers()
        self._forget()

    def _forget(self) -> None:
        self._waiting: dict[int, Record] = {}
        self._numbers = FrameNumbers()
        self._damaged = [-1]  # numbers of packets from which on only a key frame helps
        self._key: tuple[Path, int] | None = None

    def add(self, number: int, record: Record) -> Iterator[tuple[int, VideoRecord]]:
        """The images that are there once packet ``number`` has come."""
        data = bytes(record.msg.data)
        if data and not has_image(data, self._codec):  # parameters, which belong to no image
            yield from self._shown(self._decode(self._packet(data)) or ())
            return
        if self._codec == "h264" and self._numbers.lost_before(data):
            self._damaged.append(number)
        self._waiting[number] = record
        packet = self._packet(data)
        packet.pts = number
        frames = self._decode(packet) if data else None  # an empty one would end the video
        if frames is None:
            self._damaged.append(number)
            yield self._given_up(number)
        yield from self._shown(frames or ())
        while len(self._waiting) > MOST_DELAY:
            yield self._given_up(min(self._waiting))

    def end(self) -> Iterator[tuple[int, VideoRecord]]:
        """The images that were still to come."""
        yield from self._shown(self._decode(None) or ())
        for number in sorted(self._waiting):
            yield self._given_up(number)

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame] | None:
        """Frames that are there after a packet, or at the end; None where it does not decode."""
        try:
            return self._decoder.decode(packet)
        except Exception:  # the bytes may be anything
            return None

    def _shown(self, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[int, VideoRecord]]:
        for frame in frames:
            number = frame.pts
            if number is None or number not in self._waiting:
                continue
            if frame.key_frame:  # what was sent before it would have been shown before it
                for before in sorted(other for other in self._waiting if other < number):
                    yield self._given_up(before)
                record = self._waiting[number]
                self._damaged = [damaged for damaged in self._damaged if damaged > number]
                self._key = record.file, record.received_ns
            if frame.is_corrupt:
                self._damaged.append(number)
            if any(damaged <= number for damaged in self._damaged):
                yield self._given_up(number)
            else:
                record = self._waiting.pop(number)
                yield (
                    number,
                    video_record(record, image=VideoImage(header_of(record.msg), frame), key=self._key),
                )

    def _given_up(self, number: int) -> tuple[int, VideoRecord]:
        why = (
            f"packet of a video ({self.name}): expected a key frame and all packets since, whole, "
            "got less; left out up to the next key frame"
        )
        return number, video_record(self._waiting.pop(number), why=why)


def video_record(record: Record, **more: Any) -> VideoRecord:
    """The record of a packet with what became of it."""
    return VideoRecord(
        topic=record.topic, msgtype=IMAGE, received_ns=record.received_ns, raw=b"", types=record.types,
        file=record.file, duplicate_index=record.duplicate_index, **more,
    )  # fmt: skip


def header_of(msg: Any) -> Any:
    """Header of a packet; of a CompressedVideo, which has its fields without one."""
    return (
        msg.header if hasattr(msg, "header") else SimpleNamespace(stamp=msg.timestamp, frame_id=msg.frame_id)
    )
