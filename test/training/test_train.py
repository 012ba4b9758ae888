# SPDX-License-Identifier: Apache-2.0
"""Bags in, checkpoint out: all stages on real, small bags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bag_writer import robot_messages, write_bag
from short_run import short_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import tiny_config

from dd_ros import Predictor
from dd_ros.checkpoint import load_checkpoint
from dd_ros.data.bags import find_bags
from dd_ros.data.split import SplitRule
from dd_ros.errors import InputError
from dd_ros.resources import read_about, read_config
from dd_ros_training import callbacks
from dd_ros_training.kept import finished as weights_of_finished
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import Run
from dd_ros_training.run_stage import STAGES
from dd_ros_training.stages.autoencoder import AutoencoderStage

CONFIG = tiny_config()


def tiny_recipe(steps: int) -> Recipe:
    return short_recipe(steps, batch_size=4, validate_every=4)


@pytest.fixture(scope="module")
def finished(robot_bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run = Run(tiny_recipe(8), find_bags([robot_bags]), work=folder / "work")
    run.save(folder / "small", run.train(list(STAGES)))
    return folder


def test_all_stages_make_a_checkpoint_that_predicts(finished: Path) -> None:
    predictor = Predictor.load(finished / "small", device="cpu")
    predictor.observe(np.zeros((64, 80, 3), np.uint8), 0, [0.0, 0.0])
    assert predictor.predict(np.zeros((8, 2))).shape == (8, 32, 48, 3)
    card = (finished / "small" / "README.md").read_text()
    assert "2 bags, 60 model steps" in card
    assert "copy_last" in card
    about = read_about(finished / "small")
    assert about.figures is not None
    assert set(about.figures.psnr) == {"model", "copy_last", "optical_flow"}


def test_a_checkpoint_is_calibrated_on_the_bags_held_back(tmp_path: Path) -> None:
    for number, steps in ((0, 30), (4, 180)):  # the latter is for validation, with enough windows
        write_bag(tmp_path / "bags" / f"robot_{number}", robot_messages(steps))
    run = Run(tiny_recipe(1), find_bags([tmp_path / "bags"]), work=tmp_path / "work")
    run.save(tmp_path / "small", run.fresh())
    intervals = read_config(tmp_path / "small").error_intervals
    assert intervals is not None
    assert (intervals.windows, intervals.episodes, len(intervals.factors)) == (22, 1, 8)
    assert intervals.coverage is None
    card = (tmp_path / "small" / "README.md").read_text()
    assert "## Error intervals\n80% intervals of the RMS error" in card
    assert "not tested, with one episode" in card


def test_stages_log_skill_and_images(finished: Path) -> None:
    for stage in ("teacher", "distillation"):
        log = EventAccumulator(str(finished / "work" / "logs" / stage)).Reload()
        assert f"{stage}/skill" in log.Tags()["scalars"]
        (image, *_) = log.Images(f"{stage}/true_above_predicted")
        assert image.encoded_image_string.startswith(b"GIF8")


def test_a_stage_kept_before_its_recipe_grew_counts_as_finished(finished: Path, tmp_path: Path) -> None:
    recipe, path = tiny_recipe(8).distillation, finished / "work" / "distillation.pt"
    kept = torch.load(path, weights_only=True)
    del kept["recipe"]["context_noise"]
    torch.save(kept, tmp_path / path.name)
    path = tmp_path / path.name
    assert weights_of_finished(path, recipe) is not None
    assert weights_of_finished(path, recipe.model_copy(update={"context_noise": 0.1})) is None
    assert weights_of_finished(path, recipe.model_copy(update={"steps": 9})) is None


def test_an_interrupted_stage_goes_on_where_it_was(robot_bags: Path, tmp_path: Path) -> None:
    for steps in (6, 9):
        run = Run(tiny_recipe(steps), find_bags([robot_bags]), work=tmp_path / "work")
        run.train(["autoencoder"])
    state = torch.load(tmp_path / "work" / "autoencoder" / "last.ckpt", weights_only=True)
    assert int(state["stage"]["steps"]) == 9
    assert state["global_step"] == 9  # not 15: the second run began at 6


def test_a_stage_that_dies_loses_little(
    robot_bags: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "SAVE_SECONDS", 0.0)
    step = AutoencoderStage.training_step

    def die(stage: AutoencoderStage, batch: dict, index: int) -> None:
        if stage.steps == 5:
            raise RuntimeError("the machine died")
        step(stage, batch, index)

    run = Run(tiny_recipe(9), find_bags([robot_bags]), work=tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setattr(AutoencoderStage, "training_step", die)
        with pytest.raises(RuntimeError, match="died"):
            run.train(["autoencoder"])
    last = tmp_path / "work" / "autoencoder" / "last.ckpt"
    assert int(torch.load(last, weights_only=True)["stage"]["steps"]) == 5
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    Run(tiny_recipe(9), find_bags([robot_bags]), work=tmp_path / "work").train(["autoencoder"])
    assert torch.load(last, weights_only=True)["global_step"] == 9  # 5 before, 4 after


def test_learning_lowers_the_loss(robot_bags: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = short_recipe(60, batch_size=4, validate_every=60)
    Run(recipe, find_bags([robot_bags]), work=tmp_path / "work").train(["autoencoder"])
    log = EventAccumulator(str(tmp_path / "work" / "logs" / "autoencoder")).Reload()
    losses = [event.value for event in log.Scalars("autoencoder/loss")]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3, losses  # its logarithm


def test_training_goes_on_from_a_checkpoint_with_its_normalisation(
    robot_bags: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    run = Run(tiny_recipe(2), find_bags([robot_bags]), work=tmp_path / "work")
    settings, weights = load_checkpoint(tiny_checkpoint)
    assert run.config.action != settings.action
    model = run.start_from(str(tiny_checkpoint))
    assert run.config.action == settings.action
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.state_dict().items())
    run.save(tmp_path / "on", run.train(["distillation"], model), windows=1)
    assert load_checkpoint(tmp_path / "on")[0].action == settings.action


def test_training_does_not_go_on_with_other_networks(
    robot_bags: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(2)
    deeper = recipe.model_copy(update={"network": recipe.network.model_copy(update={"depth": 3})})
    with pytest.raises(InputError, match=r"expected the recipe's transformer .*depth=3.*got .*depth=2"):
        Run(deeper, find_bags([robot_bags]), work=tmp_path / "work").start_from(str(tiny_checkpoint))


def test_the_recipe_says_which_bags_are_for_validation(robot_bags: Path, tmp_path: Path) -> None:
    recipe, bags = tiny_recipe(2), find_bags([robot_bags])
    assert [bag.name for bag in Run(recipe, bags, work=tmp_path).logs.validation_bags] == ["episode_000004"]
    for rule in (SplitRule(validation=("episode_000002",)), SplitRule(every=3, remainder=2)):
        run = Run(recipe.model_copy(update={"split": rule}), bags, work=tmp_path)
        assert [bag.name for bag in run.logs.validation_bags] == ["episode_000002"]
        assert [episode.name for episode in run.logs.validation] == ["episode_000002"]
        assert [episode.name for episode in run.logs.training] == ["episode_000001", "episode_000004"]
    missing = recipe.model_copy(update={"split": SplitRule(validation=("episode_000003",))})
    with pytest.raises(InputError, match="no bag is called episode_000003; there are episode_000001, "):
        Run(missing, bags, work=tmp_path)


def test_training_begins_with_what_fits_of_another_robot(
    robot_bags: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Its actions are its own; so is their layer where there are more of them or fewer."""
    run = Run(tiny_recipe(2), find_bags([robot_bags]), work=tmp_path / "work")
    settings, weights = load_checkpoint(tiny_checkpoint)
    model = run.start_like([str(tiny_checkpoint)])
    assert run.config.action != settings.action
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.state_dict().items())


@pytest.mark.parametrize("share", [0.0, 1.0 / 3.0])
def test_a_set_too_large_for_the_store_is_loaded(robot_bags: Path, tmp_path: Path, share: float) -> None:
    recipe = tiny_recipe(2).model_copy(update={"store": share})
    run = Run(recipe, find_bags([robot_bags]), work=tmp_path / "work")
    assert (run.store is None) == (share == 0.0)
    run.train(["autoencoder"])
    assert (tmp_path / "work" / "autoencoder.pt").exists()
