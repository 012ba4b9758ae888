# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is a folder: ``config.yaml``, ``model.safetensors``, ``README.md`` (its card), ``about.yaml`` (the same for programs)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dd_ros.about import About
from dd_ros.config import CheckpointConfig
from dd_ros.data.storage import foreign
from dd_ros.errors import InputError
from dd_ros.model.autoencoder import CELL, Autoencoder
from dd_ros.model.readout import Readout
from dd_ros.model.transformer import VideoTransformer
from dd_ros.resources import ABOUT, CARD, CONFIG, WEIGHTS, find_checkpoint, read_config
from dd_ros.settings import write_yaml
from dd_ros.upgrades import format_of, upgraded_weight
from dd_ros.yaml_files import check_is_file, load_yaml

LONGEST = 300  # letters of what torch says of weights that do not fit


class Model(nn.Module):
    """The networks of a checkpoint: ``autoencoder``, ``transformer``, and ``readout`` where it reads numbers off latents."""

    def __init__(self, config: CheckpointConfig):
        super().__init__()
        self.autoencoder = Autoencoder(config.autoencoder)
        grid = (config.streams.height // CELL, config.streams.width // CELL)
        self.transformer = VideoTransformer(
            config.transformer, config.autoencoder.latent_channels, config.action.dim, grid=grid
        )
        self.readout: Readout | None = None
        if config.readouts:
            self.readout = Readout(config.autoencoder.latent_channels, len(config.readouts.names))


def load_checkpoint(name: str | Path) -> tuple[CheckpointConfig, Model]:
    """Rebuild the networks of a checkpoint of any format, on the CPU, in float32, in eval mode.

    Raises:
        InputError: missing or damaged folder, or weights that do not fit the settings.
    """
    folder = find_checkpoint(name)
    config = read_config(folder)
    number = format_of(load_yaml(folder / CONFIG), folder / CONFIG)
    weights = folder / WEIGHTS
    check_is_file(weights)
    try:
        check_shapes(weights, config, number)
        model, found = Model(config), load_file(weights)
        model.load_state_dict({upgraded_weight(name, number): value.float() for name, value in found.items()})
    except FileNotFoundError as error:
        raise InputError(f"{weights}: missing; copy or train the checkpoint again") from error
    except (
        SafetensorError,
        OSError,
        KeyError,
        ValueError,
    ) as error:  # KeyError: a number format of a later day
        other = foreign(weights) if isinstance(error, SafetensorError) else None
        what, cure = other or (f"damaged ({error})", "copy or train the checkpoint again")
        raise InputError(f"{weights}: {what}; {cure}") from error
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        shown = first if len(first) < LONGEST else f"{first[:LONGEST]} ..."  # it may list all names
        raise InputError(f"{weights}: does not fit {folder / CONFIG} ({shown})") from error
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise InputError(
                f"{weights}: expected numbers, got NaN or infinity in {name}; copy or train it again"
            )
    return config, model.eval()


def check_shapes(weights: Path, config: CheckpointConfig, number: int) -> None:
    """RuntimeError as of ``load_state_dict`` unless the file has the weights that ``config`` asks for.

    Only its header is read and no network is built, whose size a wrong config would choose.
    """
    with safe_open(weights, "pt") as file, torch.device("meta"):
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  no mapping
        found = {upgraded_weight(name, number): torch.empty(shape) for name, shape in shapes.items()}
        Model(config).load_state_dict(found)


def save_checkpoint(
    folder: Path, config: CheckpointConfig, model: Model, *, card: str, images: Sequence[Path] = (),
    about: About | None = None,
) -> None:  # fmt: skip
    """Write a checkpoint so that ``folder`` is at any time absent, the old one, or the whole new one.

    ``images`` are copied beside the card, which may show them; ``about`` is what the card says, for programs.

    Raises:
        InputError: it cannot be written (no permission, a full disk); what was there is untouched.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        write_yaml(staging / CONFIG, config)
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(state, staging / WEIGHTS)
        (staging / WEIGHTS).chmod(0o644)  # safetensors leaves it to its owner alone
        (staging / CARD).write_text(card)
        if about is not None:
            write_yaml(staging / ABOUT, about)
        for image in images:
            shutil.copy(image, staging)
        staging.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            folder.replace(old / "previous")
            staging.replace(folder)
            shutil.rmtree(old)
        else:
            staging.replace(folder)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
