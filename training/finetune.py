# SPDX-License-Identifier: Apache-2.0
"""``dd_ros finetune``: a checkpoint for your own robot from your own bags, in one command."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
from lightning.pytorch.utilities import rank_zero_only

from dd_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from dd_ros.config import CheckpointConfig
from dd_ros.data.bags import find_bags
from dd_ros.data.split import BY_NUMBER, SplitRule
from dd_ros.data.split import split as divided
from dd_ros.data.stream_choice import choose_streams, with_lag
from dd_ros.errors import InputError
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor
from dd_ros.progress import progress
from dd_ros.report import Report
from dd_ros.resources import find_checkpoint, shipped_checkpoints
from dd_ros.settings import Settings, read_yaml, write_yaml
from dd_ros.streams import StreamSpec, parse_actions
from dd_ros_training.adopt import adopt
from dd_ros_training.card import verdict
from dd_ros_training.data.augment import Augment
from dd_ros_training.data.index import index_bags
from dd_ros_training.device import CPU_CLIPS, batch_size
from dd_ros_training.kept import own_folder
from dd_ros_training.pace import SHARES, Pace, probe
from dd_ros_training.probe import suggested_lag
from dd_ros_training.recipe import DistillationRecipe, Recipe, StageRecipe, TeacherRecipe
from dd_ros_training.renamed import Renaming
from dd_ros_training.run import MOST_WINDOWS, Run, several, tell
from dd_ros_training.run_stage import STAGES
from dd_ros_training.starts import chosen, measured, said

PLAN = "plan.yaml"
GO_ON = "repeat its command to go on, or remove the folder"
DEFAULT_START = "pusht"  # of a recipe, and where nothing can be measured
MEASURED_BAGS = 4  # that the start is chosen by
FOR_STAGES = 0.9  # of the time; the rest is for reading and evaluating


def finetune(
    bags: Sequence[Path],
    *,
    image_topic: str,
    actions: Sequence[str],
    out: Path,
    init: str | None = None,
    config: Path | None = None,
    max_minutes: float = 60.0,
    shift: float = Augment().shift,
    split: SplitRule | None = None,
    action_lag: float | Literal["auto"] | None = None,
    action_lead: int | None = None,
    start: float | None = None,
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Train all stages on ``bags`` from the weights of another checkpoint and write the checkpoint ``out``.

    Weights that do not fit (another action dimension) start fresh; the image size follows the
    camera's shape. The checkpoint's card holds its figures on the held-back bags. The same command
    goes on where it was cut off; what that takes lies in the folder ``out`` + ``.work``.

    Args:
        bags: bags, or folders of bags.
        image_topic, actions: what to use of them; actions as ``streams.parse_actions`` takes them.
        out: checkpoint folder to write.
        init: checkpoint to start from; None: base, or the shipped one that predicts the bags clearly better; with a recipe
            DEFAULT_START.
        config: recipe's file; None makes a recipe that suits ``init`` and the time.
        max_minutes: time for everything, from ``start`` to the finished card. Where that cannot be, the user is
            told at once what the least is. A recipe's stages take their own time.
        shift: as in ``augment.Augment``; a recipe has its own.
        split: which bags are for validation; None is the recipe's rule.
        action_lag: seconds after its stamp that a command is in force; ``auto``: what a look at the bags suggests, if anything;
            None is the recipe's, or 0.
        action_lead: or model steps before it, where the measured state of a later step stands for the command.
        start: when the command began, by ``time.monotonic``; None is now.
        json_path: where what is returned goes as well; None: nowhere.

    Returns:
        The checkpoint's folder, what the data was, a line for all that could not be used and for all that is remarkable,
        the stage that the user ended early (or an empty string), and the figures of ``dd_ros evaluate`` on the held-back
        bags, None without. Nothing in processes of a run on several devices but the first.

    Raises:
        InputError: unusable bags, topics, checkpoint or recipe; or the work folder is another run's.
    """
    start = time.monotonic() if start is None else start
    found = find_bags(bags)
    given = read_yaml(config, Recipe) if config else None
    if given and given.robots:
        raise InputError(several(given))
    if init is not None:
        find_checkpoint(init)
    sources, problems = parse_actions(actions), Report()
    streams = choose_streams(
        found, image_topic, sources, problems=problems, watch=lambda bags: progress(bags, "looking at bags")
    )
    lag = given.streams.action_lag_s if given and action_lag is None and action_lead is None else action_lag
    rule = split or (given.split if given else BY_NUMBER)
    work = claim(out)
    if lag == "auto":
        with_lag(streams, lag=0.0, lead=action_lead)  # or InputError
        lag = found_lag(found, streams, work=work, rule=rule)
    streams = with_lag(streams, lag=lag, lead=action_lead)
    init = init or started_from(work) or chosen_start(found, streams, work=work, recipe=given, split=split)
    settings, weights = load_checkpoint(init)
    recipe = partial(recipe_for, out.name, settings, streams=streams, given=given, shift=shift, split=split)
    plan = Plan(
        bags=tuple(str(bag.resolve()) for bag in found),
        init=init,
        max_minutes=max_minutes,
        shift=shift,
        recipe=recipe(minutes=max_minutes),
    )
    kept = kept_plan(work, plan)
    if kept and config and kept.recipe != plan.recipe:
        raise InputError(f"{work}: holds a run with another recipe than {config}; {GO_ON}")
    if kept and kept.recipe.split != plan.recipe.split:
        raise InputError(f"{work}: holds a run with other bags for validation; {GO_ON}")
    run = Run((kept or plan).recipe, found, work=work, problems=problems)
    run.look()
    model = run.fresh()
    adopt(model, weights)
    if config is None:
        run.pace = paced(run, model, seconds=60.0 * max_minutes, start=start)
    if kept is None:
        run.recipe = recipe(minutes=run.pace.left() / 60.0 / FOR_STAGES if run.pace else max_minutes)
        tell(planned(run.recipe))
        keep(work, plan.model_copy(update={"recipe": run.recipe}))
    made_by = f"`dd_ros finetune` from the weights of `{settings.name}`"
    windows = run.pace.windows if run.pace else MOST_WINDOWS
    figures = run.save(out, run.train(list(STAGES), model), made_by=made_by, windows=windows)
    if getattr(rank_zero_only, "rank", 0):
        return {}
    facts = run.facts(made_by)
    if figures is not None:
        click.echo(verdict(figures, facts.evidence))
    result = {
        "checkpoint": str(out), "training": facts.training, "validation": facts.validation, "device": facts.device,
        "problems": list(facts.problems), "remarks": list(facts.remarks), "interrupted": facts.interrupted,
        "figures": figures,
    }  # fmt: skip
    write_json(json_path, result)
    return result


def paced(run: Run, model: Model, *, seconds: float, start: float) -> Pace:
    """The time of a run that began at ``start``, by how fast this machine is; says so if it is too short."""
    tell("measuring how fast this machine is")
    with tempfile.TemporaryDirectory(prefix="dd_ros_") as folder:
        save_checkpoint(Path(folder) / "untrained", run.config, model, card="")
        predictor = Predictor.load(Path(folder) / "untrained")
    pace = Pace(seconds, start, probe(predictor, run.logs.validation))
    least = pace.least_seconds()
    if least > seconds:
        click.echo(
            f"--max-minutes {seconds / 60:g}: expected at least {least / 60:.1f} on this machine as busy as it is; "
            "takes about that, and learns next to nothing",
            err=True,
        )
    return pace


def planned(recipe: Recipe) -> str:
    """What the time goes into."""
    stages = ", ".join(f"{name} {getattr(recipe, name).minutes:.2g}" for name in STAGES)
    return f"minutes of training: {stages}; then the checkpoint is judged"


def claim(out: Path) -> Path:
    """The work folder of ``out``, made; InputError as ``own_folder``, before hours go by."""
    work = out.with_name(out.name + ".work")
    own_folder(work)
    return work


def started_from(work: Path) -> str | None:
    """What the run in ``work`` began with, if there is one."""
    return read_yaml(work / PLAN, Plan).init if (work / PLAN).exists() else None


def found_lag(bags: Sequence[Path], streams: StreamSpec, *, work: Path, rule: SplitRule) -> float:
    """The lag of the run in ``work``, or else the one that the training bags suggest; says which."""
    if (work / PLAN).exists():
        return read_yaml(work / PLAN, Plan).recipe.streams.action_lag_s
    lag = suggested_lag(divided(bags, rule)[0], streams, cache=work / "index")
    tell(
        f"--action-lag auto: commands act {lag:.2g} s after their stamps"
        if lag
        else "--action-lag auto: none is clearly better than 0"
    )
    return lag


def chosen_start(
    bags: Sequence[Path], streams: StreamSpec, *, work: Path, recipe: Recipe | None, split: SplitRule | None
) -> str:
    """The checkpoint to start from where the user names none; says which and why."""
    if recipe is not None:
        return DEFAULT_START
    training, validation = divided(bags, split or BY_NUMBER)
    some = (validation or training)[:MEASURED_BAGS]
    episodes = index_bags(some, streams, work / "index", problems=Report())
    starts = measured(shipped_checkpoints(), episodes, streams)
    if not starts:
        return DEFAULT_START
    click.echo(said(starts), err=True)
    return chosen(starts).name


class Plan(Settings):
    """What a run was asked for, and the recipe made of it; kept so that it can go on after a kill."""

    bags: tuple[str, ...]
    init: str
    max_minutes: float
    shift: float
    recipe: Recipe

    @classmethod
    def upgraded(cls, entries: Any, source: str) -> Any:
        """``entries`` with today's names in the recipe, of which the user need not hear: nobody wrote it."""
        if not isinstance(entries, dict) or "recipe" not in entries:
            return entries
        return entries | {"recipe": Renaming(source).recipe(entries["recipe"])}


def kept_plan(work: Path, plan: Plan) -> Plan | None:
    """The plan of the run that ``work`` holds, if any; InputError if it was asked for something else."""
    path = work / PLAN
    if not path.exists():
        return None
    kept = read_yaml(path, Plan)
    for name in ("bags", "init", "max_minutes", "shift"):
        if getattr(kept, name) != getattr(plan, name):
            raise InputError(f"{work}: holds a run with other {name}; {GO_ON}")
    was, now = kept.recipe.streams, plan.recipe.streams
    if was.action_lag_s != now.action_lag_s:
        raise InputError(f"{work}: holds a run with an action lag of {was.action_lag_s:g} s; {GO_ON}")
    if was != now:
        raise InputError(f"{work}: holds a run on other topics; {GO_ON}")
    return kept


def keep(work: Path, plan: Plan) -> None:
    """Write ``plan`` into ``work``, whole or not at all."""
    staging = work / f".{PLAN}"
    write_yaml(staging, plan)
    staging.replace(work / PLAN)


def recipe_for(
    name: str,
    settings: CheckpointConfig,
    *,
    streams: StreamSpec,
    given: Recipe | None,
    minutes: float,
    shift: float,
    split: SplitRule | None,
) -> Recipe:
    """The ``given`` recipe of the user, or else the default one for ``settings``, with these streams and this split."""
    rule = {"split": split} if split else {}
    if given:
        names = given.action_names if len(given.action_names) == action_dim(streams) else ()
        return given.model_copy(update={"name": name, "streams": streams, "action_names": names, **rule})
    recipe = default_recipe(name, settings.model_copy(update={"streams": streams}), minutes)
    return recipe.model_copy(update={"augment": Augment(shift=shift), **rule})


def action_dim(streams: StreamSpec) -> int:
    """Values of the action vector, as far as they are known."""
    return sum(source.dim or 0 for source in streams.actions)


def default_recipe(name: str, settings: CheckpointConfig, minutes: float) -> Recipe:
    """The recipe for ``minutes``, of which the stages get FOR_STAGES, with network and schedule of the checkpoint ``settings``.

    Without distribution matching, which at this size costs steps and brings nothing. Not conditioned on the
    previous frame, as networks overfit to it on few bags (docs/results.md has figures for both).
    """
    budget = {
        stage: max(0.01, share / sum(SHARES.values()) * FOR_STAGES * minutes)
        for stage, share in SHARES.items()
    }
    schedule = settings.schedule
    chunks = schedule.chunks(settings.horizon)
    often = {"validate_every": 200}  # people watch
    clips = batch_size(settings.streams.width, settings.streams.height)
    return Recipe(
        name=name,
        streams=settings.streams,
        network=settings.transformer.model_copy(update={"condition_on_previous_frame": False}),
        image_network=settings.autoencoder,
        schedule="-".join(str(len(schedule.chunk_levels(chunk))) for chunk in range(chunks)),
        chunk_frames=schedule.chunk_frames,
        horizon=settings.horizon,
        context_frames=settings.context_frames,
        autoencoder=StageRecipe(
            minutes=budget["autoencoder"], batch_size=clips, learning_rate=1.5e-3, **often
        ),
        teacher=TeacherRecipe(minutes=budget["teacher"], batch_size=clips, learning_rate=1.5e-3, **often),
        distillation=DistillationRecipe(
            minutes=budget["distillation"],
            batch_size=clips // 2
            if clips == CPU_CLIPS
            else clips,  # a GPU's time goes into launching kernels
            learning_rate=5e-4,
            matching=0.0,
            motion=0.0,
            **often,
        ),
    )
