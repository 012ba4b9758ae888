# SPDX-License-Identifier: Apache-2.0
"""``dd_ros calibrate`` on real bags with a real, untrained checkpoint: what it writes, and what predictors make of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_writer import robot_messages, write_bag
from click.testing import CliRunner

from dd_ros import Predictor
from dd_ros.cli import main
from dd_ros.data.bags import read_episodes
from dd_ros.errors import InputError
from dd_ros.evaluation.calibrate import Calibration, calibrate, errors_of, with_sections, write
from dd_ros.evaluation.calibration import calibrated
from dd_ros.evaluation.evaluate import evaluate
from dd_ros.evaluation.windows import make_windows
from dd_ros.resources import CARD, CONFIG, read_config


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three bags of 40 steps that fit the tiny checkpoint."""
    folder = tmp_path_factory.mktemp("bags")
    for number in range(3):
        write_bag(folder / f"robot_{number}", robot_messages(40))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path, bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, calibrated."""
    folder = tmp_path_factory.mktemp("calibrated") / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    calibrate(folder, [bags], stride=2, device="cpu")
    return folder


def test_it_is_written_into_settings_and_card(checkpoint: Path, tiny_checkpoint: Path) -> None:
    before, after = read_config(tiny_checkpoint), read_config(checkpoint)
    assert before.error_intervals is None
    intervals = after.error_intervals
    assert intervals is not None
    assert (intervals.windows, intervals.episodes, len(intervals.exponents)) == (48, 3, 8)
    assert intervals.coverage is not None
    assert after.gate is not None
    assert (after.gate.windows, after.gate.episodes, len(after.gate.shares)) == (48, 3, 8)
    assert after.model_copy(update={"error_intervals": None, "gate": None}) == before
    card = (checkpoint / CARD).read_text()
    assert card.startswith("# tiny\nRandom weights for tests.\n\n## Gate\nFitted to 48 windows of 3 episodes")
    assert not [path for path in checkpoint.iterdir() if path.name.startswith(".")]


def test_predictors_give_the_intervals(checkpoint: Path, tiny_checkpoint: Path) -> None:
    calibrated, plain = (Predictor.load(folder, "cpu") for folder in (checkpoint, tiny_checkpoint))
    intervals = calibrated.config.error_intervals
    assert intervals is not None
    actions = np.random.default_rng(0).normal(size=(3, 8, 2))
    for predictor in (calibrated, plain):
        predictor.observe(np.full((32, 48, 3), 90, np.uint8), 0, [0.1, 0.2])
    (rollouts,) = calibrated.rollouts(actions, frames=None)
    assert rollouts.error is not None
    assert rollouts.error.shape == (3, 8, 3)
    np.testing.assert_array_equal(rollouts.error, intervals.of(rollouts.uncertainty))
    chunks = [chunk.error for chunk in calibrated.predict_chunks(actions)]
    np.testing.assert_allclose(np.concatenate([c for c in chunks if c is not None], axis=1).shape, (3, 8, 3))
    single = next(iter(calibrated.predict_chunks(actions[0])))
    assert single.error is not None
    assert single.error.shape == (2, 3)
    assert next(iter(plain.predict_chunks(actions[0]))).error is None
    assert next(iter(plain.rollouts(actions))).error is None


def test_evaluate_judges_them_and_fits_the_same(checkpoint: Path, bags: Path, tmp_path: Path) -> None:
    count = 20
    found = evaluate(checkpoint, [bags], tmp_path / "e.json", stride=4, max_windows=count, device="cpu")
    judged = found["uncertainty"]["intervals"]
    assert judged["checkpoint"]["all"] >= 0.7  # windows like those that they were fitted to
    assert len(judged["checkpoint"]["per_step"]) == 8
    assert judged["other_episodes"] is None  # too few
    predictor = Predictor.load(checkpoint, "cpu")
    episodes = [read_episodes(bag, predictor.config.streams)[0] for bag in sorted(bags.iterdir())]
    windows = make_windows(episodes, context=2, horizon=8, stride=4, limit=count)
    fitted = calibrated(errors_of(predictor, episodes, windows))
    # a batch of four sequences rounds otherwise than one alone
    factors = np.array(found["uncertainty"]["calibrated"]["factors"])
    np.testing.assert_allclose(factors, np.array(fitted.factors), rtol=0.05)


def test_an_older_format_keeps_its_names(bags: Path, tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "checkpoints" / "format_1"
    folder = tmp_path / "old"
    shutil.copytree(old, folder)
    found = calibrate(folder, [bags], stride=2, device="cpu")
    entries = yaml.safe_load((folder / CONFIG).read_text())
    assert entries.get("format", 1) == 1
    config = Predictor.load(folder, "cpu").config
    assert Calibration(config.gate, config.error_intervals) == found


def test_a_section_is_replaced_where_it_is(checkpoint: Path) -> None:
    intervals = read_config(checkpoint).error_intervals
    assert intervals is not None
    card = "# x\n\n## Error intervals\nfrom before\n\n## More\nend\n"
    found = Calibration(None, intervals)
    once = with_sections(card, found)
    assert once.startswith("# x\n\n## Error intervals\n80%")
    assert once.endswith("\n\n## More\nend\n")
    assert "from before" not in once
    assert with_sections(once, found) == once


def test_a_checkpoint_that_cannot_be_written_is_named(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    shutil.copytree(checkpoint, folder)
    before = (folder / CONFIG).read_bytes()
    (folder / f".{CONFIG}.new").mkdir()  # as good as a folder without permission, which root does not know
    intervals = read_config(folder).error_intervals
    assert intervals is not None
    with pytest.raises(InputError, match=r"config.yaml: cannot be written \(.*\); copy the checkpoint"):
        write(folder, Calibration(None, intervals))
    assert (folder / CONFIG).read_bytes() == before


def test_the_command(tiny_checkpoint: Path, bags: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    arguments = ["calibrate", "--checkpoint", str(folder), "--bags", str(bags), "--device", "cpu", "--stride"]
    few = CliRunner().invoke(main, [*arguments, "8", "--max-windows", "5"])
    assert few.exit_code == 2
    assert "expected at least 20 windows, got 5" in few.output
    assert read_config(folder).error_intervals is None
    done = CliRunner().invoke(main, [*arguments, "4"])
    assert done.exit_code == 0, done.output
    assert "80% intervals" in done.output
    assert read_config(folder).error_intervals is not None
