# SPDX-License-Identifier: Apache-2.0
"""A LeRobot data set is trained on, evaluated and predicted like a folder of bags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra lerobot")
pytest.importorskip("pyarrow", reason="needs the extra lerobot")
from lerobot_writer import Writer

from dd_ros import Predictor
from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.data.split import split
from dd_ros.data.stream_choice import choose_streams
from dd_ros.errors import InputError
from dd_ros.evaluation.evaluate import evaluate
from dd_ros.report import Report
from dd_ros.streams import ActionSource
from dd_ros_training.data.index import index_bags
from dd_ros_training.finetune import finetune

CAMERA = "observation.images.top"


@pytest.fixture(scope="module", params=["v2.1", "v3.0"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Writer(tmp_path_factory.mktemp("data") / "set", version=request.param).write()


def test_episodes_stand_for_bags(folder: Path, tmp_path: Path) -> None:
    bags = find_bags([folder])
    assert [bag.name for bag in bags] == ["episode_000000", "episode_000001", "episode_000002"]
    training, validation = split(bags)
    assert len(training) == 2
    assert len(validation) == 1
    spec = choose_streams(bags, CAMERA, [ActionSource(topic="action[0:2]")], problems=Report())
    assert (spec.rate_hz, spec.actions[0].dim) == (15.0, 2)
    for bag, lazy in zip(bags, index_bags(bags, spec, tmp_path / "index"), strict=True):
        (whole,) = read_episodes(bag, spec)
        np.testing.assert_array_equal(lazy.frames(0, len(lazy)), whole.frames)
        clip = lazy.part(2, 9).clip(1, 5)
        np.testing.assert_array_equal(clip.frames, whole.frames[3:7])
        np.testing.assert_array_equal(clip.actions, whole.actions[3:7])
        np.testing.assert_array_equal(clip.stamps, whole.stamps[3:7])


def test_finetune_and_evaluate(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Of one version: their frames and actions are the same, as the tests beside this one say."""
    out, data = tmp_path / "mine", Writer(tmp_path / "set", version="v3.0").write()
    finetune(
        [data], image_topic=CAMERA, actions=["action"], out=out, init=str(tiny_checkpoint), max_minutes=0.1
    )
    assert Predictor.load(out, device="cpu").action_dim == 3
    assert "windows of 1 held-back episodes" in (out / "README.md").read_text()
    again = evaluate(out, [data], json_path=tmp_path / "e.json", device="cpu", stride=4, max_windows=4)
    assert again["episodes"] == 3


def test_what_a_data_set_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no images side; it holds observation\.images\.top"):
        choose_streams(find_bags([folder]), "side", [ActionSource(topic="action")], problems=Report())
    with pytest.raises(InputError, match=r"no numbers commands; it holds .*action"):
        choose_streams(find_bags([folder]), CAMERA, [ActionSource(topic="commands")], problems=Report())
