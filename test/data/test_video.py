# SPDX-License-Identifier: Apache-2.0
"""Packets of a video in a bag: each image is the right one, or there is none, and a word why."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")
from bag_writer import COMPRESSED, SPEC, START, STEP, TYPES, make, robot_messages, write_bag
from rosbags.typesys import get_types_from_msg
from video_packets import FFMPEG, FOXGLOVE, LIVE, encoded, number_in, video_messages

from dd_ros.data.bags import read_episodes
from dd_ros.data.stream_choice import choose_streams, choose_topics
from dd_ros.data.survey import inspect_bag
from dd_ros.errors import InputError
from dd_ros.report import Report
from dd_ros.streams import parse_actions
from dd_ros_training.data.index import index_bags

OPEN = {"g": "16", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}
HEVC = {"x265-params": "keyint=10:bframes=0:scenecut=0:log-level=none"}


def numbers(bag: Path, problems: Report | None = None) -> list[int]:
    """Numbers of the frames that are read, which those of their stamps must be; and so must training's."""
    found = []
    episodes = read_episodes(bag, SPEC, problems)
    indexed = index_bags([bag], SPEC, bag.parent / "cache")
    for episode, lazy in zip(episodes, indexed, strict=True):
        assert np.array_equal(lazy.frames(0, len(lazy)), episode.frames)
        for step in range(len(episode)):
            assert np.array_equal(lazy.frames(step, step + 1)[0], episode.frames[step]), step
        found += [number_in(frame) for frame in episode.frames]
        at = [(stamp - START) // STEP for stamp in episode.stamps]
        bridged = [a for a, b in zip(at, found[-len(at) :], strict=True) if a != b]
        assert all(found[-len(at) :][at.index(a)] == a - 1 for a in bridged), "one missed step is bridged"
    return found


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize(
    ("kind", "codec"),
    [(COMPRESSED, "h264"), (FFMPEG, "libx264"), (FFMPEG, "h264_nvenc;nv12;bgr8;bgr8"), (FOXGLOVE, "h264"),
     (COMPRESSED, "")],
)  # fmt: skip
def test_messages_of_every_kind(tmp_path: Path, storage: str, kind: str, codec: str) -> None:
    """Also from a sqlite3 file, which brings no definitions."""
    bag = write_bag(tmp_path / "bag", video_messages(encoded(24), kind, codec), storage)
    problems = Report()
    assert numbers(bag, problems) == list(range(24))
    assert not problems
    spec = choose_streams([bag], SPEC.image_topic, parse_actions(["/action"]), problems=problems)
    assert (spec.rate_hz, spec.width, spec.height) == (10.0, 96, 64)
    assert inspect_bag(bag).topic(SPEC.image_topic).detail == f"image 48x32 {codec or 'video'}"


def test_a_video_is_chosen_where_there_are_no_images(tmp_path: Path) -> None:
    video = video_messages(encoded(4), FFMPEG, "libx264", topic="/camera/ffmpeg")
    alone, both = write_bag(tmp_path / "a", video), write_bag(tmp_path / "b", [*video, *robot_messages(4)])
    assert choose_topics([inspect_bag(alone)], None, ())[0] == "/camera/ffmpeg"
    assert choose_topics([inspect_bag(both)], None, ())[0] == "/camera/image_raw"


@pytest.mark.parametrize(
    ("encoder", "codec", "options"),
    [("libx265", "h265", HEVC), ("libvpx", "vp8", {"g": "10", "lag-in-frames": "0"}),
     ("libvpx-vp9", "vp9", {"g": "10", "lag-in-frames": "0"}), ("mpeg4", "mpeg4", {"g": "10"}),
     ("libsvtav1", "av1", {"g": "10", "svtav1-params": "pred-struct=1:rc=2:lp=1"})],
)  # fmt: skip
def test_codecs(tmp_path: Path, encoder: str, codec: str, options: dict[str, str]) -> None:
    packets = encoded(22, encoder, **options)
    assert numbers(write_bag(tmp_path / "bag", video_messages(packets, COMPRESSED, codec))) == list(range(22))


@pytest.mark.parametrize(
    "options",
    [{"g": "12", "bf": "3", "sc_threshold": "0"}, OPEN, LIVE | {"g": "1000"}, LIVE | {"intra-refresh": "1"}],
    ids=["B frames", "open groups", "one key frame", "intra refresh"],
)
def test_orders_and_key_frames(tmp_path: Path, options: dict[str, str]) -> None:
    """Where packets come in another order than their frames, stamps are the frames'."""
    assert numbers(write_bag(tmp_path / "bag", video_messages(encoded(40, **options)))) == list(range(40))


def test_a_bag_that_begins_between_key_frames(tmp_path: Path) -> None:
    problems = Report()
    assert numbers(write_bag(tmp_path / "bag", video_messages(encoded(30)[6:])), problems) == list(
        range(10, 30)
    )
    (line,) = problems
    assert line == (
        f"{tmp_path / 'bag'} {SPEC.image_topic}: packet of a video (h264): expected a key frame and all packets since, "
        "whole, got less; left out up to the next key frame (4 times)"
    )


@pytest.mark.parametrize("options", [LIVE, HEVC], ids=["h264", "h265"])
def test_a_lost_packet_spoils_what_rests_on_it_and_no_more(tmp_path: Path, options: dict[str, str]) -> None:
    codec, encoder = ("h265", "libx265") if options is HEVC else ("h264", "libx264")
    packets = encoded(40, encoder, **options)
    problems = Report()
    bag = write_bag(tmp_path / "bag", video_messages(packets[:13] + packets[14:], COMPRESSED, codec))
    assert numbers(bag, problems) == [*range(13), *range(20, 40)]
    assert "(6 times)" in "".join(problems)


@pytest.mark.parametrize("damage", ["cut", "noise", "nothing"])
def test_a_damaged_packet_spoils_what_rests_on_it_and_no_more(tmp_path: Path, damage: str) -> None:
    packets = encoded(30, size=(240, 160))
    whole = packets[13].data
    half = len(whole) // 2
    packets[13].data = {"cut": whole[:half], "noise": whole[:half] + b"\xff\x13\x77" * 9, "nothing": b""}[
        damage
    ]
    problems = Report()
    assert numbers(write_bag(tmp_path / "bag", video_messages(packets)), problems) == [
        *range(13),
        *range(20, 30),
    ]
    assert problems


def nal_units(data: bytes) -> list[bytes]:
    return [unit.rstrip(b"\0") for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]]


def without_parameters(data: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in nal_units(data) if unit[0] & 31 not in (7, 8))


def test_parameters_that_come_once(tmp_path: Path) -> None:
    """Cameras that send them with the first packet, or in a message of their own, alone."""
    packets = encoded(35)
    later = [SimpleNamespace(data=without_parameters(p.data), number=p.number) for p in packets[1:]]
    assert numbers(write_bag(tmp_path / "a" / "bag", video_messages(packets[:1] + later))) == list(range(35))
    alone = b"".join(b"\0\0\0\1" + unit for unit in nal_units(packets[0].data) if unit[0] & 31 in (7, 8))
    first = SimpleNamespace(data=without_parameters(packets[0].data), number=0)
    messages = video_messages([SimpleNamespace(data=alone, number=0), first, *later])
    problems = Report()
    assert numbers(write_bag(tmp_path / "b" / "bag", messages), problems) == list(range(35))
    assert not problems


def test_a_recording_in_two_files_goes_on_in_the_second(tmp_path: Path) -> None:
    messages = video_messages(encoded(30))
    for part, found in enumerate((messages[:30], messages[30:])):
        write_bag(tmp_path / f"part_{part}", found)
        (file,) = (tmp_path / f"part_{part}").glob("*.mcap")
        (tmp_path / "bag").mkdir(exist_ok=True)
        shutil.move(file, tmp_path / "bag" / f"bag_{part}.mcap")
    problems = Report()
    assert numbers(tmp_path / "bag", problems) == list(range(30))
    assert len(problems) == 1, "no metadata"


def test_a_size_that_changes(tmp_path: Path) -> None:
    first, second = encoded(12), encoded(12, size=(96, 64))
    for place, packet in enumerate(second, 12):
        packet.number = place
    problems = Report()
    episodes = read_episodes(write_bag(tmp_path / "bag", video_messages(first + second)), SPEC, problems)
    assert [number_in(frame) for e in episodes for frame in e.frames] == [*range(12), *range(12)]
    assert "expected images of 48x32 pixels as before, got 96x64" in "".join(problems)


@pytest.mark.parametrize(
    ("kind", "codec", "reason"),
    [(FFMPEG, "hevc;gray12;mono16;16UC1", "got depth (hevc;gray12;mono16;16UC1); use the colour camera"),
     (FFMPEG, "prores_ks", "expected one of h264, "),
     (COMPRESSED, "h265", "expected a key frame and all packets since"),
     (COMPRESSED, "h264 without start codes", "expected a key frame and all packets since")],
)  # fmt: skip
def test_what_is_no_such_video(tmp_path: Path, kind: str, codec: str, reason: str) -> None:
    packets = encoded(12)
    if "without start codes" in codec:  # as in mp4 files: lengths
        for packet in packets:
            found = nal_units(packet.data)
            packet.data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in found)
    bag = write_bag(tmp_path / "bag", video_messages(packets, kind, codec))
    for look in (
        lambda: read_episodes(bag, SPEC),
        lambda: choose_streams([bag], SPEC.image_topic, parse_actions(["/action"]), problems=Report()),
    ):
        with pytest.raises(InputError, match=re.escape(reason)) as error:
            look()
        assert str(bag) in str(error.value)


def test_more_pixels_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dd_ros.data.video.MOST_PIXELS", 47 * 32)
    with pytest.raises(InputError, match="expected a key frame"):
        read_episodes(write_bag(tmp_path / "bag", video_messages(encoded(12))), SPEC)


def test_without_pyav_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    bag = write_bag(tmp_path / "bag", video_messages(encoded(12)))
    with pytest.raises(
        InputError, match=r"expected PyAV, which is not installed; run 'make setup' .* '\.\[video\]'"
    ):
        read_episodes(bag, SPEC)


def test_theora_is_named_with_the_cure(tmp_path: Path) -> None:
    kind = "theora_image_transport/msg/Packet"
    text = (
        "std_msgs/Header header\nuint8[] data\nint32 b_o_s\nint32 e_o_s\nint64 granulepos\nint64 packetno\n"
    )
    TYPES.register(get_types_from_msg(text, kind))
    messages = video_messages(encoded(4))
    for place, (topic, _, sent, message) in enumerate(messages):
        if topic == SPEC.image_topic:
            packet = make(
                kind, header=message.header, data=message.data, b_o_s=0, e_o_s=0, granulepos=0, packetno=place
            )
            messages[place] = (topic, kind, sent, packet)
    bag = write_bag(tmp_path / "bag", messages)
    for look in (
        lambda: read_episodes(bag, SPEC),
        lambda: choose_streams([bag], SPEC.image_topic, parse_actions(["/action"]), problems=Report()),
    ):
        with pytest.raises(InputError, match=r"theora_image_transport/msg/Packet.*republish theora raw"):
            look()
