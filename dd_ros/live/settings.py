# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node ``predictor``, each written once: type, default, range and description.

Declaration, checks, ``config/predictor.yaml`` and the table in the documentation come from the dataclass
below, by ``dd_ros.ros.parameters``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from dd_ros.data.images import MOST_PIXELS
from dd_ros.predictions import BATCHES


def parameter(
    default: bool | int | float | str | tuple[int, ...] | tuple[float, ...],
    description: str,
    *,
    read_only: bool = False,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A parameter as a dataclass field; ``limits`` are the smallest and largest allowed value."""
    details = {"description": description, "read_only": read_only, "limits": limits, "choices": choices}
    return field(default=default, metadata=details)


@dataclass(frozen=True)
class PredictorParameters:
    """Values of all parameters at one moment."""

    checkpoint: str = parameter("pusht", "Checkpoint folder, or the name of a shipped one.", read_only=True)
    device: str = parameter("auto", "Device for inference.", read_only=True, choices=("auto", "cpu", "cuda"))
    image_transport: str = parameter(
        "raw", "Type of the image topic: sensor_msgs/Image or CompressedImage.",
        read_only=True, choices=("raw", "compressed"),
    )  # fmt: skip
    action_topic: str = parameter(
        "", "Topics that make up the action vector, with spaces between, each with its fields or without: "
        "'/arm.position[0:7] /cmd_vel.linear.x,angular.z'; empty takes the checkpoint's, as the names "
        "action, action_2, ...", read_only=True,
    )  # fmt: skip
    autostart: bool = parameter(
        True, "Configure and activate at start; off leaves that to a lifecycle manager.", read_only=True
    )
    max_candidates: int = parameter(
        256,
        "Most action sequences one call of predict_rollouts may ask for.",
        read_only=True,
        limits=(1, 4096),
    )
    rollout_batches: tuple[int, ...] = parameter(
        BATCHES, "Numbers of rollouts at once that a GPU records its work for when the node is configured, which takes a "
        "second each; requests of other sizes are filled up to the next, or run in parts.", read_only=True,
        limits=(1, 4096),
    )  # fmt: skip
    compile: bool = parameter(
        False, "Fuse kernels by torch's compiler: faster predictions for a first start that takes minutes.",
        read_only=True,
    )  # fmt: skip
    max_image_pixels: int = parameter(
        MOST_PIXELS, "Most pixels of a compressed image; its header is read before it is decoded.",
        limits=(1, 2**31 - 1),
    )  # fmt: skip
    rate: float = parameter(
        0.0, "Most predictions per second; 0 predicts at every model step.", limits=(0.0, 1000.0)
    )
    schedule: str = parameter(
        "", "Denoising steps per chunk, such as 4-3-2-2, or a preset name; empty takes the checkpoint's."
    )
    keep: str = parameter(
        "horizon", "What is kept where the device is too slow or busy, see docs/planning.md: the horizon (fewer denoising "
        "steps where chunks would be late or requests wait, and no prediction from images it would be late for), the rate "
        "(shorter horizons as well), or all (nothing gives way, predictions come late).",
        choices=("horizon", "rate", "all"),
    )  # fmt: skip
    seed: int = parameter(
        0, "Seed of the sampling noise; setting it restarts the noise.", limits=(0, 2**31 - 1)
    )
    preview_lead: float = parameter(
        0.5, "Lead time in seconds of the frame on ~/predicted_image; cut to the horizon. 0: the frame for now, which makes up "
        "for a late camera and for the time that predicting takes (predictive display).", limits=(0.0, 60.0),
    )  # fmt: skip
    image_leads: tuple[float, ...] = parameter(
        (0.2, 0.5, 1.0), "Lead times in seconds, each of which has a topic for viewers, such as ~/predicted_image/lead_0_5s; cut "
        "to the horizon.", read_only=True, limits=(0.001, 60.0),
    )  # fmt: skip
    hold_last_action: bool = parameter(
        True, "Hold the last action where no plan covers the horizon; off predicts only with a plan."
    )
    action_wait: float = parameter(
        0.01, "Longest time in seconds to wait for the command that belongs to a frame.", limits=(0.0, 1.0)
    )
    drop_late: bool = parameter(
        False, "Leave out chunks all of whose target times have passed; off publishes them marked late."
    )
    deadline: float = parameter(
        0.0, "Age of the image in seconds at which a published chunk counts as missed; 0 counts chunks "
        "all of whose target times have passed.", limits=(0.0, 60.0),
    )  # fmt: skip
    input_timeout: float = parameter(
        2.0, "Seconds without a message after which an input counts as stopped.", limits=(0.1, 3600.0)
    )

    def __post_init__(self) -> None:
        for name in ("rollout_batches", "image_leads"):  # rclpy's are lists
            object.__setattr__(self, name, tuple(getattr(self, name)))


def violation(kind: type, name: str, value: object) -> str | None:
    """Why ``value`` is not one of the named choices of a parameter; None if it may be.

    Types, ranges and read-only parameters are checked by rclpy from the descriptors.
    """
    for item in fields(kind):
        if item.name != name:
            continue
        choices, limits = item.metadata["choices"], item.metadata["limits"]
        if choices and value not in choices:
            return f"parameter {name}: expected {' or '.join(choices)}, got {value!r}"
        if isinstance(item.default, tuple):  # rclpy checks ranges of single numbers only
            odd = [number for number in cast(Sequence[float], value) if not limits[0] <= number <= limits[1]]
            if odd:
                return f"parameter {name}: expected numbers from {limits[0]} to {limits[1]}, got {odd[0]}"
    return None
