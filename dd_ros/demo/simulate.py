# SPDX-License-Identifier: Apache-2.0
"""Episodes of the simulated robot as rosbag2 bags, with the topics of the live robot node.

Stamps, live and in bags: image ``k`` carries t_k, the time of the state it shows; command ``k``,
which acts from t_k to t_(k+1), carries t_k + 1 ms, because the robot looks and then acts. So the
command in force at an image's stamp is the one that led to that image. With ``--state`` a bag
also has the truth, which no real robot knows: ``/pusht/state`` with the stamps of the images.

    python -m dd_ros.demo.simulate --out bags --episodes 150 --steps 200 --seed 0
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dd_ros.console import Command
from dd_ros.demo.behaviours import BEHAVIOURS, REPLAYS, Player
from dd_ros.demo.pusht import IMAGE_SIZE, RATE_HZ
from dd_ros.errors import InputError
from dd_ros.streams import ActionSource, StreamSpec

IMAGE_TOPIC, IMAGE_TYPE = "/camera/image_raw", "sensor_msgs/msg/Image"
COMMAND_TOPIC, COMMAND_TYPE = "/pusher/command", "sensor_msgs/msg/JointState"
PLAN_TOPIC = "/pusher/plan"
CAMERA_FRAME = "camera"
JOINTS = ("x", "y")
STATE_TOPIC, STATE_TYPE = "/pusht/state", COMMAND_TYPE
# Positions in units of the table, the angle as cosine and sine, which do not jump. Of the velocities, in units
# per second, only the pusher's are ever more than nothing.
STATE_NAMES = ("pusher_x", "pusher_y", "block_x", "block_y", "block_cos", "block_sin")
STEP_NS = round(1e9 / RATE_HZ)
# From the image to the moment its successor's command acts.
COMMAND_DELAY_NS = 1_000_000
FIRST_STAMP_NS = 1_700_000_000_000_000_000

STREAMS = StreamSpec(
    image_topic=IMAGE_TOPIC,
    actions=(ActionSource(topic=COMMAND_TOPIC, type=COMMAND_TYPE, fields=("position[0:2]",), dim=len(JOINTS)),),
    rate_hz=RATE_HZ, width=IMAGE_SIZE, height=IMAGE_SIZE,
)  # fmt: skip


class EpisodeWriter:
    """Writes images and commands of one episode into a new bag (mcap, zstd).

    Args:
        path: folder of the bag; must not exist.
        with_state: the bag gets the topic of true states as well.
    """

    def __init__(self, path: Path, with_state: bool = False):
        if path.exists():
            raise InputError(f"{path}: exists already; choose another folder or remove it")
        self._with_state = with_state
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._bag = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._bag.set_compression(CompressionMode.STORAGE, _zstd())

    def __enter__(self) -> EpisodeWriter:
        self._bag.open()
        self._image = self._bag.add_connection(IMAGE_TOPIC, IMAGE_TYPE, typestore=self._types)
        self._command = self._bag.add_connection(COMMAND_TOPIC, COMMAND_TYPE, typestore=self._types)
        if self._with_state:
            self._state = self._bag.add_connection(STATE_TOPIC, STATE_TYPE, typestore=self._types)
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.close()

    def image(self, stamp_ns: int, rgb: NDArray[np.uint8]) -> None:
        """Write the image ``rgb`` uint8 [H, W, 3]."""
        height, width, _ = rgb.shape
        message = self._types.types[IMAGE_TYPE](
            header=self._header(stamp_ns, CAMERA_FRAME), height=height, width=width, encoding="rgb8",
            is_bigendian=0, step=3 * width, data=np.ascontiguousarray(rgb).reshape(-1),
        )  # fmt: skip
        self._bag.write(self._image, stamp_ns, self._types.serialize_cdr(message, IMAGE_TYPE))

    def command(self, stamp_ns: int, position: NDArray[np.float64]) -> None:
        """Write a command: where the pusher shall go [2]."""
        self._joints(self._command, stamp_ns, JOINTS, position)

    def state(self, stamp_ns: int, state: NDArray[np.float64]) -> None:
        """Write a true state [7]: places, angle and the pusher's velocity, see ``Table``."""
        position = [*state[:4], np.cos(state[4]), np.sin(state[4])]
        self._joints(self._state, stamp_ns, STATE_NAMES, position, velocity=[*state[5:7], 0.0, 0.0, 0.0, 0.0])

    def _joints(
        self, topic: Any, stamp_ns: int, names: Sequence[str], position: ArrayLike, velocity: ArrayLike = ()
    ) -> None:
        message = self._types.types[COMMAND_TYPE](
            header=self._header(stamp_ns, ""), name=list(names), position=np.asarray(position, dtype=float),
            velocity=np.asarray(velocity, dtype=float), effort=np.zeros(0),
        )  # fmt: skip
        self._bag.write(topic, stamp_ns, self._types.serialize_cdr(message, COMMAND_TYPE))

    def _header(self, stamp_ns: int, frame: str) -> Any:
        types = self._types.types
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def _zstd() -> Any:
    from rosbags.rosbag2 import CompressionFormat

    return CompressionFormat.ZSTD


def write_episode(
    path: Path,
    robot: Player,
    *,
    steps: int,
    start_ns: int = FIRST_STAMP_NS,
    with_state: bool = False,
) -> None:
    """Run ``robot`` for ``steps`` images, or until it is over, and write them and the commands to the bag ``path``."""
    with EpisodeWriter(path, with_state) as bag:
        # Before the first image the pusher stands still: its own place is the command in force.
        bag.command(start_ns - STEP_NS + COMMAND_DELAY_NS, robot.world.pusher)
        for step in range(steps):
            stamp = start_ns + step * STEP_NS
            bag.image(stamp, robot.world.image())
            if with_state:
                bag.state(stamp, robot.world.state)
            bag.command(stamp + COMMAND_DELAY_NS, robot.step())
            if robot.over:
                break


@click.command(cls=Command)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the bags.")
@click.option("--episodes", default=150, show_default=True, help="Number of bags.")
@click.option("--steps", default=200, show_default=True, help="Images per bag, 10 a second.")
@click.option("--seed", default=0, show_default=True, help="Seed of the first episode.")
@click.option(
    "--behaviour", type=click.Choice(list(BEHAVIOURS)), default="robot", show_default=True,
    help="Who pushes: the robot at work, hard pushes from beside the block, a weak random policy, an expert that plans "
    f"on the true simulator with {REPLAYS} noisy replays of each of its episodes, or all of them by turns.",
)  # fmt: skip
@click.option(
    "--state", "with_state", is_flag=True, help=f"Add the true places of pusher and block: {STATE_TOPIC}."
)
def main(out: Path, episodes: int, steps: int, seed: int, behaviour: str, with_state: bool) -> None:
    """Write episodes of the simulated PushT robot as rosbag2 bags."""
    out.mkdir(parents=True, exist_ok=True)
    players = BEHAVIOURS[behaviour](seed)
    with click.progressbar(range(episodes), label="episodes") as numbers:
        for number in numbers:
            start = FIRST_STAMP_NS + number * 3600 * 10**9
            bag = out / f"episode_{number:06d}"
            write_episode(bag, next(players), steps=steps, start_ns=start, with_state=with_state)


if __name__ == "__main__":
    main()
