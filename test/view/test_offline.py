# SPDX-License-Identifier: Apache-2.0
"""A bag and a checkpoint as a recording: every predicted frame lies at the time it is for, beside the camera's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from bag_writer import SPEC, START, STEP, make_frame, robot_messages, write_bag
from click.testing import CliRunner
from rrd import Row, names, read

from dd_ros import Predictor
from dd_ros.cli import main
from dd_ros.data.bags import read_episodes
from dd_ros.data.images import decode_bytes
from dd_ros.errors import InputError
from dd_ros.evaluation.metrics import psnr
from dd_ros.evaluation.playback import Played, played
from dd_ros.view.log import ViewLog, jpeg
from dd_ros.view.offline import compared, grid, written
from dd_ros.view.sinks import Sink, is_free, opened

pytestmark = pytest.mark.skipif(find_spec("rerun") is None, reason="needs rerun-sdk (extra view)")
COUNT = 20
LEADS = {"lead_0.2s": 2, "lead_0.4s": 4, "lead_0.8s": 8}  # of the tiny checkpoint: model steps of 0.1 s


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "episode", robot_messages(COUNT))


@pytest.fixture(scope="module")
def steps(bag: Path, tiny_checkpoint: Path) -> list[Played]:
    """What the predictor predicts from each frame of the bag."""
    (episode,) = read_episodes(bag, SPEC)
    return list(played(Predictor.load(tiny_checkpoint, "cpu"), episode))


@pytest.fixture(scope="module")
def recording(bag: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``dd_ros predict --save`` writes it."""
    path = tmp_path_factory.mktemp("recordings") / "predicted.rrd"
    command = ["predict", "--checkpoint", str(tiny_checkpoint), "--bag", str(bag), "--save", str(path)]
    result = CliRunner().invoke(main, [*command, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def entities(recording: Path) -> dict[str, list[Row]]:
    return read(recording)


def number(ns: int) -> int:
    """Model step of a time, which must be exactly one."""
    assert (ns - START) % STEP == 0
    return (ns - START) // STEP


def same(row: Row, image: np.ndarray) -> bool:
    """Whether an image lies there, as jpeg has left it, which is about what it was."""
    assert float(psnr(image, row.value)) > 20.0
    return np.array_equal(row.value, decode_bytes(jpeg(image)))


def test_the_camera_lies_at_its_stamps(entities: dict[str, list[Row]]) -> None:
    rows = entities["camera"]
    assert [(number(row.target_ns), row.capture_ns) for row in rows] == [
        (k, START + k * STEP) for k in range(COUNT)
    ]
    for k, row in enumerate(rows):
        assert same(row, make_frame(k))


def test_predicted_frames_lie_at_the_time_they_are_for(
    entities: dict[str, list[Row]], steps: list[Played]
) -> None:
    for name, lead in LEADS.items():
        rows = entities[f"predicted/{name}"]
        assert [number(row.target_ns) for row in rows] == [k + lead for k in range(COUNT)]
        for made, row in enumerate(rows):
            assert number(row.capture_ns) == made
            assert same(row, steps[made].frames[lead - 1])
            unlike = (steps[made].frames[lead - 2], steps[made - 1].frames[lead - 1])
            assert not any(np.array_equal(row.value, decode_bytes(jpeg(other))) for other in unlike)
        uncertain = [row.value[0] for row in entities[f"uncertainty/{name}"]]
        np.testing.assert_allclose(uncertain, [step.uncertainty[lead - 1] for step in steps], rtol=1e-6)


def test_errors_lie_where_the_true_frame_is(entities: dict[str, list[Row]], steps: list[Played]) -> None:
    for name, lead in LEADS.items():
        targets = list(range(lead, COUNT))
        for entity in (f"error/{name}", f"psnr/{name}/predicted", f"psnr/{name}/copy_last"):
            assert [number(row.target_ns) for row in entities[entity]] == targets
            assert [number(row.capture_ns) for row in entities[entity]] == [k - lead for k in targets]
        wanted = [float(psnr(make_frame(k), steps[k - lead].frames[lead - 1])) for k in targets]
        np.testing.assert_allclose([row.value[0] for row in entities[f"psnr/{name}/predicted"]], wanted)
        copied = [float(psnr(make_frame(k), make_frame(k - lead))) for k in targets]
        np.testing.assert_allclose([row.value[0] for row in entities[f"psnr/{name}/copy_last"]], copied)
        for k, row in zip(targets, entities[f"error/{name}"], strict=True):
            apart = np.abs(steps[k - lead].frames[lead - 1].astype(int) - make_frame(k))
            assert same(row, np.minimum(2 * apart, 255).astype(np.uint8))


def test_commands_and_what_had_been_assumed_of_them(entities: dict[str, list[Row]], recording: Path) -> None:
    done = np.array([[0.1 * k, -0.1 * k] for k in range(COUNT)])
    rows = entities["commands/action"]
    np.testing.assert_allclose([row.value for row in rows], done, atol=1e-6)
    assert [number(row.target_ns) for row in rows] == list(range(COUNT))
    for name in LEADS:
        for row in entities[f"plan/{name}"]:
            k = min(number(row.target_ns), COUNT - 1)  # after the end the last one is held
            np.testing.assert_allclose(row.value, done[k], atol=1e-6)
        assert names(recording, f"plan/{name}") == [f"{name} x", f"{name} y"]
    assert names(recording, "commands/action") == ["action x", "action y"]


def test_it_opens_well_arranged(recording: Path) -> None:
    from rerun.chunk import RrdReader

    (layout,) = RrdReader(recording).blueprints()
    shown = {str(chunk.entity_path) for chunk in RrdReader(recording).stream(store=layout)}
    assert any("view" in path for path in shown)
    assert "/time_panel" in shown


def test_a_video_and_a_recording_in_one_go(bag: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out, save = tmp_path / "x.mp4", tmp_path / "new" / "x.rrd"
    command = ["predict", "--checkpoint", str(tiny_checkpoint), "--bag", str(bag), "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, "--out", str(out), "--save", str(save)])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 1000
    assert len(read(save)["camera"]) == COUNT


def test_candidates_of_a_bag_and_chosen_leads(bag: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    save = tmp_path / "x.rrd"
    command = ["view", "--checkpoint", str(tiny_checkpoint), "--bag", str(bag), "--device", "cpu"]
    command += ["--candidates", "5", "--lead", "0.3", "--lead", "7", "--save", str(save)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found = read(save)
    assert {name for name in found if name.startswith("predicted/")} == {
        "predicted/lead_0.3s", "predicted/lead_0.8s",
    }  # fmt: skip
    wanted = [k for k in range(0, COUNT - 8) if k % 4 == 0]  # where the whole future was recorded
    assert [number(row.target_ns) for row in found["candidates/costs"]] == wanted
    assert all(len(row.value) == 5 and min(row.value) > 0.0 for row in found["candidates/costs"])
    pictures = found["candidates/last_frames"]
    assert [row.target_ns for row in pictures] == [row.target_ns for row in found["candidates/costs"]]


def test_costs_are_those_of_the_last_frames(tiny_checkpoint: Path, steps: list[Played]) -> None:
    predictor = Predictor.load(tiny_checkpoint, "cpu")
    predictor.observe(steps[0].frame, START, steps[0].action)
    actions = np.stack([steps[k].ahead for k in (0, 3, 6)])
    predictor.seed(7)
    last = predictor.predict(actions, frames="last")
    predictor.seed(7)
    goal = last[1]
    picture, costs = compared(predictor, actions, goal)
    np.testing.assert_allclose(costs, [np.mean((one / 255.0 - goal / 255.0) ** 2) for one in last])
    assert costs[1] == 0.0
    assert costs[0] > 0.0
    tile_width = picture.shape[1] // 4
    assert tile_width >= 256, "the goal and three candidates in a row"
    assert [grid([last[0]] * n).shape[0] // 32 for n in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]


def test_episodes_of_the_same_time_follow_each_other(
    bag: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    (episode,) = read_episodes(bag, SPEC)
    predictor, save = Predictor.load(tiny_checkpoint, "cpu"), tmp_path / "x.rrd"
    with opened(Sink(save=save)) as recording:
        runs: Iterator[Iterator[Played]] = written(predictor, [episode, episode], ViewLog(recording))
        assert [len(list(run)) for run in runs] == [COUNT, COUNT]
    found = read(save)
    stamps = [row.target_ns for row in found["camera"]]
    assert len(stamps) == 2 * COUNT
    gap = stamps[COUNT] - stamps[COUNT - 1]
    assert gap > 8 * STEP, "nothing predicted of one lies in the other"
    assert len(found["psnr/lead_0.8s/predicted"]) == 2 * (COUNT - 8)


def test_a_page_for_browsers(bag: Path, tiny_checkpoint: Path) -> None:
    port = next(
        port for port in range(20_000 + os.getpid() % 10_000, 32_000) if is_free(port) and is_free(port + 1)
    )
    sink = Sink(web=True, port=port)
    with opened(sink) as recording:
        ViewLog(recording).camera(START, make_frame(0))
        with urlopen(sink.address) as page:
            assert page.status == 200
            assert b"rerun" in page.read().lower()
        with pytest.raises(InputError, match=rf"port {sink.port}: expected one that nobody listens on"):
            sink.check()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"memory_limit": "lots"}, "memory limit: expected a number with a unit or a share, .* got 'lots'"),
        ({"save": Path("x.mp4")}, "x.mp4: expected a name ending in .rrd"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Sink(**change).check()
