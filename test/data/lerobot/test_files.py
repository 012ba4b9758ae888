# SPDX-License-Identifier: Apache-2.0
"""Seeking in real videos of many encodings, against decoding them from the beginning."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lerobot_writer import number_in, write_video

from dd_ros.data.lerobot.files import parquet, video_frames
from dd_ros.errors import InputError

FPS, LENGTH = 30, 90
ENCODINGS = {
    "h264 as LeRobot writes it": ("libx264", {}),
    "h264 with B frames": ("libx264", {"g": "24", "bf": "3", "sc_threshold": "0"}),
    "h264 with open groups": ("libx264", {"g": "16", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "h264 with one key frame": ("libx264", {"g": "1000"}),
    "mpeg4": ("mpeg4", {"g": "12", "bf": "2"}),
    "av1": ("libsvtav1", {"preset": "12"}),
}


@pytest.fixture(scope="module", params=ENCODINGS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, options = ENCODINGS[request.param]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    write_video(path, range(LENGTH), FPS, codec, **options)
    return path


@pytest.fixture(scope="module")
def sequential(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def at(video: Path, numbers: list[int], shift: float = 0.0) -> list[tuple[int, np.ndarray]]:
    times = [number / FPS + shift for number in numbers]
    return [(numbers[position], rgb) for position, rgb in video_frames(video, times, 0.5 / FPS)]


def test_every_frame_can_be_sought(video: Path, sequential: list[np.ndarray]) -> None:
    assert len(sequential) == LENGTH
    assert [number_in(rgb) for rgb in sequential] == list(range(LENGTH))
    for number in range(LENGTH):
        ((found, rgb),) = at(video, [number])
        assert found == number
        assert np.array_equal(rgb, sequential[number]), number


@given(st.sets(st.integers(0, LENGTH - 1), min_size=1, max_size=20), st.floats(-0.4, 0.4))
def test_any_frames_in_order(
    video: Path, sequential: list[np.ndarray], numbers: set[int], shift: float
) -> None:
    found = at(video, sorted(numbers), shift / FPS)
    assert [number for number, _ in found] == sorted(numbers)
    assert all(np.array_equal(rgb, sequential[number]) for number, rgb in found)


def test_times_without_a_frame_are_left_out(video: Path) -> None:
    assert [number for number, _ in at(video, [-2, -1, 0, 5, 89, 90, 200])] == [0, 5, 89]
    assert at(video, [90, 200]) == []


def test_a_video_with_missing_frames(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in (0, 1, 2, 6, 7, 8):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 20 * number, np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = at(path, list(range(9)))
    assert [number for number, _ in found] == [0, 1, 2, 6, 7, 8]
    assert [round(rgb.mean() / 20) for _, rgb in found] == [0, 1, 2, 6, 7, 8]


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    for content in (None, b"", b"text" * 100):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"video.mp4: cannot be read as video \("):
            at(path, [0])
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        container.mux(container.add_stream("aac", rate=8000).encode(None))
    with pytest.raises(InputError, match=r"sound.mp4: cannot be read as video \("):
        at(sound, [0])


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"text" * 100)
    for name, problem in (
        ("none", "no such file"),
        ("table", "cannot be read as parquet"),
        (".", "cannot be read"),
    ):
        with pytest.raises(InputError, match=problem), parquet(tmp_path / name):
            pass


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.mp4", range(4), 10)
    playlist = tmp_path / "episode.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(InputError, match=r"episode\.m3u8: cannot be read as video"):
        list(video_frames(playlist, [0.0], 0.05))
