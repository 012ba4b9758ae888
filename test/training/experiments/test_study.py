# SPDX-License-Identifier: Apache-2.0
"""The study: variants share what they can, are evaluated alike, and are not trained twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from short_run import short_recipe

from dd_ros.data.bags import find_bags
from dd_ros.resources import shared_file
from dd_ros.settings import read_yaml, write_yaml
from dd_ros_training.experiments.study.__main__ import main
from dd_ros_training.experiments.study.report import BEGIN, END
from dd_ros_training.experiments.study.rows import completed
from dd_ros_training.experiments.study.settings import Study, Variant, recipe_of
from dd_ros_training.run import Run

VARIANTS = {
    "method": Variant(title="the method", kind="rival"),
    "regressor": Variant(
        title="regressor", kind="rival", start="autoencoder",
        changes={"schedule": "one_step", "distillation": {"matching": 0.0, "motion": 0.0}},
    ),
    "teacher": Variant(title="all at once", kind="rival", start="autoencoder", stages=("teacher",), changes={"schedule": "teacher"}),
    "no_forcing": Variant(title="clean context", kind="ablation", changes={"schedule": "2-1_clean_context"}),
}  # fmt: skip


def run(folder: Path, bags: Path, *more: str) -> str:
    given = [str(folder / "study.yaml"), "--bags", str(bags), "--out", str(folder / "out"), *more]
    done = CliRunner().invoke(main, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return (folder / "out" / "study.md").read_text()


def made_in(out: Path) -> dict[Path, int]:
    """When weights and figures were written."""
    return {
        path: path.stat().st_mtime_ns
        for pattern in ("*/*.pt", "*/*.ckpt", "*/*/*.ckpt", "*/figures.json")
        for path in out.glob(pattern)
    }


@pytest.mark.timeout(300)
def test_from_bags_to_the_page(robot_bags: Path, tmp_path: Path) -> None:
    base = short_recipe(3, batch_size=2, validate_every=50)
    write_yaml(tmp_path / "study.yaml", Study(base=base, windows=3, drift_steps=8, jobs=2, variants=VARIANTS))
    page = tmp_path / "results.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    run(tmp_path, robot_bags, "--report", str(page))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    rivals, ablations = text.split("What each part brings:")
    assert all(f"| {title} |" in rivals for title in ("the method", "regressor", "all at once"))
    assert "| clean context |" in ablations
    assert "| clean context |" not in rivals
    assert text.count("| the method | 1 |") == 2  # of drift, and of the recovery from it
    assert (tmp_path / "study.png").exists()
    assert (tmp_path / "drift.png").exists()
    assert all((tmp_path / "out" / name / "log.txt").read_text() for name in VARIANTS)
    made = made_in(tmp_path / "out")
    page.write_text(f"{BEGIN}{END}")
    run(tmp_path, robot_bags, "--report", str(page))
    assert made_in(tmp_path / "out") == made  # neither trained nor evaluated again
    other = base.model_copy(update={"horizon": 4})
    write_yaml(tmp_path / "study.yaml", Study(base=other, windows=3, drift_steps=8, variants=VARIANTS))
    given = [str(tmp_path / "study.yaml"), "--bags", str(robot_bags), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(main, given)
    assert refused.exit_code == 2
    assert "another base" in refused.output


@pytest.mark.timeout(300)
def test_rows_of_several_seeds_are_averaged(robot_bags: Path, tmp_path: Path) -> None:
    base = short_recipe(3, batch_size=2, validate_every=50)
    variants = {name: VARIANTS[name] for name in ("method", "regressor")}
    write_yaml(tmp_path / "study.yaml", Study(base=base, windows=3, drift_steps=8, variants=variants))
    (tmp_path / "larger.yaml").write_text("windows: 2\nbase: {distillation: {learning_rate: 0.01}}\n")
    text = run(tmp_path, robot_bags, "--with", str(tmp_path / "larger.yaml"), "--seeds", "2")
    assert text.startswith(f"{BEGIN}\n\n2 windows")
    assert "2 seeds" in text
    for name in variants:
        first, second = (
            json.loads((tmp_path / "out" / folder / "figures.json").read_text())
            for folder in (name, f"{name}.1")
        )
        assert first["mean"] != second["mean"]
        both = [figures["mean"]["model"]["psnr"] for figures in (first, second)]
        assert f"| {np.mean(both):.2f} ± {np.std(both, ddof=1):.2f} |" in text
    features = text.split("Distance of features by step:")[1].splitlines()
    assert features[2] == "| step | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |"
    assert [line.split(" | ")[0] for line in features[4:6]] == ["| the method", "| regressor"]


def test_jobs_end_with_a_study_that_is_killed(robot_bags: Path, tmp_path: Path) -> None:
    base = short_recipe(3, batch_size=2, validate_every=50)
    long = base.model_copy(update={"distillation": base.distillation.model_copy(update={"steps": 100_000})})
    write_yaml(tmp_path / "study.yaml", Study(base=long, jobs=1, variants={"method": VARIANTS["method"]}))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dd_ros_training.experiments.study", str(tmp_path / "study.yaml")]
    process = subprocess.Popen([*command, "--bags", str(robot_bags), "--out", str(out)])
    while not (out / "method" / "logs").exists():
        assert process.poll() is None
        time.sleep(0.1)
    jobs = descendants(process.pid)
    assert len(jobs) >= 3  # the job, the process that it was forked from, and what Python starts beside them
    process.kill()
    process.wait()
    while any(running(pid) for pid in jobs):  # the suite's timeout ends a test that waits for ever
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """All processes that a process started, and those that they started."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [further for child in children for further in descendants(child)]


def running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_is_ended_early_does_not_count_as_made(robot_bags: Path, tmp_path: Path) -> None:
    recipe = short_recipe(3, batch_size=2, validate_every=50)
    run = Run(recipe, find_bags([robot_bags]), work=tmp_path)
    run.interrupt.asked = True  # as by Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        completed(run, ("autoencoder", "teacher"))
    assert not run.weights("autoencoder").exists()


def test_a_row_that_cannot_be_made_ends_the_study_in_one_line(robot_bags: Path, tmp_path: Path) -> None:
    base = short_recipe(3, batch_size=2, validate_every=50)
    wrong = Variant(title="no such schedule", kind="rival", changes={"schedule": "9-9"})
    variants = {"method": VARIANTS["method"], "wrong": wrong}
    write_yaml(tmp_path / "study.yaml", Study(base=base, windows=3, drift_steps=8, variants=variants))
    given = [str(tmp_path / "study.yaml"), "--bags", str(robot_bags), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(main, given)
    assert refused.exit_code == 2
    assert "schedule '9-9': expected step counts" in refused.output


def test_changes_of_a_stage_leave_its_other_entries() -> None:
    base = short_recipe(3, batch_size=2, validate_every=50)
    changed = recipe_of(base, VARIANTS["regressor"], name="regressor")
    assert changed.distillation == base.distillation.model_copy(update={"matching": 0.0, "motion": 0.0})
    assert (
        changed.model_copy(
            update={"name": base.name, "schedule": base.schedule, "distillation": base.distillation}
        )
        == base
    )


def test_all_rows_of_the_shipped_study_are_recipes() -> None:
    plain, gpu = shared_file("config/study.yaml"), shared_file("config/study_gpu.yaml")
    for shipped in (read_yaml(plain, Study), read_yaml(plain, Study, [gpu])):
        for name, variant in shipped.variants.items():
            assert recipe_of(shipped.base, variant, name=name).name == name
