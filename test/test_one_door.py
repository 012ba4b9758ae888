# SPDX-License-Identifier: Apache-2.0
"""The same message gives the same pixels on every way to a model: live, from bags, in training, from data sets."""

from __future__ import annotations

import struct
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra lerobot")
pytest.importorskip("pyarrow", reason="needs the extra lerobot")
pytest.importorskip("lightning", reason="needs the extra train")
from bag_writer import COMPRESSED, IMAGE, JOINTS, START, STEP, header, joints, make, write_bag
from dd_ros_msgs.srv import PredictRollouts
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot_writer import CAMERA, Writer
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from dd_ros import Predictor
from dd_ros.data.bags import read_episodes
from dd_ros.data.commands import Commands
from dd_ros.data.images import decode_rgb, image_size, image_to_rgb, resize
from dd_ros.demo.recording import Piece, Recording
from dd_ros.live.problems import Problems
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Frame, Worker
from dd_ros.ros.rollouts import _goal_image
from dd_ros.streams import StreamSpec, parse_actions
from dd_ros_training.data.index import index_bags

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 48, 32  # of the tiny checkpoint
SPEC = StreamSpec(
    image_topic="/camera", actions=parse_actions(["/action"]), rate_hz=10.0, width=WIDTH, height=HEIGHT
)
RAW = {"rgb8": 3, "bgr8": 3, "mono8": 1, "bayer_rggb8": 1, "bayer_grbg8": 1}


def textured(width: int, height: int, seed: int) -> Pixels:
    """An image with detail of every size, down to single pixels."""
    random = np.random.default_rng(seed)
    image = random.normal(0, 20, (height, width, 3))
    for cells in (2, 8, 32):
        coarse = random.normal(0, 30, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + image, 0, 255).astype(np.uint8)


def rotated(jpeg: bytes, orientation: int) -> bytes:
    """The jpeg with EXIF data that ask for another orientation."""
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def raw(encoding: str, width: int, height: int, seed: int) -> tuple[str, dict[str, Any], bytes]:
    """Type, fields and data of an Image message, whose rows are padded."""
    if encoding.startswith("bayer"):
        width, height = 2 * (width // 2), 2 * (height // 2)
    samples = textured(width, height, seed)[..., : RAW[encoding]].reshape(height, -1)
    rows = np.pad(samples, ((0, 0), (0, seed % 5)))
    fields = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": rows.shape[1],
    }
    return IMAGE, fields, rows.tobytes()


def encoded(kind: str, pixels: Pixels, quality: int, orientation: int) -> tuple[str, dict[str, Any], bytes]:
    """Type, fields and data of a CompressedImage message."""
    data = cv2.imencode(f".{kind}", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpeg" else [])[1]
    jpeg = rotated(data.tobytes(), orientation) if kind == "jpeg" and orientation else data.tobytes()
    return COMPRESSED, {"format": kind}, jpeg


# Sizes that a jpeg may be decoded reduced for, and any others.
SIZES = st.one_of(
    st.sampled_from([(96, 64), (240, 160), (192, 128), (384, 256), (120, 80), (200, 160), (241, 161)]),
    st.tuples(st.integers(2, 400), st.integers(2, 300)),
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, dict[str, Any], bytes]:
    (width, height), seed = draw(SIZES), draw(st.integers(0, 99))
    kind = draw(st.sampled_from(["jpeg", "jpeg", "jpeg", "png", *RAW]))
    if kind in RAW:
        return raw(kind, width, height, seed)
    pixels = textured(width, height, seed)
    grey = draw(st.booleans()) and seed % 3 == 0
    pixels = pixels[..., 0] if grey else pixels
    return encoded(kind, pixels, draw(st.integers(30, 100)), draw(st.integers(0, 8)))


def live_message(kind: str, fields: dict[str, Any], data: bytes) -> Any:
    """The message as rclpy has it."""
    return (Image if kind == IMAGE else CompressedImage)(**fields, data=array("B", data))


def bag_message(kind: str, fields: dict[str, Any], data: bytes) -> Any:
    """The message as bags have it."""
    return make(kind, header=header(START), **fields, data=np.frombuffer(data, np.uint8))


@pytest.fixture(scope="module")
def live(tiny_checkpoint: Path) -> Callable[[Any], Pixels]:
    """What the node's worker lets its predictor observe of a message."""
    predictor = Predictor.load(tiny_checkpoint, "cpu")

    class Nowhere:
        def chunk(self, *_: object) -> None:
            pass

    def observed(message: Any) -> Pixels:
        commands = Commands([2])
        commands.push(START - 1, np.zeros(2))
        # It predicts nothing, for it knows no command to come: this is about what it sees.
        parameters = PredictorParameters(keep="all", action_wait=0.0, hold_last_action=False)
        problems = Problems(lambda level, text: None)
        worker = Worker(
            predictor, commands, Nowhere(), problems=problems, statistics=Statistics(), settings=parameters
        )
        worker.start()
        worker.mailbox.put(Frame(message, START, "camera", 0))
        done = threading.Event()
        while len(worker.mailbox):
            done.wait(0.001)
        worker.submit(done.set)
        done.wait()
        worker.stop()
        assert not problems.current("image")
        assert predictor.observed is not None
        return predictor.observed

    return observed


def recorded(message: Any, early: bool) -> Pixels:
    """What the demo's recorder compares predictions with; the first image may be ``early``, before any of them."""
    recording = Recording()
    if early:
        recording.frame(START, message)
    recording.piece(
        Piece(
            stamp_ns=START, step_ns=STEP, first_step=1, chunk=0, chunks=1,
            frames=np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), late=(False,), published_ns=START,
        )
    )  # fmt: skip
    if not early:
        recording.frame(START, message)
    found = recording.frames.near(START, 0)
    assert found is not None
    return found


def from_data_set(folder: Path, data: bytes) -> list[Pixels]:
    """What an episode whose images are these bytes gives, read and indexed."""
    cells = [{"bytes": data, "path": ""}] * 7
    bag = Writer(folder / "set", (7,), dtype="image", columns={(0, CAMERA): cells}).write() / "episode_000000"
    spec = SPEC.model_copy(update={"image_topic": CAMERA, "actions": parse_actions(["action"])})
    (whole,), (lazy,) = read_episodes(bag, spec), index_bags([bag], spec, folder / "cache")
    return [whole.frames[0], lazy.frames(0, 1)[0]]


@settings(max_examples=40)
@given(messages())
def test_one_image_on_all_ways(
    tmp_path_factory: pytest.TempPathFactory,
    live: Callable[[Any], Pixels],
    message: tuple[str, dict[str, Any], bytes],
) -> None:
    folder, (kind, _, data) = tmp_path_factory.mktemp("ways"), message
    expected = decode_rgb(live_message(*message), WIDTH, HEIGHT)
    assert (expected.shape, expected.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    action = ("/action", JOINTS, START - 1, joints(START - 1, (0.0, 0.0)))
    bag = write_bag(folder / "bag", [action, ("/camera", kind, START, bag_message(*message))])
    (read,), (indexed,) = read_episodes(bag, SPEC), index_bags([bag], SPEC, folder / "cache")
    ways = {
        "live": live(live_message(*message)),
        "read": read.frames[0],
        "training": indexed.frames(0, 1)[0],
        "recorder": recorded(live_message(*message), early=False),
        "recorder, early": recorded(live_message(*message), early=True),
    }
    if kind == COMPRESSED:
        ways |= dict(zip(("data set", "data set in training"), from_data_set(folder, data), strict=True))
    for name, found in ways.items():
        assert np.array_equal(found, expected), name


@settings(max_examples=20)
@given(st.sampled_from([*RAW]), SIZES, st.integers(0, 99))
def test_a_goal_is_seen_as_an_image(
    tiny_checkpoint: Path, encoding: str, size: tuple[int, int], seed: int
) -> None:
    message = live_message(*raw(encoding, *size, seed))
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    goal = _goal_image(PredictRollouts.Request(goal=message).goal, predictor, (message.width, message.height))
    assert goal is not None
    assert np.array_equal(goal, decode_rgb(message, WIDTH, HEIGHT))


@given(messages())
def test_what_tells_the_size_and_all_pixels_agree(message: tuple[str, dict[str, Any], bytes]) -> None:
    """``observe`` takes all pixels too: then they are the same but for a jpeg that was decoded reduced."""
    for way in (live_message, bag_message):
        pixels = image_to_rgb(way(*message))
        assert image_size(way(*message)) == pixels.shape[1::-1]
        if message[1].get("format") != "jpeg":
            found = decode_rgb(way(*message), WIDTH, HEIGHT)
            assert np.array_equal(found, resize(pixels, WIDTH, HEIGHT))
