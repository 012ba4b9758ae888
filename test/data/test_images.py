# SPDX-License-Identifier: Apache-2.0
"""Every encoding, padded rows, byte order, 16 bits, what is refused; and reduced jpegs."""

from __future__ import annotations

import re
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import HEIGHT, PNG, WIDTH, smooth, textured
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dd_ros.data.images import (
    ENCODINGS,
    decode_bytes,
    decode_rgb,
    image_size,
    image_to_rgb,
    reduction,
    resize,
    rgb_to_image,
)
from dd_ros.errors import InputError

CHANNELS = {"rgb": (0, 1, 2), "bgr": (2, 1, 0), "8UC3": (2, 1, 0), "16UC3": (2, 1, 0)}
CHANNELS |= {"rgba": (0, 1, 2, 3), "bgra": (2, 1, 0, 3), "8UC4": (2, 1, 0, 3), "16UC4": (2, 1, 0, 3)}
BAYER = {
    "rggb": ((0, 1), (1, 2)),
    "bggr": ((2, 1), (1, 0)),
    "gbrg": ((1, 2), (0, 1)),
    "grbg": ((1, 0), (2, 1)),
}


def message(
    encoding: str, samples: NDArray[np.uint8 | np.uint16], padding: int = 0, big: bool = False
) -> Image:
    """Image message of samples [H, W(, C)], with padded rows and the byte order wanted."""
    if samples.dtype == np.uint16:
        samples = samples.astype(">u2" if big else "<u2")
    rows = np.ascontiguousarray(samples).reshape(HEIGHT, -1).view(np.uint8)
    padded = np.concatenate([rows, np.full((HEIGHT, padding), 170, np.uint8)], axis=1)
    return Image(
        height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=int(big), step=padded.shape[1],
        data=array("B", padded.tobytes()),
    )  # fmt: skip


def wide(samples: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """8 -> 16 bits, with low bytes that differ from the high ones so that swapped bytes show."""
    return np.clip(samples.astype(np.int64) * 257 + 100, 0, 65535).astype(np.uint16)


def encoded(encoding: str, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8 | np.uint16], NDArray[np.uint8]]:
    """Samples of ``rgb`` in that encoding, and the image they should give."""
    family = encoding.rstrip("0123456789").removesuffix("_")
    if encoding.startswith("bayer"):
        mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
        for (y, x), channel in np.ndenumerate(np.array(BAYER[encoding[6:10]])):
            mosaic[y::2, x::2] = rgb[y::2, x::2, channel]
        samples, wanted = mosaic, rgb
    elif "yuv" in encoding or encoding in ("uyvy", "yuyv"):
        yuv = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV).astype(np.float64)
        luma = 16 + yuv[..., 0] * 219 / 255  # OpenCV's 4:2:2 has video range, its YUV full range
        red = 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2]
        u = 128 + (rgb[..., 2] - red) * 0.5 / 0.886 * 224 / 255
        v = 128 + (rgb[..., 0] - red) * 0.5 / 0.701 * 224 / 255
        chroma = np.where(np.arange(WIDTH) % 2 == 0, u, v)
        pair = (luma, chroma) if encoding in ("yuv422_yuy2", "yuyv") else (chroma, luma)
        samples, wanted = np.stack(pair, axis=-1).round().astype(np.uint8), rgb
    elif encoding in ("mono8", "8UC1", "mono16", "16UC1"):
        samples, wanted = rgb[..., 1], np.repeat(rgb[..., 1:2], 3, axis=-1)
    else:
        order = CHANNELS.get(encoding) or CHANNELS[family]
        alpha = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
        samples, wanted = np.concatenate([rgb, alpha], axis=-1)[..., order], rgb
    return (wide(samples) if ENCODINGS[encoding][1] == 2 else samples), wanted


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_padding_and_byte_order(encoding: str, padding: int, big: bool) -> None:
    samples, wanted = encoded(encoding, smooth())
    got = image_to_rgb(message(encoding, samples, padding, big)).astype(int)
    inner = (slice(2, -2), slice(2, -2)) if ENCODINGS[encoding][0] < 3 else (slice(None), slice(None))
    interpolated = encoding.startswith("bayer") or ENCODINGS[encoding][0] == 2
    assert np.abs(got - wanted)[inner].max() <= (6 if interpolated else 1)


# OpenCV names a Bayer order by the second row's second and third pixel.
OPENCV = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "bgr8": cv2.COLOR_BGR2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", OPENCV)
def test_the_very_pixels_of_opencv(encoding: str, padding: int) -> None:
    channels, random = ENCODINGS[encoding][0], np.random.default_rng(1)
    samples = random.integers(0, 256, (HEIGHT, WIDTH, channels)[: 2 if channels == 1 else 3], np.uint8)
    wanted = cv2.cvtColor(samples, OPENCV[encoding])
    assert np.array_equal(image_to_rgb(message(encoding, samples, padding)), wanted)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("jpeg", ".jpg"),
        ("png", ".png"),
        ("rgb8; jpeg compressed bgr8", ".jpg"),
        ("bgr8; png compressed bgr8", ".png"),
        ("bayer_rggb8; jpeg compressed bgr8", ".jpg"),
        ("", ".jpg"),  # some drivers leave it empty: the data tells
    ],
)
def test_formats_of_compressed_images(text: str, suffix: str) -> None:
    data = cv2.imencode(suffix, smooth()[..., ::-1])[1]
    wanted = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    got = image_to_rgb(CompressedImage(format=text, data=array("B", data.tobytes())))
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_plain_encodings_are_views(encoding: str) -> None:
    samples, _ = encoded(encoding, smooth())
    msg = message(encoding, samples, padding=6)
    assert np.shares_memory(image_to_rgb(msg), np.frombuffer(msg.data, np.uint8))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.booleans())
def test_padded_rows_of_any_size(height: int, width: int, padding: int, last_row_cut: bool) -> None:
    rgb = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    rows = np.pad(rgb.reshape(height, -1), ((0, 0), (0, padding)))
    data = rows.tobytes()[: -padding if last_row_cut and padding else None]
    msg = Image(height=height, width=width, encoding="rgb8", step=rows.shape[1], data=array("B", data))
    assert np.array_equal(image_to_rgb(msg), rgb)


def test_round_trip_and_step_left_at_zero() -> None:
    header = Header(frame_id="camera")
    msg = rgb_to_image(smooth()[:, ::-1], header, Image)
    assert (msg.header.frame_id, msg.encoding, msg.step) == ("camera", "rgb8", 3 * WIDTH)
    msg.step = 0
    assert np.array_equal(image_to_rgb(msg), smooth()[:, ::-1])


def test_messages_of_a_bag_library() -> None:
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_JAZZY).types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    msg = rgb_to_image(smooth(), header, types["sensor_msgs/msg/Image"])
    assert np.array_equal(image_to_rgb(msg), smooth())


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("grey", [False, True])
def test_compressed(suffix: str, grey: bool) -> None:
    pixels = smooth()[..., 1] if grey else smooth()[..., ::-1]
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    got = image_to_rgb(CompressedImage(format=suffix[1:], data=array("B", data))).astype(int)
    wanted = np.repeat(smooth()[..., 1:2], 3, axis=-1) if grey else smooth()
    assert np.abs(got - wanted).max() <= (0 if suffix == ".png" else 12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "32FC1"}, ["encoding", "rgb8", "'32FC1'"]),
        ({"encoding": ""}, ["encoding", "''"]),
        ({"height": 0}, ["size", "32x0"]),
        ({"width": 0}, ["size", "0x24"]),
        ({"data": array("B", bytes(100))}, ["data", "2304", "100"]),
        ({"data": array("B")}, ["data", "got 0"]),
        ({"step": 50}, ["step", "96", "50"]),
        ({"encoding": "bayer_rggb8", "width": 31, "step": 96}, ["size", "31x24"]),
    ],
)
def test_bad_images_say_what_was_expected_and_what_came(changes: dict[str, object], words: list[str]) -> None:
    msg = message("rgb8", smooth())
    for name, value in changes.items():
        setattr(msg, name, value)
    with pytest.raises(InputError) as error:
        image_to_rgb(msg)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8 not an image", PNG[:40], PNG[:16] + b"\x7f\xff\xff\xff" * 2 + PNG[24:]],
    ids=["empty", "text", "cut off", "too large"],
)
def test_compressed_data_that_does_not_decode(data: bytes) -> None:
    message = CompressedImage(format="jpeg", data=array("B", data))
    for decode in (image_to_rgb, lambda message: decode_rgb(message, 8, 6)):
        with pytest.raises(InputError, match=f"got {len(data)} bytes of format 'jpeg'"):
            decode(message)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "rgb16", "bayer_rggb8"])
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (13, 9)])
def test_an_image_for_a_model_is_all_pixels_stretched(encoding: str, size: tuple[int, int]) -> None:
    samples, _ = encoded(encoding, smooth())
    msg = message(encoding, samples, padding=6)
    found = decode_rgb(msg, *size)
    assert np.array_equal(found, resize(image_to_rgb(msg), *size))
    assert found.flags.c_contiguous
    assert found.flags.owndata
    assert image_size(msg) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("whole", "size", "factor"),
    [
        ((256, 192), (128, 96), 2),  # a whole multiple
        ((1024, 768), (128, 96), 8),
        ((640, 480), (128, 96), 2),  # 2.5 times as long; a quarter would be 1.25 times
        ((1280, 720), (128, 80), 4),
        ((640, 192), (128, 96), 2),  # each side by its own
        ((160, 120), (128, 96), 1),
        ((256, 190), (128, 96), 1),  # smaller than wanted
        ((642, 481), (128, 96), 1),  # half a pixel would be left over
        ((128, 96), (128, 96), 1),
        ((64, 48), (128, 96), 1),
    ],
)
def test_a_jpeg_is_decoded_reduced_only_where_that_shows_what_all_pixels_show(
    whole: tuple[int, int], size: tuple[int, int], factor: int
) -> None:
    assert reduction(whole, size) == factor
    data = cv2.imencode(".jpeg", textured(*whole)[..., ::-1])[1].tobytes()
    found, pixels = decode_bytes(data, size), decode_bytes(data)
    assert found is not None
    assert pixels is not None
    expected = resize(pixels, *size)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected) == (factor == 1)
    assert cv2.PSNR(found, expected) > 42.0


def test_a_jpeg_that_fills_the_image_is_the_decoders_own_reduction() -> None:
    data = cv2.imencode(".jpeg", textured(256, 192))[1]
    expected = cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1]
    assert np.array_equal(decode_bytes(data.tobytes(), (128, 96)), expected)


@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bayer_rggb16", "png"])
def test_twelve_bits_in_sixteen_are_named_instead_of_black(encoding: str) -> None:
    samples = np.full((HEIGHT, WIDTH, 3), 4095, np.uint16)
    for brightest, words in ((4095, "got 4095 at most, which is black; "), (4096, "")):
        samples[:] = brightest
        if encoding == "png":
            msg: Image | CompressedImage = CompressedImage(
                format="png", data=array("B", cv2.imencode(".png", samples)[1].tobytes())
            )
        else:
            msg = message(encoding, samples if encoding == "rgb16" else samples[..., 0])
        if words:
            with pytest.raises(InputError, match=words):
                decode_rgb(msg, WIDTH, HEIGHT)
        else:
            assert decode_rgb(msg, WIDTH, HEIGHT).max() == 16


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("h264", b"\0\0\0\1\x67", "got packets of a video (h264); decode them first, as with `ros2 run"),
        ("", b"\0\0\1\x65", "got packets of a video (h264 or h265, not named); decode them first"),
        (
            "16UC1; compressedDepth png",
            b"\x89PNG",
            "got depth (16UC1; compressedDepth png); use the colour camera's",
        ),
        (
            "32FC1; compressedDepth rvl",
            b"\0",
            "got depth (32FC1; compressedDepth rvl); use the colour camera's",
        ),
    ],
)
def test_what_a_camera_topic_may_hold_instead_is_named_with_the_cure(
    kind: str, data: bytes, words: str
) -> None:
    """As a running node, which decodes no videos, meets it."""
    with pytest.raises(InputError, match=re.escape(words)):
        decode_rgb(CompressedImage(format=kind, data=array("B", data)), 8, 6)
