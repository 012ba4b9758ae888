# SPDX-License-Identifier: Apache-2.0
"""Run the stages of a recipe one after the other: bags in, checkpoint out.

Example:
    python -m dd_ros_training.train config/training/g1_pick.yaml --bags DIR --out checkpoints/g1_pick
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.errors import InputError
from dd_ros.settings import read_yaml
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import MADE_BY, Run
from dd_ros_training.run_stage import STAGES


def bags_of(recipe: Recipe, given: Sequence[str]) -> list[Path] | dict[str, list[Path]]:
    """The bags at paths ``given``; of a recipe with several robots those of each that is named, ROBOT=FOLDER.

    Raises:
        InputError: as ``find_bags``; or no name, or that of no robot, before a path.
    """
    if not recipe.robots:
        return find_bags([Path(path) for path in given])
    paths = dict[str, list[Path]]()
    for text in given:
        name, _, path = text.partition("=")
        if name not in recipe.robots or not path:
            raise InputError(
                f"--bags: expected ROBOT=FOLDER with one of {', '.join(recipe.robots)}, got {text}"
            )
        paths.setdefault(name, []).append(Path(path))
    return {name: find_bags(paths[name]) for name in recipe.robots if name in paths}


@click.command(cls=Command)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--bags",
    multiple=True,
    required=True,
    help="A bag or a folder of bags; ROBOT=FOLDER where the recipe has several robots, of which some may be left out.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint folder to write.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for logs and resumable state; default OUT.work."
)
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="Only these stages.")
@click.option("--init", help="Checkpoint whose networks are trained on; none starts from nothing.")
@click.option(
    "--adopt",
    "adopted",
    multiple=True,
    help="Checkpoint whose weights are begun with where they fit, of another robot; of several their mean.",
)
def main(
    recipe: Path,
    bags: tuple[str, ...],
    out: Path,
    work: Path | None,
    stages: tuple[str, ...],
    init: str | None,
    adopted: tuple[str, ...],
) -> None:
    """Train the stages of RECIPE on bags and write a checkpoint."""
    if init and adopted:
        raise InputError("--init and --adopt: expected one of them, got both")
    settings = read_yaml(recipe, Recipe)
    run = Run(settings, bags_of(settings, bags), work=work or out.with_name(out.name + ".work"))
    chosen = [name for name in STAGES if name in stages or not stages]
    model, made_by = None, MADE_BY
    if start := ([init] if init else adopted):
        named = ", ".join(f"`{Path(name).name}`" for name in start)
        made_by = f"`python -m dd_ros_training.train` from the weights of {named}"
        model = run.start_from(init) if init else run.start_like(adopted)
    run.save(out, run.train(chosen, model), made_by=made_by)


if __name__ == "__main__":
    main()
