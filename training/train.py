# SPDX-License-Identifier: Apache-2.0
"""Run the stages of a recipe one after the other: bags in, checkpoint out.

Example:
    python -m dd_ros_training.train config/training/g1_pick.yaml --bags DIR --out checkpoints/g1_pick
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from dd_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from dd_ros.config import CheckpointConfig
from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.data.split import split
from dd_ros.diffusion.schedule import preset
from dd_ros.error_intervals import ErrorIntervals
from dd_ros.errors import InputError
from dd_ros.evaluation.evaluate import evaluate_episodes
from dd_ros.evaluation.gating import fitted_gate
from dd_ros.evaluation.plots import FILMSTRIP, SKILL
from dd_ros.evaluation.windows import make_windows
from dd_ros.predictor import Predictor
from dd_ros.report import Report
from dd_ros.settings import read_yaml, write_yaml
from dd_ros_training.callbacks import Interrupt
from dd_ros_training.card import Evidence, Facts, card
from dd_ros_training.data.batches import VALIDATION_CLIPS, BagData
from dd_ros_training.data.clips import fit_actions
from dd_ros_training.data.index import TrainingEpisode, index_bags, split_validation
from dd_ros_training.data.store import fill
from dd_ros_training.device import (
    MOST_DECODERS,
    loader_workers,
    memory_for_frames,
    share_of_cores,
    training_device,
)
from dd_ros_training.kept import finish, finished, kept_stage, own_folder, scores_in
from dd_ros_training.pace import Pace
from dd_ros_training.probe import Probe, probed
from dd_ros_training.recipe import Recipe, StageRecipe
from dd_ros_training.run_stage import LAST, STAGES, run_stage

FILLING = 0.1  # of the stages' time: what decoding all frames beforehand may take
MOST_WINDOWS = 300  # that the figures on the card are of
STRIDE = 8  # frames between their starts
LITTLE = 1.0  # minutes of bags that are worth a word
MADE_BY = "`python -m dd_ros_training.train`, every stage from scratch unless said otherwise"


def checkpoint_config(recipe: Recipe, episodes: Sequence[TrainingEpisode]) -> CheckpointConfig:
    """Settings of the checkpoint that ``recipe`` makes from ``episodes``."""
    return CheckpointConfig(
        name=recipe.name,
        streams=recipe.streams,
        action=fit_actions(episodes, recipe.action_names),
        autoencoder=recipe.image_network,
        transformer=recipe.network,
        schedule=preset(recipe.schedule, recipe.chunk_frames, recipe.horizon),
        horizon=recipe.horizon,
        context_frames=recipe.context_frames,
    )


class Run:
    """A training run in the folder ``work``: index of the bags, logs, and the weights each stage left.

    ``problems`` holds what could not be used of the bags; ``pace``, if set, how much time there is for what.

    Args:
        recipe: what to train.
        bags: training and validation bags, which ``recipe.split`` tells apart.
        work: folder for everything that a resumed run needs.
        problems: what is known of them already.

    Raises:
        InputError: the bags cannot be split so, or hold nothing that can be used; or ``work`` is not one's own.
    """

    def __init__(self, recipe: Recipe, bags: Sequence[Path], *, work: Path, problems: Report | None = None):
        own_folder(work)
        self.recipe, self.work = recipe, work
        self.pace: Pace | None = None
        self.probe: Probe | None = None
        self.interrupt, self.interrupted = Interrupt(), ""
        self.training_bags, self.validation_bags = split(bags, recipe.split)
        self.problems = Report() if problems is None else problems
        cache, length = work / "index", recipe.context_frames + recipe.horizon
        self.episodes = index_bags(self.training_bags, recipe.streams, cache, problems=self.problems)
        self.validation_episodes = index_bags(
            self.validation_bags, recipe.streams, cache, problems=self.problems
        )
        if not any(len(episode) >= length for episode in self.validation_episodes):
            self.episodes, self.validation_episodes = split_validation(self.episodes, length)
        say(self.problems)
        self.config = checkpoint_config(recipe, self.episodes)

    def look(self) -> None:
        """Tell what the user should know of the bags before hours go by; the card has it as well."""
        kept = self.work / "probe.yaml"
        self.probe = read_yaml(kept, Probe) if kept.exists() else probed(self.episodes, self.recipe.streams)
        write_yaml(kept, self.probe)
        for remark in self.remarks():
            tell(remark)

    def remarks(self) -> list[str]:
        """What a look at the bags has shown."""
        short = f"bags to train on: {60 * self.minutes:.0f} s, which is little; predictions will hold there and hardly elsewhere"
        return [short] * (self.minutes <= LITTLE) + (self.probe.remarks() if self.probe else [])

    @property
    def minutes(self) -> float:
        """Minutes that are trained on."""
        return sum(map(len, self.episodes)) / self.recipe.streams.rate_hz / 60.0

    def train(self, stages: Sequence[str], model: Model | None = None) -> Model:
        """Run ``stages``; the first starts from ``model``, or from what the stage before it left.

        Finished stages are not run again. Ctrl-C ends the stage under way, whose networks are returned.
        """
        model = model or self.start(stages[0])
        with self.interrupt.watch():
            for name in stages:
                recipe: StageRecipe = getattr(self.recipe, name)
                done = finished(self.weights(name), recipe)
                if done:
                    model.load_state_dict(done)
                    continue
                model = run_stage(
                    name,
                    config=self.config,
                    model=model,
                    recipe=self.recipe,
                    data=self.data(recipe),
                    work=self.work,
                    interrupt=self.interrupt,
                    left=self.pace.stage_seconds(name) if self.pace else math.inf,
                    validation=self.pace.validation_seconds if self.pace else 0.0,
                )
                if self.interrupt.asked:
                    self.interrupted = name
                    break
                finish(self.weights(name), recipe, model)
        return model

    def data(self, recipe: StageRecipe) -> BagData:
        """Clips for a stage."""
        return BagData(
            self.episodes,
            self.validation_episodes,
            action=self.config.action,
            clip_frames=self.recipe.context_frames + self.recipe.horizon,
            batch_size=recipe.batch_size,
            workers=loader_workers(),
            augment=self.recipe.augment,
            seed=recipe.seed,
            shards=self.recipe.shards,
            earlier=self.recipe.context_frames,
            validation_clips=self.pace.validation_clips if self.pace else VALIDATION_CLIPS,
            store=self.store,
        )

    @cached_property
    def store(self) -> Tensor | None:
        """All training frames, uint8 RGB [S, H, W, 3], where training runs; None where they are too many."""
        recipe = self.recipe
        stages: list[StageRecipe] = [getattr(recipe, name) for name in STAGES]
        device = training_device(recipe.trainer.accelerator)
        frames = fill(
            self.episodes,
            height=recipe.streams.height,
            width=recipe.streams.width,
            device=device,
            budget=memory_for_frames(device, recipe.store, recipe.trainer.devices),
            workers=min(MOST_DECODERS, share_of_cores(recipe.trainer.devices)),
            seconds=60.0 * FILLING * sum(stage.minutes for stage in stages),
        )
        tell("training images: " + ("decoded as they are wanted" if frames is None else f"kept on {device}"))
        return frames

    def fresh(self) -> Model:
        """Untrained networks, the same in every run of a recipe."""
        torch.manual_seed(self.recipe.autoencoder.seed)
        return Model(self.config)

    def start(self, stage: str) -> Model:
        """Fresh networks, or what the stage before ``stage`` left."""
        model, order = self.fresh(), list(STAGES)
        if order.index(stage):
            before = self.weights(order[order.index(stage) - 1])
            if not before.exists():
                raise InputError(f"{before}: missing; train the stages before {stage} first")
            model.load_state_dict(kept_stage(before)[1])
        return model

    def start_from(self, name: str) -> Model:
        """The networks of checkpoint ``name``, to be trained on; actions are normalised as there.

        Raises:
            InputError: no such checkpoint, or its networks are not the recipe's.
        """
        settings, model = load_checkpoint(name)
        for part in ("autoencoder", "transformer"):
            wanted, given = getattr(self.config, part), getattr(settings, part)
            if wanted != given:
                raise InputError(f"{name}: expected the recipe's {part} ({wanted}), got {given}")
        if settings.action.dim != self.config.action.dim:
            raise InputError(
                f"{name}: expected {self.config.action.dim} action values, got {settings.action.dim}"
            )
        self.config = self.config.model_copy(update={"action": settings.action})
        return model

    def start_like(self, name: str) -> Model:
        """Fresh networks with those weights of checkpoint ``name`` that fit, as of another robot."""
        model = self.fresh()
        adopt(model, load_checkpoint(name)[1])
        return model

    def weights(self, stage: str) -> Path:
        return self.work / f"{stage}.pt"

    @rank_zero_only
    def save(
        self, out: Path, model: Model, *, made_by: str = MADE_BY, windows: int = MOST_WINDOWS
    ) -> dict[str, Any] | None:
        """Write the checkpoint, fit its gate, evaluate it on the validation episodes, and put the figures on its card.

        On at most ``windows`` windows, to which gate and error intervals are fitted as well. It is written before that, so
        that nothing is lost where the evaluation fails or is cut short.

        Returns:
            The figures; None where the user ended the training early, and in all processes but the first.
        """
        facts = self.facts(made_by)
        save_checkpoint(out, self.config, model, card=card(self.config, self.recipe, facts=facts))
        if facts.interrupted:
            return None
        plots, predictor, episodes = self.work / "evaluation", Predictor.load(out), self.validation_episodes
        chosen = make_windows(
            episodes,
            context=self.config.context_frames,
            horizon=self.config.horizon,
            stride=STRIDE,
            limit=windows,
        )
        gate = fitted_gate(predictor, episodes, chosen)
        figures = evaluate_episodes(
            predictor.with_gate(gate),
            episodes,
            json_path=plots / "evaluate.json",
            plots=plots,
            stride=STRIDE,
            max_windows=windows,
        )
        found = figures["uncertainty"]["calibrated"]
        intervals = ErrorIntervals.model_validate(found) if found else None
        config = self.config.model_copy(update={"error_intervals": intervals, "gate": gate})
        text = card(config, self.recipe, facts=facts, figures=figures)
        save_checkpoint(out, config, model, card=text, images=[plots / SKILL, plots / FILMSTRIP])
        return figures

    def facts(self, made_by: str) -> Facts:
        """What the card says about how the checkpoint came about."""
        frames = sum(len(episode) for episode in self.episodes)
        return Facts(
            made_by=made_by,
            training=f"{len(self.training_bags)} bags, {frames} model steps, {self.minutes:.1f} minutes",
            validation=f"{len(self.validation_bags)} bags"
            if self.validation_bags
            else f"the last {sum(map(len, self.validation_episodes))} model steps",
            device="CUDA" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads",
            problems=self.problems.lines(),
            interrupted=self.interrupted,
            remarks=self.remarks(),
            evidence=Evidence(
                minutes=self.minutes, scores=scores_in(self.work / "distillation" / LAST), probe=self.probe
            ),
        )


@torch.no_grad()
def adopt(model: Model, weights: Model) -> None:
    """Copy every weight of ``weights`` that has the same name and shape in ``model``."""
    known = weights.state_dict()
    for name, value in model.state_dict().items():
        if name in known and known[name].shape == value.shape:
            value.copy_(known[name])


@rank_zero_only
def tell(line: str) -> None:
    """Tell the user."""
    click.echo(line, err=True)


def say(problems: Report) -> None:
    """Tell the user, a line each."""
    for problem in problems:
        tell(problem)


@click.command(cls=Command)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="A bag or a folder of bags."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint folder to write.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for logs and resumable state; default OUT.work."
)
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="Only these stages.")
@click.option("--init", help="Checkpoint whose networks are trained on; none starts from nothing.")
@click.option(
    "--adopt", "adopted", help="Checkpoint whose weights are begun with where they fit, of another robot."
)
def main(
    recipe: Path,
    bags: tuple[Path, ...],
    out: Path,
    work: Path | None,
    stages: tuple[str, ...],
    init: str | None,
    adopted: str | None,
) -> None:
    """Train the stages of RECIPE on bags and write a checkpoint."""
    if init and adopted:
        raise InputError("--init and --adopt: expected one of them, got both")
    run = Run(read_yaml(recipe, Recipe), find_bags(bags), work=work or out.with_name(out.name + ".work"))
    chosen = [name for name in STAGES if name in stages or not stages]
    model, made_by = None, MADE_BY
    if start := init or adopted:
        made_by = f"`python -m dd_ros_training.train` from the weights of `{start}`"
        model = run.start_from(start) if init else run.start_like(start)
    run.save(out, run.train(chosen, model), made_by=made_by)


if __name__ == "__main__":
    main()
