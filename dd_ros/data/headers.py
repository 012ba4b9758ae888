# SPDX-License-Identifier: Apache-2.0
"""Sizes of encoded images from their first bytes, before anything is decoded: jpeg, png, webp, bmp, tiff."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Size = tuple[int, int]  # width, height
Order = Literal["little", "big"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# Markers of a jpeg: frame headers, which hold its size; those without a length; start of the pixels, end.
JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_BARE = {0x00, 0x01, *range(0xD0, 0xD8)}
JPEG_PIXELS = {0xD9, 0xDA}
TIFF_ORDERS: dict[bytes, Order] = {b"II*\0": "little", b"MM\0*": "big"}
TIFF_WIDTH, TIFF_HEIGHT = 256, 257
TIFF_SHORT, TIFF_LONG = 3, 4


def encoded_size(data: memoryview) -> Size | None:
    """Width and height in pixels, both above 0, that the header of an encoded image tells; None if it tells none."""
    for read in (jpeg_size, png_size, webp_size, bmp_size, tiff_size):
        size = read(data)
        if size is not None:
            return size if min(size) > 0 else None
    return None


def jpeg_size(data: memoryview) -> Size | None:
    """Width and height in the header of a jpeg; None if it is none, or has no size before its pixels."""
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xFF:
            position += 1  # stray bytes before a marker, which decoders skip
        elif marker in JPEG_BARE:
            position += 2
        elif marker in JPEG_SIZES:
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            return (width, height) if width and height else None
        elif marker in JPEG_PIXELS:
            return None
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return None


def png_size(data: memoryview) -> Size | None:
    """Width and height in the header of a png; None if it is none."""
    if len(data) < 24 or data[:8] != PNG_MAGIC:
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def webp_size(data: memoryview) -> Size | None:
    """Width and height of a webp of any of its three kinds; None if it is none."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") for at in (26, 28))
        return width & 0x3FFF, height & 0x3FFF
    return None


def bmp_size(data: memoryview) -> Size | None:
    """Width and height of a bmp, which may be stored upside down; None if it is none."""
    if len(data) < 26 or data[:2] != b"BM":
        return None
    if int.from_bytes(data[14:18], "little") == 12:  # the oldest kind
        return int.from_bytes(data[18:20], "little"), int.from_bytes(data[20:22], "little")
    width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
    return abs(width), abs(height)


def tiff_size(data: memoryview) -> Size | None:
    """Width and height of the first page of a tiff; None if it is none, or a page has other than the usual fields."""
    order = TIFF_ORDERS.get(bytes(data[:4]))
    if order is None:
        return None
    found = dict(_tiff_fields(data, order))
    return (found[TIFF_WIDTH], found[TIFF_HEIGHT]) if len(found) == 2 else None


def _tiff_fields(data: memoryview, order: Order) -> Iterator[tuple[int, int]]:
    """The fields width and height of the first page, as far as they are there."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], order)

    page = number(4, 4)
    for index in range(number(page, 2)):
        at = page + 2 + 12 * index
        if at + 12 > len(data):
            return
        field, kind = number(at, 2), number(at + 2, 2)
        if field in (TIFF_WIDTH, TIFF_HEIGHT) and kind in (TIFF_SHORT, TIFF_LONG):
            yield field, number(at + 8, 2 if kind == TIFF_SHORT else 4)
