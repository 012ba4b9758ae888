# SPDX-License-Identifier: Apache-2.0
"""A network small enough to run in milliseconds."""

from __future__ import annotations

import torch

from dd_ros.checkpoint import Model
from dd_ros.config import ActionSpec, AutoencoderConfig, CheckpointConfig, TransformerConfig
from dd_ros.diffusion.schedule import preset
from dd_ros.streams import ActionSource, StreamSpec


def tiny_config(**changes: object) -> CheckpointConfig:
    """Settings of a network that runs in milliseconds: 48x32 pixels, 10 Hz, two actions, 8 frames."""
    streams = StreamSpec(
        image_topic="/camera/image_raw",
        actions=(
            ActionSource(topic="/action", type="sensor_msgs/msg/JointState", fields=("position[0:2]",)),
        ),
        rate_hz=10.0,
        width=48,
        height=32,
    )
    settings = {
        "name": "tiny",
        "streams": streams,
        "action": ActionSpec(dim=2, mean=(0.0, 0.0), std=(1.0, 1.0), names=("x", "y")),
        "autoencoder": AutoencoderConfig(
            latent_channels=4, fine_width=16, coarse_width=16, encoder_blocks=1, decoder_blocks=1
        ),
        "transformer": TransformerConfig(
            width=32, depth=2, heads=2, window_frames=4, max_trained_step=8, condition_on_previous_frame=True
        ),
        "schedule": preset("2-1", chunk_frames=2, horizon=8),
        "horizon": 8,
        "context_frames": 2,
    }
    return CheckpointConfig(**(settings | changes))


def random_model(config: CheckpointConfig) -> Model:
    """The same random weights in every run, none zero, so that actions, noise and context all show in the output."""
    torch.manual_seed(0)
    model = Model(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model
