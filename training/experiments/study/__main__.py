# SPDX-License-Identifier: Apache-2.0
"""The study's command; the package's docstring says what it does."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dd_ros.console import Command
from dd_ros.data.bags import find_bags
from dd_ros.errors import InputError
from dd_ros.settings import read_yaml
from dd_ros_training.device import share_of_cores
from dd_ros_training.experiments.study.report import BEGIN, END, PLOT, plot, report
from dd_ros_training.experiments.study.rows import STRIP, figures_of, make_base, make_rows
from dd_ros_training.experiments.study.settings import Study


@click.command(cls=Command)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--bags", multiple=True, required=True, type=click.Path(path_type=Path), help="Bags or folders."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for all that is made.")
@click.option("--variant", "wanted", multiple=True, help="Only these rows; the method's own always.")
@click.option(
    "--with",
    "on_top",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File whose entries replace STUDY's.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Times to make each row; default STUDY's.")
@click.option("--report", "page", type=click.Path(path_type=Path), help="Page to write the tables into.")
def main(
    study: Path, bags: tuple[Path, ...], out: Path, wanted: tuple[str, ...], on_top: tuple[Path, ...],
    seeds: int | None, page: Path | None,
) -> None:  # fmt: skip
    """Train and evaluate the variants of STUDY and report on all that are done."""
    settings = read_yaml(study, Study, on_top)
    settings = settings.model_copy(update={"seeds": seeds or settings.seeds})
    if unknown := set(wanted) - set(settings.variants):
        raise InputError(f"{study}: no variants {sorted(unknown)}; it has {list(settings.variants)}")
    chosen = [name for name in settings.variants if not wanted or name in (settings.method, *wanted)]
    text = page.read_text() if page else f"{BEGIN}{END}"
    if not (BEGIN in text and END in text):
        raise InputError(f"{page}: expected the marks {BEGIN} and {END} round the study's tables, found none")
    found, threads = find_bags(bags), torch.get_num_threads()
    torch.set_num_threads(share_of_cores(settings.jobs))
    make_base(settings, found, out)
    make_rows(settings, chosen, found, out=out)
    torch.set_num_threads(threads)
    rows = {name: figures_of(settings, name, out) for name in chosen}
    FigureCanvasAgg(plot(rows, settings)).print_png(out / PLOT)
    made = report(rows, settings, text)
    (out / "study.md").write_text(made)
    if page:
        page.write_text(made)
        shutil.copy(out / PLOT, page.with_name(PLOT))
        shutil.copy(out / settings.method / STRIP, page.with_name(STRIP))


if __name__ == "__main__":
    main()
