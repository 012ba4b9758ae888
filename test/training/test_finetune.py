# SPDX-License-Identifier: Apache-2.0
"""A checkpoint for another robot: what it keeps of the first one, the time it takes, the folder it works in."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from short_run import short_recipe
from tiny import tiny_config

from dd_ros import Predictor
from dd_ros.checkpoint import Model, load_checkpoint
from dd_ros.config import ActionSpec
from dd_ros.data.split import BY_NUMBER
from dd_ros.data.stream_choice import model_size
from dd_ros.errors import InputError
from dd_ros.settings import write_yaml
from dd_ros_training.adopt import FIRST, adopt
from dd_ros_training.finetune import default_recipe, finetune, found_lag

CONFIG = tiny_config()


class Made(NamedTuple):
    """A run that is over.

    Attributes:
        out: the checkpoint.
        again: ``finetune`` as it was called.
        said: what it said on stderr.
    """

    out: Path
    again: Callable[..., None]
    said: str


@pytest.fixture(scope="module")
def made(robot_bags: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run that was asked an hour ago to be over in a minute: as short as one can be."""
    out = tmp_path_factory.mktemp("finetune") / "mine"
    again = partial(
        finetune, [robot_bags], image_topic="/camera/image_raw", actions=["/action"], out=out,
        init=str(tiny_checkpoint), max_minutes=1.0, start=time.monotonic() - 3600.0,
    )  # fmt: skip
    with redirect_stderr(StringIO()) as said:
        again()
    return Made(out, again, said.getvalue())


def test_it_adapts_to_another_robot(made: Made) -> None:
    predictor = Predictor.load(made.out, device="cpu")
    assert (predictor.width, predictor.height) == model_size(48, 32)
    assert predictor.config.streams.rate_hz == pytest.approx(10.0)
    card = (made.out / "README.md").read_text()
    assert "Beats copy-last" in card or "Does not beat" in card


def test_too_little_time_is_said_at_once(made: Made) -> None:
    found = re.search(
        r"^--max-minutes 1: expected at least ([\d.]+) on this machine as busy as it is", made.said, re.M
    )
    assert made.said.index("minutes of training: autoencoder") < made.said.index("distillation: 0:00 left")
    assert found, made.said
    assert float(found[1]) > 60.0


def test_what_the_bags_show_is_said_before_training_and_stands_on_the_card(made: Made) -> None:
    found = re.search(r"^bags to train on: \d+ s, which is little; .*$", made.said, re.M)
    assert found, made.said
    assert found.start() < made.said.index("minutes of training: autoencoder")
    card = (made.out / "README.md").read_text()
    assert f"Seen in the data:\n\n- {found[0]}\n" in card
    assert re.search(r"few data: 0\.\d minutes of bags|actions matter\.", card)


def test_a_work_folder_is_of_one_run(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.work: holds a run with other max_minutes"):
        made.again(max_minutes=2.0)
    with pytest.raises(InputError, match=r"mine\.work: holds a run with other shift"):
        made.again(shift=0.0)
    with pytest.raises(InputError, match=r"mine\.work: holds a run with an action lag of 0 s"):
        made.again(action_lag=0.2)
    with pytest.raises(InputError, match=r"mine\.work: holds a run with an action lag of 0 s"):
        made.again(action_lead=1)
    other = tmp_path / "other.yaml"
    write_yaml(other, short_recipe(5, batch_size=2, validate_every=50))
    with pytest.raises(InputError, match=r"mine\.work: holds a run with another recipe than .*other\.yaml"):
        made.again(config=other)
    with pytest.raises(InputError, match="cannot be written"):
        made.again(out=Path("/proc/mine"))


def test_a_run_goes_on_with_the_lag_that_it_found(made: Made) -> None:
    work = made.out.with_name("mine.work")
    assert found_lag([], CONFIG.streams, work=work, rule=BY_NUMBER) == 0.0


def test_weights_that_fit_are_kept(tiny_checkpoint: Path) -> None:
    _, old = load_checkpoint(tiny_checkpoint)
    action = ActionSpec(dim=5, mean=(0.0,) * 5, std=(1.0,) * 5)
    new = Model(tiny_config(action=action))
    adopt(new, old)
    same = {name for name, value in new.state_dict().items() if value.shape == old.state_dict()[name].shape}
    assert set(new.state_dict()) - same == {f"{FIRST}.weight"}
    same.remove(f"{FIRST}.bias")  # goes with that layer, see test_adopt
    assert all(torch.equal(new.state_dict()[name], old.state_dict()[name]) for name in same)


def test_the_default_recipe_is_not_conditioned_on_the_previous_frame() -> None:
    assert CONFIG.transformer.condition_on_previous_frame
    network = default_recipe("x", CONFIG, 20.0).network
    assert network == CONFIG.transformer.model_copy(update={"condition_on_previous_frame": False})


def test_the_default_recipe_leaves_time_to_evaluate() -> None:
    recipe = default_recipe("x", CONFIG, 20.0)
    assert recipe.schedule == "2-1-1-1"
    assert sum(stage.minutes for stage in (recipe.autoencoder, recipe.teacher, recipe.distillation)) <= 18.0
