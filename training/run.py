# SPDX-License-Identifier: Apache-2.0
"""A training run: its logs, its stages one after the other, and the checkpoint that comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import click
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from dd_ros.about import About, Figures
from dd_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from dd_ros.config import ActionSpec, CheckpointConfig
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
from dd_ros_training.adopt import adopt, adopt_actions
from dd_ros_training.callbacks import Interrupt
from dd_ros_training.card import Evidence, Facts, card
from dd_ros_training.data.batches import VALIDATION_CLIPS, BagData
from dd_ros_training.data.camera import POSE
from dd_ros_training.data.logs import Logs, OneOfSeveral, read_logs, side_by_side, slots
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


def checkpoint_config(recipe: Recipe, action: ActionSpec) -> CheckpointConfig:
    """Settings of the checkpoint that ``recipe`` makes of logs with such actions."""
    return CheckpointConfig(
        name=recipe.name,
        streams=recipe.streams,
        action=action,
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
        bags: training and validation bags, which ``recipe.split`` tells apart; where the recipe has several robots, those
            of each that takes part, by its name.
        work: folder for everything that a resumed run needs.
        problems: what is known of them already.

    Raises:
        InputError: the bags cannot be split so, or hold nothing that can be used, or are not named by robot where the
            recipe has several; or ``work`` is not one's own.
    """

    def __init__(
        self,
        recipe: Recipe,
        bags: Sequence[Path] | Mapping[str, Sequence[Path]],
        *,
        work: Path,
        problems: Report | None = None,
    ):
        own_folder(work)
        if recipe.robots and not isinstance(bags, Mapping):
            raise InputError(several(recipe))
        self.recipe, self.work = recipe, work
        self.pace: Pace | None = None
        self.probe: Probe | None = None
        self.interrupt, self.interrupted = Interrupt(), ""
        self.problems = Report() if problems is None else problems
        read = partial(
            read_logs,
            rule=recipe.split,
            cache=work / "index",
            clip_frames=recipe.context_frames + recipe.horizon,
            problems=self.problems,
        )
        self.robots: dict[str, Logs] = {}
        if isinstance(bags, Mapping):
            self.robots = {name: read(own, recipe.robots[name]) for name, own in bags.items()}
            spare = len(POSE) if recipe.camera else 0
            self.logs = side_by_side(self.robots, recipe.robots, spare=spare)
        else:
            self.logs = read(bags, recipe.streams, names=recipe.action_names)
        say(self.problems)
        self.config = checkpoint_config(recipe, self.logs.action)

    def look(self) -> None:
        """Tell what the user should know of the bags before hours go by; the card has it as well."""
        kept = self.work / "probe.yaml"
        if kept.exists():
            self.probe = read_yaml(kept, Probe)
        else:
            self.probe = probed(self.logs.training, self.recipe.streams)
            write_yaml(kept, self.probe)
        for remark in self.remarks():
            tell(remark)

    def remarks(self) -> list[str]:
        """What a look at the bags has shown."""
        seconds = 60.0 * self.logs.minutes
        short = f"bags to train on: {seconds:.0f} s, which is little; predictions will hold there and hardly elsewhere"
        return [short] * (self.logs.minutes <= LITTLE) + (self.probe.remarks() if self.probe else [])

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
            self.logs.training,
            self.logs.validation,
            action=self.config.action,
            clip_frames=self.recipe.context_frames + self.recipe.horizon,
            batch_size=recipe.batch_size,
            workers=loader_workers(),
            augment=self.recipe.augment,
            camera=self.recipe.camera,
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
            self.logs.training,
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

    def start_like(self, names: Sequence[str]) -> Model:
        """Fresh networks with those weights of checkpoints that fit, as of other robots; their mean, of several.

        Where the recipe has a robot of a checkpoint's name, what that checkpoint makes of its actions is taken as well.
        """
        model, given = self.fresh(), {name: load_checkpoint(name)[1] for name in names}
        adopt(model, *given.values())
        robots = self.recipe.robots
        if known := {name: weights for name, weights in given.items() if name in robots}:
            adopt_actions(model, known, slots(robots))
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
        if self.robots:
            of_robots = self.judged(Predictor.load(out), windows)
            text = card(self.config, self.recipe, facts=facts, robots=of_robots)
            found = {name: Figures.of(figures) for name, figures in of_robots.items()}
            about = About(notes=self.recipe.notes, robots=found)
            save_checkpoint(out, self.config, model, card=text, about=about)
            return {"robots": of_robots}
        plots, predictor, episodes = self.work / "evaluation", Predictor.load(out), self.logs.validation
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
        about = About(notes=self.recipe.notes, figures=Figures.of(figures))
        save_checkpoint(out, config, model, card=text, images=[plots / SKILL, plots / FILMSTRIP], about=about)
        return figures

    def judged(self, predictor: Predictor, windows: int) -> dict[str, dict[str, Any]]:
        """Figures of each robot that takes part, on its held-back episodes."""
        found = {}
        for name in self.robots:
            tell(f"{name}:")
            episodes = [
                episode
                for episode in self.logs.validation
                if isinstance(episode, OneOfSeveral) and episode.robot == name
            ]
            found[name] = evaluate_episodes(
                predictor,
                episodes,
                self.work / "evaluation" / f"{name}.json",
                stride=STRIDE,
                max_windows=max(1, windows // len(self.robots)),
            )
        return found

    def facts(self, made_by: str) -> Facts:
        """What the card says about how the checkpoint came about."""
        return Facts(
            made_by=made_by,
            training=self.logs.training_said,
            validation=self.logs.validation_said,
            device="CUDA" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads",
            problems=self.problems.lines(),
            interrupted=self.interrupted,
            remarks=self.remarks(),
            evidence=Evidence(
                minutes=self.logs.minutes,
                scores=scores_in(self.work / "distillation" / LAST),
                probe=self.probe,
            ),
        )


def several(recipe: Recipe) -> str:
    """Why the bags of one robot are not enough for ``recipe``."""
    return (
        f"recipe {recipe.name}: trains several robots, expected the bags of each by its name; "
        "python -m dd_ros_training.train takes them"
    )


@rank_zero_only
def tell(line: str) -> None:
    """Tell the user."""
    click.echo(line, err=True)


def say(problems: Report) -> None:
    """Tell the user, a line each."""
    for problem in problems:
        tell(problem)
