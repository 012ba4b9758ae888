# SPDX-License-Identifier: Apache-2.0
"""What decoders of H.264 and H.265 do not tell: which packets hold no image, and where one was lost on the way.

A decoder of H.264 makes up what a lost packet held, without a word, and everything up to the next key frame is wrong.
Frames that others rest on are numbered in the stream (ITU-T H.264, 7.4.3: ``frame_num``), so a gap shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

START_CODE = re.compile(rb"\x00\x00\x01")
SLICE, IDR_SLICE, PARAMETERS = 1, 5, 7  # types of H.264's units; 2 to 4 are parts of slices
H265_PICTURES = range(32)  # types of H.265's units that hold a part of an image
# Profiles whose parameters say more about colours (7.3.2.1.1).
HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
HEAD = 64  # bytes of a unit that are looked at


class Bits:
    """Bits of a unit, without the bytes that keep start codes out of it.

    Raises IndexError beyond the end.
    """

    def __init__(self, unit: bytes):
        self._bytes, self._at = unit.replace(b"\0\0\3", b"\0\0"), 0

    def take(self, count: int = 1) -> int:
        """The next ``count`` bits as a number."""
        value = 0
        for at in range(self._at, self._at + count):
            value = 2 * value + (self._bytes[at // 8] >> 7 - at % 8 & 1)
        self._at += count
        return value

    def golomb(self) -> int:
        """The next number of variable length, 0 or more."""
        zeros = 0
        while not self.take():
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        number = self.golomb()
        return (number + 1) // 2 if number % 2 else -number // 2


@dataclass(frozen=True)
class Numbering:
    """How the frames of an H.264 stream are numbered: modulo ``2**bits``; whether there may be gaps; colour planes apart."""

    bits: int
    gaps: bool
    planes: bool


def units(packet: bytes) -> Iterator[bytes]:
    """Beginnings of the units of a packet."""
    for found in START_CODE.finditer(packet):
        yield packet[found.end() : found.end() + HEAD]


def has_image(packet: bytes, codec: str) -> bool:
    """Whether a packet of ``codec`` (h264, hevc) holds more than parameters; True where that is not known."""
    found = [unit[0] for unit in units(packet) if unit]
    if codec == "h264" and found:
        return any(SLICE <= first & 31 <= IDR_SLICE for first in found)
    return codec != "hevc" or not found or any(first >> 1 & 63 in H265_PICTURES for first in found)


def numbering(unit: bytes) -> Numbering:
    """What the parameters of a sequence say; IndexError where they break off."""
    bits = Bits(unit[1:])
    profile, planes = bits.take(8), False
    bits.take(16)
    bits.golomb()
    if profile in HIGH:
        chroma = bits.golomb()
        planes = bool(bits.take()) if chroma == 3 else False
        bits.golomb()
        bits.golomb()
        bits.take()
        if bits.take():
            for number in range(12 if chroma == 3 else 8):
                if bits.take():
                    skip_scaling(bits, 16 if number < 6 else 64)
    length = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take()
        bits.signed_golomb()
        bits.signed_golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.signed_golomb()
    bits.golomb()
    return Numbering(length, bool(bits.take()), planes)


def skip_scaling(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last


class FrameNumbers:
    """Follows the numbers of an H.264 stream's frames, packet by packet."""

    def __init__(self) -> None:
        self._numbering: Numbering | None = None
        self._newest: int | None = None  # number of the newest frame that others may rest on

    def lost_before(self, packet: bytes) -> bool:
        """Whether a frame that this packet's may rest on is missing before it."""
        try:
            return any([self._lost_before(unit) for unit in units(packet) if unit])
        except IndexError:  # it breaks off: the decoder says so
            return False

    def _lost_before(self, unit: bytes) -> bool:
        kind, rests_on_it = unit[0] & 31, unit[0] >> 5 & 3
        if kind == PARAMETERS:
            self._numbering = numbering(unit)
        known, newest = self._numbering, self._newest
        if kind not in (SLICE, IDR_SLICE) or known is None:
            return False
        bits = Bits(unit[1:])
        first = bits.golomb() == 0
        bits.golomb()
        bits.golomb()
        if known.planes:
            bits.take(2)
        number = bits.take(known.bits)
        if not first:
            return False
        if rests_on_it or kind == IDR_SLICE:
            self._newest = number
        expected = (newest, None if newest is None else (newest + 1) % (1 << known.bits))
        return kind == SLICE and newest is not None and not known.gaps and number not in expected
