# SPDX-License-Identifier: Apache-2.0
"""A training recipe: which streams, which network, how long and how fast each stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dd_ros.config import AutoencoderConfig, Positive, TransformerConfig
from dd_ros.data.split import SplitRule
from dd_ros.settings import Settings
from dd_ros.streams import StreamSpec
from dd_ros_training.data.augment import Augment, Share
from dd_ros_training.data.camera import CameraMoves
from dd_ros_training.renamed import Renaming

Weight = Annotated[float, Field(ge=0.0)]


class StageRecipe(Settings):
    """Length and speed of one stage.

    Attributes:
        minutes: share of the time; the stage ends after this long or after ``steps``.
        steps: optimiser steps at most.
        batch_size: clips per step and process.
        learning_rate: of AdamW at its highest; Muon's is ten times that.
        ema_decay: decay per step of the averaged weights, which are the ones that ship.
        validate_every: steps between two looks at validation clips.
        seed: of all random draws.
    """

    minutes: Annotated[float, Field(gt=0.0)]
    steps: Positive = 1_000_000
    batch_size: Positive = 8
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    validate_every: Positive = 400
    seed: int = 0


class TeacherRecipe(StageRecipe):
    """How the teacher learns.

    Attributes:
        context_noise: observed frames are noised up to this level in half of the clips, so that a noisy
            camera is no surprise.
    """

    context_noise: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1


class DistillationRecipe(StageRecipe):
    """Weights of the distillation losses (see ``losses.py``) and how often the critic learns.

    Attributes:
        matching: distribution matching of frames.
        motion: distribution matching of temporal differences.
        regression: error of latents against the logged ones, and of their temporal differences, on a
            logarithmic scale; the weight changes linearly to ``regression_end``.
        error_floor: squared error of latents that the regression does not go below. The larger it is, the
            more count frames in which much moves; from 1 on it is all but the squared error itself.
        pixels: the same of decoded frames; trains student and decoder.
        ssim: 1 - SSIM of decoded frames, on a logarithmic scale; trains both as ``pixels``, and keeps texture.
        uncertainty: likelihood of the errors under the expected error that comes with predictions; trains
            that alone.
        pixel_loss_start: share of the stage after which ``pixels`` and ``ssim`` join; before it nothing is
            decoded, so that a step takes less time.
        critic_steps: critic updates per student update.
        dmd_start: share of the stage after which critic, ``matching`` and ``motion`` join the regression; 1 is
            never.
        guidance: action guidance of the real score.
        context_noise: as the teacher's, for the student.
        long_rollouts: share of the steps that go on with a rollout far beyond the horizon, with observed frames
            from long before.
    """

    matching: Weight = 0.1
    motion: Weight = 0.1
    regression: Weight = 0.3
    regression_end: Weight = 0.3
    error_floor: Annotated[float, Field(gt=0.0)] = 1e-4
    pixels: Weight = 0.3
    ssim: Weight = 0.3
    uncertainty: Weight = 0.1
    pixel_loss_start: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    critic_steps: Positive = 1
    dmd_start: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    guidance: Weight = 0.0
    context_noise: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    long_rollouts: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0

    @property
    def matches_distributions(self) -> bool:
        """Whether there is distribution matching at any time, which takes a teacher and a critic."""
        return bool(self.matching or self.motion) and self.dmd_start < 1.0


class TrainerRecipe(Settings):
    """Where training runs, in the words of ``lightning.Trainer``, which gets them as they are.

    Attributes:
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        devices: number of devices of a machine.
        num_nodes: machines.
        strategy: how they share the work, such as ``ddp_find_unused_parameters_true``.
        precision: number format; ``auto`` takes what the device multiplies natively.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Positive = 1
    num_nodes: Positive = 1
    strategy: str = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"


class Recipe(Settings):
    """A whole training run, as its YAML file holds it.

    Attributes:
        name: name of the checkpoint.
        streams: topics, fields, rate, image size.
        robots: where one checkpoint is trained on several robots: the streams of each, by name, all of ``streams``' image
            size, each action source with its ``dim``. Their actions lie side by side, in this order.
        camera: how some of the clips are seen by a camera that moves, whose command comes after the robots' values;
            null: none.
        action_names: names of the action values, for people.
        notes: paragraph for the card. Its first sentence says which robot does what, the others where the data come from,
            under which licence.
        network, image_network: sizes of transformer and autoencoder.
        schedule: step counts per chunk, such as ``4-3-2-2``.
        chunk_frames: frames of a chunk.
        horizon: predicted frames.
        context_frames: observed frames kept as context.
        split: which bags are for validation: ``{every: 6, remainder: 4}``, by their numbers, or
            ``{validation: [episode_000004, episode_000010]}``, by their names.
        augment: how training clips are changed; null leaves them as they are.
        trainer: devices and machines to train on.
        processor_time: minutes are those of the processor, summed over its threads: a comparison on a CPU is fair
            then, however busy the machine is. Not for GPUs, whose work it does not see.
        shards: streams of clips that a global batch comes from, a multiple of the number of processes
            and by default that number; runs with as many shards see the same batches.
        store: share of the device's memory (on a CPU, of RAM) that the decoded training frames may take. They are kept
            there then, and clips are cut and changed there; those of a larger set are decoded as they are wanted,
            as all are with 0.
        compile: whether blocks of the networks are compiled for training (``torch.compile``); it takes a minute or
            more at the start of each stage.
        autoencoder, teacher, distillation: the stages.
    """

    name: str
    streams: StreamSpec
    robots: dict[str, StreamSpec] = Field(default_factory=dict)
    camera: CameraMoves | None = None
    action_names: tuple[str, ...] = ()
    notes: str = ""
    network: TransformerConfig = TransformerConfig()
    image_network: AutoencoderConfig = AutoencoderConfig()
    schedule: str = "4-3-2-2"
    chunk_frames: Positive = 4
    horizon: Positive = 16
    context_frames: Positive = 2
    split: SplitRule = SplitRule()
    augment: Augment | None = Augment()
    trainer: TrainerRecipe = TrainerRecipe()
    processor_time: bool = False
    shards: Positive | None = None
    store: Share = 1.0 / 3.0
    compile: bool = False
    autoencoder: StageRecipe
    teacher: TeacherRecipe
    distillation: DistillationRecipe

    @model_validator(mode="after")
    def _robots(self) -> Recipe:
        if self.camera and not self.robots:
            raise ValueError("camera: expected robots beside it, of whose images its views are")
        for name, streams in self.robots.items():
            if (streams.width, streams.height) != (self.streams.width, self.streams.height):
                raise ValueError(
                    f"robots: expected images of {self.streams.width}x{self.streams.height} as in streams, "
                    f"got {streams.width}x{streams.height} of {name}"
                )
            if not all(source.dim for source in streams.actions):
                raise ValueError(f"robots: expected a dim for each action topic of {name}")
        return self

    @classmethod
    def upgraded(cls, entries: Any, source: str) -> Any:
        """``entries`` with today's names for those of older recipes; the user hears of each."""
        renaming = Renaming(source)
        entries = renaming.recipe(entries)
        renaming.say()
        return entries
