# SPDX-License-Identifier: Apache-2.0
"""``dd_ros readout``: a head that reads recorded numbers off a checkpoint's latents."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dd_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from dd_ros.config import CheckpointConfig, ReadoutSpec
from dd_ros.data.bags import find_bags
from dd_ros.data.numbers import Beside, beside, for_people, names_of
from dd_ros.data.split import split
from dd_ros.data.stream_choice import choose_streams
from dd_ros.device import native_dtype, prepare_for_inference, resolve_device
from dd_ros.errors import InputError
from dd_ros.json_files import write_json
from dd_ros.model.readout import Readout
from dd_ros.predictor import Predictor
from dd_ros.progress import progress
from dd_ros.report import Report
from dd_ros.resources import CARD, find_checkpoint, read_about
from dd_ros.streams import parse_actions
from dd_ros_training.data.clips import fit_actions
from dd_ros_training.data.index import TrainingEpisode, index_bags, split_validation

HEADING = "## Read-outs"
LOOKING = 0.5  # of the time: predicting; the rest goes into fitting, but for a little
FITTING = 0.45
HELD_BACK = 0.25  # of the time for predicting
LEAST_WINDOWS = 32  # however short the time; a head fitted to fewer reads next to nothing
BATCH = 64  # frames of a step
LEARNING_RATE, DECAY = 4e-3, 0.02
MOST_STEPS = 20_000
WARM_STEPS = 100
LEAST_STEPS = 1000  # however short the time


class Seen(NamedTuple):
    """Frames of W windows of K steps.

    Attributes:
        true, predicted: float32 [W, K, c, h, w], latents of the recorded images, and of those the student predicts from
            the frames before and the recorded actions.
        numbers: float32 [W, K, D], as recorded.
    """

    true: Tensor
    predicted: Tensor
    numbers: Tensor


class Window(NamedTuple):
    """A window: its episode, and the model step of it that is the last observed one."""

    episode: TrainingEpisode
    last: int


def readout(
    checkpoint: str,
    bags: Sequence[Path],
    *,
    topics: Sequence[str],
    out: Path | None = None,
    image_topic: str | None = None,
    action_topics: Sequence[str] = (),
    max_minutes: float = 10.0,
    device: str = "auto",
    seed: int = 0,
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Fit a head to numbers recorded beside the images, on true and on predicted frames, and put it into a checkpoint.

    Those it has are replaced. Bags for validation are the ones that training holds back; the errors on the card are theirs.

    Args:
        checkpoint: folder or shipped name.
        bags: bags, or folders of bags.
        topics: where the numbers are, as ``streams.parse_actions`` takes them.
        out: checkpoint folder to write; None: the checkpoint's own.
        image_topic, action_topics: instead of those the checkpoint names.
        max_minutes: time for everything but reading the bags through.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of windows, sampling noise and weights.
        json_path: file for what is returned; None writes none.

    Returns:
        The checkpoint's folder, and of each number its name, its deviation over training and its errors, as
        ``ReadoutSpec`` has them.

    Raises:
        InputError: unusable checkpoint, bags or topics; the message says what to do.
    """
    folder = find_checkpoint(checkpoint)
    config, model = load_checkpoint(folder)
    streams = config.streams.with_topics(image_topic, action_topics)
    found, problems = find_bags(bags), Report()
    chosen = choose_streams(
        found,
        streams.image_topic,
        parse_actions(topics),
        problems=problems,
        watch=lambda some: progress(some, "looking at bags"),
        all_fields=True,
    )
    wanted = beside(streams, chosen.actions, action_dim=config.action.dim)
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory(prefix="dd_ros_") as cache:
        training, validation = (
            index_bags(part, wanted.streams, Path(cache), problems=problems) for part in split(found)
        )
        length = config.context_frames + config.horizon
        if not any(len(episode) >= length for episode in validation):
            training, validation = split_validation(training, length)
        for problem in problems:
            click.echo(problem, err=True)
        check_values(training, wanted, config)
        spec = described(training, wanted, sources=chosen.actions)
        place = resolve_device(device)
        student = Predictor(
            config.model_copy(update={"readouts": None}),
            prepare_for_inference(model.to(place), dtype := native_dtype(place)),
            seed=seed,
            dtype=dtype,
        )
        look = Look(student, wanted, np.random.default_rng(seed))
        seconds = 60.0 * max_minutes * LOOKING
        held_back = look.at(validation, seconds * HELD_BACK, "predicting held-back episodes")
        seen = look.at(training, seconds * (1.0 - HELD_BACK), "predicting")
    head = fit(seen, spec, seconds=60.0 * max_minutes * FITTING, channels=config.autoencoder.latent_channels)
    spec = spec.model_copy(update={"errors": errors(head, held_back, spec)})
    save(folder, out or folder, spec, head)
    click.echo("\n".join(table(spec, config.streams.rate_hz)))
    result = {
        "checkpoint": str(out or folder), "names": list(spec.names), "deviation": list(spec.std),
        "rmse": [list(row) for row in spec.errors], "rate_hz": config.streams.rate_hz,
    }  # fmt: skip
    write_json(json_path, result)
    return result


def check_values(episodes: Sequence[TrainingEpisode], wanted: Beside, config: CheckpointConfig) -> None:
    """InputError unless there are episodes, long enough, of as many actions and numbers as expected."""
    length, count = config.context_frames + config.horizon, len(wanted.actions) + len(wanted.numbers)
    if not any(len(episode) >= length for episode in episodes):
        longest = max(map(len, episodes), default=0)
        raise InputError(
            f"bags: no episode is long enough: a window needs {length} frames without gap at the model's rate, the "
            f"longest episode has {longest}"
        )
    for episode in episodes:
        if episode.actions.shape[1] != count:
            raise InputError(
                f"{episode.name}: expected {count} values of actions and read-outs, got {episode.actions.shape[1]}"
            )


def described(episodes: Sequence[TrainingEpisode], wanted: Beside, *, sources: Sequence) -> ReadoutSpec:
    """What is read off, with mean and deviation over ``episodes``."""
    values = fit_actions(episodes)
    return ReadoutSpec(
        sources=tuple(sources),
        names=names_of(sources),
        mean=tuple(values.mean[index] for index in wanted.numbers),
        std=tuple(values.std[index] for index in wanted.numbers),
    )


class Look:
    """Lets a student see and predict windows of episodes.

    Args:
        student: predictor without read-outs.
        wanted: which values of the episodes are actions, and which are numbers.
        random: chooses windows.
    """

    def __init__(self, student: Predictor, wanted: Beside, random: np.random.Generator):
        self._student, self._random = student, random
        self._actions, self._numbers = list(wanted.actions), list(wanted.numbers)

    def at(self, episodes: Sequence[TrainingEpisode], seconds: float, what: str) -> Seen:
        """As many windows of ``episodes`` as can be predicted in the time, in random order, some at least."""
        end, seen = time.monotonic() + seconds, []
        for window in progress(self._windows(episodes), what):
            seen.append(self._window(window))
            if time.monotonic() > end and len(seen) >= LEAST_WINDOWS:
                break
        return Seen(*(torch.stack(parts) for parts in zip(*seen, strict=True)))

    def _windows(self, episodes: Sequence[TrainingEpisode]) -> list[Window]:
        """All windows that do not share their targets' starts, shuffled."""
        context, horizon = self._student.config.context_frames, self._student.horizon
        found = [
            Window(episode, last)
            for episode in episodes
            for last in range(
                context - 1 + int(self._random.integers(horizon // 2)), len(episode) - horizon, horizon // 2
            )
        ]
        return [found[index] for index in self._random.permutation(len(found))]

    def _window(self, window: Window) -> Seen:
        student, first = self._student, window.last + 1 - self._student.config.context_frames
        clip = window.episode.clip(first, window.last + 1 + student.horizon)
        seen, actions = len(clip) - student.horizon, clip.actions[:, self._actions]
        student.reset()
        for step in range(seen):
            student.observe(clip.frames[step], step * student.step_ns, actions[step])
        true, _ = student.encode(clip.frames[seen:])
        (rollout,) = student.rollouts(actions[None, seen:], frames=None, latents=True)
        assert rollout.latents is not None
        parts: tuple[NDArray[np.float32], ...] = (
            true,
            rollout.latents[0],
            clip.actions[seen:, self._numbers],
        )
        return Seen(*(torch.from_numpy(part) for part in parts))


def fit(seen: Seen, spec: ReadoutSpec, *, seconds: float, channels: int) -> Readout:
    """A head fitted to true and predicted latents alike, in float32, on the CPU.

    Huber's loss, as a frame in which a thing is hidden must not outweigh all others (Huber 1964).
    """
    head = Readout(channels, len(spec.names))
    latents = torch.cat([part.flatten(0, 1) for part in (seen.true, seen.predicted)])
    wanted = scaled(seen.numbers, spec).flatten(0, 1).repeat(2, 1)
    optimiser = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    begin, step = time.monotonic(), 0
    for step in progress(range(MOST_STEPS), "fitting"):
        done = max((time.monotonic() - begin) / seconds, step / MOST_STEPS)
        if done >= 1.0 and step >= LEAST_STEPS:
            break
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARM_STEPS) * max(0.02, 1.0 - done)
        chosen = torch.randint(len(latents), (BATCH,))
        optimiser.zero_grad()
        F.huber_loss(head(latents[chosen]), wanted[chosen], delta=0.5).backward()
        optimiser.step()
    return head.eval()


def scaled(numbers: Tensor, spec: ReadoutSpec) -> Tensor:
    """Numbers [..., D] in deviations from the mean of training."""
    return (numbers - torch.tensor(spec.mean)) / torch.tensor(spec.std)


@torch.inference_mode()
def errors(head: Readout, seen: Seen, spec: ReadoutSpec) -> tuple[tuple[float, ...], ...]:
    """RMS error of each number: row 0 of true frames, row k of frames predicted k steps ahead."""
    wanted, std = scaled(seen.numbers, spec), torch.tensor(spec.std)
    true, predicted = ((head(latents) - wanted).square() for latents in (seen.true, seen.predicted))
    rows = [true.mean(dim=(0, 1)), *predicted.mean(dim=0)]
    return tuple(tuple((std * row.sqrt()).tolist()) for row in rows)


def save(folder: Path, out: Path, spec: ReadoutSpec, head: Readout) -> None:
    """The checkpoint in ``folder`` with this head instead of its own, as ``out``."""
    config, weights = load_checkpoint(folder)
    config = config.model_copy(update={"readouts": spec})
    model = Model(config)
    model.load_state_dict(
        {name: value for name, value in weights.state_dict().items() if not name.startswith("readout.")}
        | {f"readout.{name}": value for name, value in head.state_dict().items()}
    )
    card = (folder / CARD).read_text() if (folder / CARD).is_file() else f"# {config.name}\n"
    images = [path for path in folder.iterdir() if path.suffix == ".png"]
    text = with_section(card, spec, config.streams.rate_hz)
    save_checkpoint(out, config, model, card=text, images=images, about=read_about(folder))


def with_section(card: str, spec: ReadoutSpec, rate_hz: float) -> str:
    """A card whose section about read-outs is this one's, at its end."""
    before, _, after = card.partition(f"\n{HEADING}\n")
    rest = after.partition("\n## ")
    kept = before.rstrip() + (f"\n\n## {rest[2]}".rstrip() if rest[1] else "")
    sources = ", ".join(f"`{source}`" for source in spec.sources)
    lines = [HEADING, f"Made by `dd_ros readout` from {sources}; RMS error on held-back episodes.", ""]
    return "\n".join([kept, "", *lines, *table(spec, rate_hz), ""])


def table(spec: ReadoutSpec, rate_hz: float) -> Iterator[str]:
    """Errors per number: of true frames, and at 1, a quarter, half and all of the horizon."""
    horizon = len(spec.errors) - 1
    shown = sorted({0, 1, *(max(1, round(horizon * part)) for part in (0.25, 0.5, 1.0))})
    heads = [f"{step / rate_hz:.2f} s ahead" if step else "true frame" for step in shown]
    yield f"| read-out | deviation | {' | '.join(heads)} |"
    yield "|---" * (len(shown) + 2) + "|"
    for index, name in enumerate(for_people(spec.names)):
        cells = [f"{spec.std[index]:.3g}", *(f"{spec.errors[step][index]:.3g}" for step in shown)]
        yield f"| {name} | {' | '.join(cells)} |"
