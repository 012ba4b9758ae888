# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint a run begins with where the user names none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dd_ros.demo.pusht import Robot
from dd_ros.demo.simulate import STREAMS, write_episode
from dd_ros.evaluation.evaluate import evaluate
from dd_ros.report import Report
from dd_ros.settings import write_yaml
from dd_ros.streams import ActionSource, StreamSpec
from dd_ros_training.data.index import TrainingEpisode, index_bags
from dd_ros_training.finetune import PLAN, Plan, chosen_start, default_recipe, started_from
from dd_ros_training.starts import Start, chosen, measured, said


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pushes")
    for number in range(5):
        write_episode(folder / f"episode_{number:06d}", Robot(9000 + number), steps=40)
    return sorted(folder.iterdir())


def episodes(bags: list[Path], streams: StreamSpec, cache: Path) -> list[TrainingEpisode]:
    return index_bags(bags, streams, cache, problems=Report())


def test_the_checkpoint_of_that_robot_is_found(bags: list[Path], tmp_path: Path) -> None:
    found = measured(["g1_pick", "pusht"], episodes(bags, STREAMS, tmp_path), STREAMS)
    assert [start.name for start in found] == ["pusht", "g1_pick"]
    assert found[0].skill > 3.0 > found[1].skill
    line = said(found)
    assert line.startswith("training starts from pusht, which predicts these bags best as it is: +")
    assert f"(g1_pick {found[1].skill:+.1f}); --init names another" in line


def test_skill_is_what_evaluate_says_of_it(bags: list[Path], tmp_path: Path) -> None:
    """But for the gate, which starts do not have, and for which windows are judged."""
    (start,) = measured(["pusht"], episodes(bags, STREAMS, tmp_path / "index"), STREAMS)
    figures = evaluate("pusht", bags, None, stride=16, device="cpu", max_windows=6)
    assert start.skill == pytest.approx(np.mean(figures["skill_psnr"]), abs=0.5)


def test_what_does_not_fit_is_left_out(bags: list[Path], tmp_path: Path) -> None:
    wide = STREAMS.model_copy(update={"width": 100})
    assert measured(["pusht"], episodes(bags, STREAMS, tmp_path), wide) == []
    assert measured(["pusht"], [], STREAMS) == []


def test_another_number_of_actions_is_measured_as_well(bags: list[Path], tmp_path: Path) -> None:
    source = ActionSource(
        topic="/pusher/command", type="sensor_msgs/msg/JointState", fields=("position[0]",), dim=1
    )
    streams = STREAMS.model_copy(update={"actions": (source,)})
    (start,) = measured(["pusht"], episodes(bags, streams, tmp_path), streams)
    assert np.isfinite(start.skill)


def test_a_run_goes_on_from_what_it_began_with(
    bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started_from(tmp_path) is None
    name = chosen_start(bags, STREAMS, work=tmp_path, recipe=None, split=None)
    assert name == "pusht"
    assert "training starts from pusht" in capsys.readouterr().err
    from dd_ros.resources import read_config

    recipe = default_recipe("mine", read_config("pusht"), 1.0)
    write_yaml(tmp_path / PLAN, Plan(bags=(), init="car", max_minutes=1.0, shift=0.0, recipe=recipe))
    assert started_from(tmp_path) == "car"
    assert chosen_start(bags, STREAMS, work=tmp_path, recipe=recipe, split=None) == "pusht"


def test_others_are_named_beside_the_best() -> None:
    assert said([Start("a", 1.26), Start("b", -0.04), Start("c", -2.0)]).endswith(
        "as it is: +1.3 dB above copy-last (b -0.0, c -2.0); --init names another"
    )
    assert "(" not in said([Start("a", 1.0)])


def test_what_knows_several_robots_is_chosen_unless_another_is_clearly_better() -> None:
    near = [Start("car", 1.2), Start("base", 1.0), Start("pusht", -3.0)]
    assert chosen(near).name == "base"
    assert said(near) == (
        "training starts from base, which knows several robots: no other predicts these bags 0.5 dB better as it is "
        "(car +1.2, pusht -3.0); --init names another"
    )
    assert chosen([Start("car", 2.0), Start("base", 1.0)]).name == "car"
    assert chosen([Start("base", 1.0), Start("car", 0.9)]).name == "base"
    assert chosen([Start("pusht", 1.0)]).name == "pusht"
