# SPDX-License-Identifier: Apache-2.0
"""What the headers of encoded images tell, and what is refused by them."""

from __future__ import annotations

import struct
import zlib
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_samples import PNG, textured
from sensor_msgs.msg import CompressedImage

from dd_ros.data.headers import encoded_size, jpeg_size
from dd_ros.data.images import (
    decode_bytes,
    decode_rgb,
    image_size,
    image_to_rgb,
)
from dd_ros.errors import InputError

SEGMENTS = st.lists(
    st.tuples(st.sampled_from([0xE0, 0xE1, 0xE2, 0xED, 0xFE]), st.binary(max_size=40)), max_size=4
)


@given(
    st.integers(1, 90), st.integers(1, 90), st.booleans(), st.booleans(), SEGMENTS, st.booleans(),
    st.integers(0, 3),
)  # fmt: skip
def test_the_header_of_a_jpeg_tells_what_decoding_it_gives(
    width: int, height: int, grey: bool, progressive: bool, segments: list[tuple[int, bytes]],
    thumbnail: bool, stuffing: int,
) -> None:  # fmt: skip
    pixels = textured(width, height)[..., 0] if grey else textured(width, height)
    data = cv2.imencode(".jpeg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()
    if thumbnail:  # a smaller jpeg in a segment of its own, as in EXIF data
        segments = [*segments, (0xE1, b"Exif\0\0" + cv2.imencode(".jpeg", textured(5, 4))[1].tobytes())]
    more = b"".join(
        bytes([0xFF] * (1 + stuffing) + [kind]) + (len(body) + 2).to_bytes(2, "big") + body
        for kind, body in segments
    )
    data = data[:2] + more + data[2:]
    assert jpeg_size(memoryview(data)) == (width, height)
    assert image_size(CompressedImage(format="jpeg", data=array("B", data))) == (width, height)
    decoded = decode_bytes(data)
    assert decoded is not None
    assert decoded.shape == (height, width, 3)


@given(st.binary(max_size=60), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", PNG[:8]]))
def test_a_header_of_any_bytes_is_no_surprise(tail: bytes, head: bytes) -> None:
    message = CompressedImage(format="jpeg", data=array("B", head + tail))
    found = jpeg_size(memoryview(head + tail))
    assert found is None or min(found) > 0
    with pytest.raises(InputError):
        decode_rgb(message, 8, 6)
    if found is None and head != PNG[:8]:
        with pytest.raises(InputError, match="do not decode"):
            image_size(message)


def test_sizes_of_other_formats() -> None:
    for suffix in (".png", ".bmp", ".webp", ".tiff"):
        data = cv2.imencode(suffix, textured(31, 17))[1]
        assert image_size(CompressedImage(format="", data=array("B", data.tobytes()))) == (31, 17)


def png_bomb(width: int, height: int, body: bytes = b"") -> bytes:
    """A png whose header promises that many pixels, and whatever follows."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(header))
    chunk = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    return PNG[:8] + struct.pack(">I", 13) + header + end + (chunk if body else b"") + PNG[-12:]


@pytest.mark.parametrize("body", [b"", zlib.compress(bytes(300_000_000), 1)], ids=["header", "inflates"])
def test_too_many_pixels_are_refused_by_the_header(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = png_bomb(*((20_000, 20_000) if body else (40_000, 40_000)), body)
    message = CompressedImage(format="png", data=array("B", data))
    decoded: list[object] = []
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: decoded.append(arguments))
    for decode in (image_to_rgb, lambda message: decode_rgb(message, 8, 6)):
        with pytest.raises(InputError, match=r"at most 33554432 pixels .*got \d+ bytes .*0000x\d0000"):
            decode(message)
    assert decode_bytes(data) is None
    assert not decoded


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_the_limit_counts_the_pixels_of_every_format(suffix: str) -> None:
    data = cv2.imencode(suffix, textured(64, 48))[1].tobytes()
    message = CompressedImage(format="", data=array("B", data))
    assert decode_rgb(message, 8, 6, most_pixels=64 * 48).shape == (6, 8, 3)
    with pytest.raises(InputError, match=r"at most 3071 pixels .* 64x48"):
        decode_rgb(message, 8, 6, most_pixels=64 * 48 - 1)


@pytest.mark.parametrize("quality", [50, 101])  # above 100 without loss, which is another kind of webp
@pytest.mark.parametrize("channels", [3, 4])
def test_every_kind_of_webp_tells_its_size(quality: int, channels: int) -> None:
    pixels = np.full((17, 31, channels), 90, np.uint8)
    data = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    assert encoded_size(memoryview(data)) == (31, 17)


@given(st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".tiff"]), st.data())
def test_changed_headers_are_no_surprise(suffix: str, draw: st.DataObject) -> None:
    data = bytearray(cv2.imencode(suffix, textured(9, 7))[1].tobytes())
    for at, value in draw.draw(st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=6)).items():
        data[at % len(data)] = value
    found = encoded_size(memoryview(bytes(data)))
    assert found is None or min(found) > 0
    pixels = decode_bytes(bytes(data), (8, 6), most_pixels=10_000)
    assert pixels is None or pixels.shape == (6, 8, 3)
