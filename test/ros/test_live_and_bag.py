# SPDX-License-Identifier: Apache-2.0
"""A recording played to the node's inputs yields the very frames and actions that reading it yields."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dd_ros import Predictor
from dd_ros.data.bags import read_episodes
from dd_ros.data.commands import Commands
from dd_ros.data.trained import TrainedRange
from dd_ros.live.clocks import Clocks
from dd_ros.live.intake import ActionIntake
from dd_ros.live.problems import Problems
from dd_ros.live.settings import PredictorParameters
from dd_ros.live.statistics import Statistics
from dd_ros.live.worker import Prediction, Worker
from dd_ros.predictions import Chunk
from dd_ros.ros.inputs import Inputs, NodeTime
from dd_ros.ros.publishers import Publishers
from dd_ros.streams import ActionSource

IMAGE, JOINTS = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
TWIST = "geometry_msgs/msg/TwistStamped"
TYPES = get_typestore(Stores.ROS2_JAZZY)
START = 1_700_000_000_000_000_000
MS = 1_000_000


class Watched(Predictor):
    """A predictor that remembers the model steps it took."""

    taken: list[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]

    def observe_step(
        self, image: NDArray[np.uint8], stamp_ns: int, action: NDArray[np.float32], *, step: int
    ) -> None:
        super().observe_step(image, stamp_ns, action, step=step)
        assert self.observed is not None
        self.taken.append((stamp_ns, self.observed.copy(), np.asarray(action)))


class Nowhere:
    """Output for a test that is about input."""

    def chunk(self, prediction: Prediction, chunk: Chunk) -> None:
        pass


def header(stamp: int) -> object:
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id="camera")


def recording() -> list[tuple[int, str, object]]:
    """(stamp, type, message): a 30 Hz camera with jitter, padding and gaps; commands at 47 Hz and, late, at 9 Hz."""
    rng = np.random.default_rng(0)
    items: list[tuple[int, str, object]] = []
    image, joints = TYPES.types[IMAGE], TYPES.types[JOINTS]
    for k in range(120):
        stamp = START + k * 33 * MS + int(rng.integers(-8, 8)) * MS
        if 40 <= k < 43 or 70 <= k < 90:  # one step missed; then a gap
            continue
        rows = rng.integers(0, 256, (40, 60 * 3 + 4), np.uint8)
        fields = {"height": 40, "width": 60, "encoding": "bgr8", "is_bigendian": 0, "step": 184}
        items.append((stamp, IMAGE, image(header=header(stamp), data=rows.reshape(-1), **fields)))
    for k in range(190):
        stamp = START + 60 * MS + k * 21 * MS
        position, none = rng.normal(size=3), np.zeros(0)
        message = joints(
            header=header(stamp), name=["a", "b", "c"], position=position, velocity=none, effort=none
        )
        items.append((stamp, JOINTS, message))
    vector, twist = TYPES.types["geometry_msgs/msg/Vector3"], TYPES.types["geometry_msgs/msg/Twist"]
    for k in range(30):
        stamp = START + 700 * MS + k * 111 * MS
        turn = vector(x=0.0, y=0.0, z=float("nan") if k == 20 else float(k))
        message = TYPES.types[TWIST](header=header(stamp), twist=twist(linear=turn, angular=turn))
        items.append((stamp, TWIST, message))
    # A command for an image comes before it.
    return sorted(items, key=lambda item: (item[0], item[1] == IMAGE))


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording as a bag, with the topics of the tiny checkpoint."""
    path = tmp_path_factory.mktemp("bags") / "recording"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {IMAGE: "/camera/image_raw", JOINTS: "/action", TWIST: "/base"}
        connections = {
            kind: writer.add_connection(topic, kind, typestore=TYPES) for kind, topic in topics.items()
        }
        for stamp, kind, message in recording():
            writer.write(connections[kind], stamp, TYPES.serialize_cdr(message, kind))
    return path


@pytest.fixture
def node() -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def until_idle(worker: Worker) -> None:
    """Wait until the worker has observed all it got."""
    done = threading.Event()
    while len(worker.mailbox):
        done.wait(0.001)
    worker.submit(done.set)
    done.wait()


SOURCES = {
    "fields of a type": [ActionSource(topic="/action", type=JOINTS, fields=("position[0:2]",))],
    "fields of any type": [ActionSource(topic="/action", fields=("position[1:3]",))],
    "joints by name": [ActionSource(topic="/action", fields=("position[c,a]",))],
    "two topics": [
        ActionSource(topic="/action", type=JOINTS, fields=("position[b]",), dim=1),
        ActionSource(topic="/base", fields=("twist.angular.z",), dim=1),
    ],
}


@pytest.mark.parametrize(
    ("name", "mode"), [*((name, "hold") for name in SOURCES), ("fields of any type", "linear")]
)
def test_live_and_bag_agree(node: Node, bag: Path, tiny_checkpoint: Path, name: str, mode: str) -> None:
    sources = SOURCES[name]
    predictor = Watched.load(tiny_checkpoint, "cpu")
    predictor.taken = []
    changes = {"actions": tuple(sources), "action_mode": mode}
    streams = predictor.config.streams.model_copy(update=changes)
    config = predictor.config.model_copy(update={"streams": streams})
    # Interpolation needs the command after the image: the worker has to wait for it.
    settings = PredictorParameters(keep="all", rate=0.1, action_wait=2.0 if mode == "linear" else 0.0)
    commands, statistics = Commands([2 // len(sources)] * len(sources), mode), Statistics()
    problems = Problems(lambda level, text: None)
    worker = Worker(
        predictor, commands, Nowhere(), problems=problems, statistics=statistics, settings=settings
    )
    outputs = Publishers.__new__(Publishers)  # only takes a calibration, and none comes
    inputs = Inputs(
        node, config, settings, commands=commands, worker=worker, publishers=outputs, statistics=statistics,
        problems=problems,
    )  # fmt: skip
    intakes = [
        ActionIntake(
            name="action",
            number=number,
            source=source,
            known=TrainedRange.of(config.action, sources).part(
                number * (2 // len(sources)), 2 // len(sources)
            ),
            commands=commands,
            problems=problems,
            clocks=Clocks(NodeTime(node), problems),
        )
        for number, source in enumerate(sources)
    ]
    worker.start()
    with Reader(bag) as reader:
        for connection, _, raw in reader.messages():
            message = TYPES.deserialize_cdr(raw, connection.msgtype)
            if connection.msgtype == IMAGE:
                until_idle(worker)
                inputs.images.take(message)
            elif connection.topic in streams.action_topics:
                number = streams.action_topics.index(connection.topic)
                intakes[number].take(message, connection.msgtype, connection.topic)
    until_idle(worker)
    worker.stop()
    inputs.destroy()
    episodes = read_episodes(bag, streams)
    read = [item for e in episodes for item in zip(e.stamps, e.frames, e.actions, strict=True)]
    live = {stamp: (frame, action) for stamp, frame, action in predictor.taken}
    assert len(episodes) >= 2
    held = [stamp for stamp, *_ in read if int(stamp) not in live]
    assert len(held) <= 2, "only frames repeated for a missed step are not images of their own"
    assert len(read) - len(held) == len(live) > 20
    for stamp, frame, action in read:
        if int(stamp) in live:
            assert np.array_equal(live[int(stamp)][0], frame)
            assert np.array_equal(live[int(stamp)][1], action)


def test_array_data_reads_like_bag_data() -> None:
    """rclpy gives array.array where bags give NumPy; both must read alike."""
    from sensor_msgs.msg import Image

    from dd_ros.data.images import image_to_rgb

    message = next(message for _, kind, message in recording() if kind == IMAGE)
    fields = {
        name: getattr(message, name) for name in ("height", "width", "encoding", "is_bigendian", "step")
    }
    live = Image(data=array("B", message.data.tobytes()), **fields)
    assert np.array_equal(image_to_rgb(live), image_to_rgb(message))
