# SPDX-License-Identifier: Apache-2.0
"""Real LeRobot data sets of both versions, whole and damaged, written here and read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot_writer import CAMERA, Writer, number_in

from dd_ros.data.bags import find_bags
from dd_ros.data.commands import ActionBuffer, JoinedActions
from dd_ros.data.images import resize
from dd_ros.data.lerobot import LeRobotEpisode, LeRobotReader, LeRobotSet, index_bag, read_bag
from dd_ros.data.lerobot.episodes import read_episode, reader_at
from dd_ros.data.steps import Episode, StepClock, due_images, episode_of, model_steps, part_name
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import StreamSpec, parse_actions

SPEC = StreamSpec(image_topic=CAMERA, actions=parse_actions(["action"]), rate_hz=10.0, width=48, height=32)
KINDS = [("v2.1", "video"), ("v2.1", "image"), ("v3.0", "video"), ("v3.0", "image")]


def read_episodes(path: Path, spec: StreamSpec, problems: Report | None = None) -> Iterator[Episode]:
    """All episodes of a set, one by one."""
    problems = Report() if problems is None else problems
    reader = reader_at(path, spec)
    problems.update(reader.data.problems)
    for number in reader.lengths:
        yield from read_episode(reader, number, spec, problems=problems)


def index_episodes(path: Path, spec: StreamSpec, problems: Report) -> list[LeRobotEpisode]:
    problems.update(reader_at(path, spec).data.problems)
    return [episode for bag in find_bags([path]) for episode in index_bag(bag, spec, problems)]


def reader_of(path: Path, actions: tuple[str, ...] = ("action",)) -> LeRobotReader:
    return LeRobotReader(LeRobotSet(path), CAMERA, actions)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    version, dtype = request.param
    return Writer(tmp_path_factory.mktemp("sets") / "lift", version=version, dtype=dtype, per_file=2).write()


def test_everything_comes_back(folder: Path) -> None:
    reader = reader_of(folder)
    assert (reader.fps, reader.lengths, reader.dim) == (30.0, {0: 40, 1: 30, 2: 50}, 3)
    assert reader.names == ("lift", "turn", "grip")
    for episode, length in reader.lengths.items():
        times = np.arange(length)
        actions = reader.actions(episode)
        assert actions.dtype == np.float32
        assert np.array_equal(actions, np.stack([0 * times + episode, times, -times], 1))
        stamps = reader.stamps(episode)
        assert stamps.dtype == np.int64
        assert np.abs(stamps - times * 1e9 / 30).max() < 1000
        frames = list(reader.frames(episode, 0, length))
        assert [number_in(frame) for frame in frames] == [100 * episode + t for t in range(length)]
        assert {(frame.dtype.name, frame.shape) for frame in frames} == {("uint8", (64, 96, 3))}


def test_any_part_of_an_episode(folder: Path) -> None:
    reader = reader_of(folder)
    for start, stop in [(0, 1), (13, 17), (29, 30), (7, 7), (10, 30)]:
        found = [number_in(frame) for frame in reader.frames(1, start, stop)]
        assert found == list(range(100 + start, 100 + stop))


def test_colours_are_red_green_blue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orange = np.full((64, 96, 3), (250, 120, 10), np.uint8)
    monkeypatch.setattr("lerobot_writer.image", lambda number: orange)
    reader = reader_of(Writer(tmp_path / "video", lengths=[4]).write())
    assert np.abs(next(reader.frames(0, 0, 1)).astype(int) - orange).max() < 12
    monkeypatch.setattr("lerobot_writer.image", lambda number: orange[..., ::-1])  # OpenCV writes BGR
    reader = reader_of(Writer(tmp_path / "image", lengths=[4], dtype="image").write())
    assert np.array_equal(next(reader.frames(0, 0, 1)), orange)


@pytest.mark.parametrize(
    ("chosen", "names", "values"),
    [
        (["action"], ("lift", "turn", "grip"), [1, 5, -5]),
        (["action[1:3]"], ("turn", "grip"), [5, -5]),
        (["action[:2]"], ("lift", "turn"), [1, 5]),
        (["action[2]"], ("grip",), [-5]),
        (["action[0]", "observation.state"], ("lift", "observation.state[0]", "observation.state[1]"), [1, 2.5, 7]),
    ],
)  # fmt: skip
def test_chosen_actions(folder: Path, chosen: list[str], names: tuple[str, ...], values: list[float]) -> None:
    reader = reader_of(folder, tuple(chosen))
    assert reader.names == names
    assert reader.actions(1)[5].tolist() == values


@pytest.mark.parametrize("steps", [2, -1])
def test_a_lag_puts_commands_beside_other_images(folder: Path, steps: int) -> None:
    late = SPEC.model_copy(update={"action_lag_s": 0.1 * steps})
    (plain, *_), (read, *_) = list(read_episodes(folder, SPEC)), list(read_episodes(folder, late))
    indexed = index_episodes(folder, late, Report())[0]
    first = plain.stamps[0] + late.action_lag_ns
    for episode in (read, indexed):
        assert abs(episode.stamps[0] - max(0, first)) < 1000, (
            "commands of images before the first there are none"
        )
        known = dict(zip(np.round(plain.stamps / 1e8).astype(int), plain.actions.tolist(), strict=True))
        wanted = [known.get(step - steps) for step in np.round(episode.stamps / 1e8).astype(int)]
        compared = [
            (action, there) for action, there in zip(episode.actions.tolist(), wanted, strict=True) if there
        ]
        assert len(compared) >= len(plain) - 2
        assert all(action == there for action, there in compared)


def test_unknown_names_list_what_there_is(folder: Path) -> None:
    data = LeRobotSet(folder)
    with pytest.raises(
        InputError, match=rf"lift: no images /camera; it holds {CAMERA}: choose one with --image-topic$"
    ):
        LeRobotReader(data, "/camera")
    for text in ("/cmd_vel", CAMERA, "action[a]", ""):
        with pytest.raises(InputError, match=r"lift: no numbers .*; it holds action, observation.state, "):
            LeRobotReader(data, CAMERA, [text])
    for text in ("action[3]", "action[0:4]", "action[2:2]", "action[-4]"):
        with pytest.raises(InputError, match=r"action\[.*expected a range within the 3 values of action$"):
            LeRobotReader(data, CAMERA, [text])


def test_a_slower_model_takes_every_third_frame(folder: Path) -> None:
    problems = Report()
    episodes = list(read_episodes(folder, SPEC, problems))
    assert not problems
    assert [(e.name, len(e)) for e in episodes] == [
        ("lift/episode_000000", 13), ("lift/episode_000001", 9), ("lift/episode_000002", 16),
    ]  # fmt: skip
    for number, episode in enumerate(episodes):
        taken = np.arange(3, 3 * len(episode) + 3, 3)  # the first frame is due, and has no command yet
        assert [number_in(frame) for frame in episode.frames] == (100 * number + taken).tolist()
        assert episode.frames.shape[1:] == (32, 48, 3)
        assert episode.actions[:, 1].tolist() == (taken - 1).tolist()  # sent after the frame before
        assert np.abs(episode.stamps - taken * 1e9 / 30).max() < 1000


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["action[1:3]"], [5, -5]),
        (["observation.state"], [2.5, 7]),
        (["observation.state[1]", "action"], [7, 0, 5, -5]),
        (["observation.state[1],state[0]"], [7, 2.5]),
    ],
)
def test_actions_as_on_the_command_line(folder: Path, texts: list[str], values: list[float]) -> None:
    # Several topics must say how many values each has.
    sources = [source.model_copy(update={"dim": 1}) for source in parse_actions(texts)]
    spec = StreamSpec(image_topic=CAMERA, actions=tuple(sources), rate_hz=10.0, width=48, height=32)
    assert next(read_episodes(folder, spec)).actions[1].tolist() == values


DISTANCES = st.lists(st.sampled_from([1, 1, 1, 1, 2, 5, 40]), min_size=8, max_size=60)


@settings(max_examples=15)
@given(DISTANCES, st.sampled_from([5.0, 10.0, 12.0, 15.0, 30.0, 45.0]))
def test_only_frames_that_are_due_are_decoded_and_nothing_else_changes(
    tmp_path_factory: pytest.TempPathFactory, distances: list[int], rate: float
) -> None:
    # Against the slow way: decode every frame and let the clock choose.
    times = (np.cumsum(distances) / 30).astype(np.float32)
    writer = Writer(tmp_path_factory.mktemp("gaps") / "set", lengths=[len(distances)])
    writer.columns[0, "timestamp"] = times.tolist()
    reader = reader_of(writer.write())
    spec = SPEC.model_copy(update={"rate_hz": rate})
    problems = Report()
    episodes = read_episode(reader, 0, spec, problems=problems)
    assert not problems
    stamps, commands = reader.stamps(0).tolist(), ActionBuffer(3)
    for stamp, action in zip(stamps, reader.actions(0), strict=True):
        commands.push(stamp + 1, action)
    frames = reader.frames(0, 0, len(stamps))
    sized = (
        (stamp, resize(frame, spec.width, spec.height)) for stamp, frame in zip(stamps, frames, strict=True)
    )
    runs = model_steps(due_images(sized, StepClock(rate)), JoinedActions([commands]), rate)
    expected = [episode_of(run, part_name("set/episode_000000", index)) for index, run in enumerate(runs)]
    assert [episode.name for episode in episodes] == [episode.name for episode in expected]
    for episode, wanted in zip(episodes, expected, strict=True):
        assert np.array_equal(episode.frames, wanted.frames)
        assert np.array_equal(episode.actions, wanted.actions)
        assert np.array_equal(episode.stamps, wanted.stamps)
    indexed = index_episodes(reader.path, spec, problems)
    assert not problems
    assert [episode.name for episode in indexed] == [episode.name for episode in expected]
    for found, wanted in zip(indexed, expected, strict=True):
        assert np.array_equal(found.actions, wanted.actions)
        assert np.array_equal(found.stamps, wanted.stamps)
        for start, stop in ((0, len(found)), (len(found) // 2, len(found))):
            assert np.array_equal(found.frames(start, stop), wanted.frames[start:stop])
        part = found.part(1, len(found))
        assert len(part) == 0 or np.array_equal(part.frames(0, 1), wanted.frames[1:2])


def spoil(file: Path, keep: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole))])


@pytest.mark.parametrize("keep", [None, 0.0, 0.5], ids=["missing", "empty", "cut off"])
@pytest.mark.parametrize(
    ("version", "dtype", "kind"),
    [*((*kind, "parquet") for kind in KINDS), ("v2.1", "video", "mp4"), ("v3.0", "video", "mp4")],
)
def test_a_damaged_file_is_named_and_the_rest_is_used(
    tmp_path: Path, version: str, dtype: str, kind: str, keep: float | None
) -> None:
    folder = Writer(tmp_path / "set", (12, 12, 12, 12), version, dtype, per_file=2).write()
    files = sorted(file for file in folder.rglob(f"*.{kind}") if "meta" not in file.parts)
    file = files[-1]
    lost = ["set/episode_000002", "set/episode_000003"][-1 if version == "v2.1" else 0 :]
    if keep is None:
        file.unlink()
    else:
        spoil(file, keep)
    missing = f"{folder}: {len(lost)} of 4 episodes are not here (such as {file})"
    absent = [missing] if keep is None else []
    problems = Report()
    names = [episode.name for episode in read_episodes(folder, SPEC, problems)]
    assert names == [f"set/episode_{number:06d}" for number in range(4 - len(lost))]
    assert [entry.text for entry in problems.entries][: len(absent)] == absent
    read = problems.entries[len(absent) :]
    assert sum(entry.times for entry in read) == len(lost)
    assert all(entry.line.startswith(f"{file}: ") and "\n" not in entry.line for entry in read)
    problems = Report()
    assert [episode.name for episode in index_episodes(folder, SPEC, problems)] == names
    assert sum(entry.times for entry in problems.entries) == (len(absent) or len(lost))
    for other in set(files) - {file}:
        other.unlink()
    for bag in (folder / f"episode_{number:06d}" for number in range(4)):
        with pytest.raises(InputError, match=rf"{bag.name}: no usable step; .*(episode_|file-)"):
            read_bag(bag, SPEC, Report())


def test_a_video_that_ends_early_gives_its_beginning(tmp_path: Path) -> None:
    folder = Writer(tmp_path / "set", (30,)).write()
    longer = Writer(tmp_path / "longer", (40,)).write()
    (table,) = (folder / "data").rglob("*.parquet")
    (long_table,) = (longer / "data").rglob("*.parquet")
    table.write_bytes(long_table.read_bytes())
    problems = Report()
    (episode,) = read_episodes(folder, SPEC, problems)
    assert [number_in(frame) for frame in episode.frames] == list(range(3, 30, 3))
    (problem,) = problems
    assert problem.endswith(
        f"episode_000000.mp4: episode 0: 4 of 13 frames of {CAMERA} are missing or damaged"
    )
    frames = reader_of(folder).frames(0, 0, 40)
    assert [number_in(next(frames)) for _ in range(30)] == list(range(30))
    with pytest.raises(InputError, match="10 of 40 frames"):
        next(frames)


def test_an_image_that_does_not_decode_is_a_missed_step(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "set", (40,), dtype="image")
    writer.columns[0, CAMERA] = [writer._png(t) if t != 9 else {"bytes": b"?", "path": ""} for t in range(40)]
    problems = Report()
    (episode,) = read_episodes(writer.write(), SPEC, problems)
    assert [number_in(frame) for frame in episode.frames] == [3, 6, 6, *range(12, 40, 3)]
    assert len(problems) == 1
    assert "episode 0: 1 of 13 frames" in problems.lines()[0]
    with pytest.raises(InputError, match=f"episode 0: no frame 9 of {CAMERA}"):
        list(reader_of(tmp_path / "set").frames(0, 0, 20))


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("action", [[1.0, 2.0]] * 12, "expected 3 numbers of action per row"),
        ("action", [[1.0, 2.0, None]] * 12, "12 of 12 actions hold NaN"),
        ("action", [[1.0, 2.0, 3.0]] * 11 + [[1.0]], "expected 3 numbers of action per row"),
        ("timestamp", [0.0] * 12, "expected timestamps that increase"),
        ("timestamp", ["now"] * 12, "expected 1 numbers of timestamp per row"),
    ],
)
def test_unusable_columns(tmp_path: Path, column: str, values: list[object], problem: str) -> None:
    writer = Writer(tmp_path / "set", (12, 12), columns={(0, column): values})
    problems = Report()
    assert [episode.name for episode in read_episodes(writer.write(), SPEC, problems)] == [
        "set/episode_000001"
    ]
    assert any(problem in line and "episode" in line for line in problems)


def test_single_bad_actions_are_left_out(tmp_path: Path) -> None:
    actions = [[0.0, float(t), float("nan") if t == 20 else 0.0] for t in range(40)]
    problems = Report()
    writer = Writer(tmp_path / "set", (40,), columns={(0, "action"): actions})
    (episode,) = read_episodes(writer.write(), SPEC.model_copy(update={"rate_hz": 30.0}), problems)
    assert episode.actions[:, 1].tolist() == [t if t != 20 else 19 for t in range(39)]
    assert list(problems) == [
        f"{tmp_path}/set/episode_000000: 1 of 40 actions hold NaN or infinity; left out"
    ]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "set", (12,))
    writer.write()
    for file in (tmp_path / "set/data").rglob("*.parquet"):
        writer._save(writer.table([0]).drop_columns(["action"]), str(file.relative_to(writer.path)))
    with pytest.raises(InputError, match=r"episode_000000.parquet: no column action$"):
        read_bag(tmp_path / "set" / "episode_000000", SPEC, Report())
