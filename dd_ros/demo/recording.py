# SPDX-License-Identifier: Apache-2.0
"""What was predicted beside what came to pass, scored as it comes in. No ROS here.

Memory is bounded: scores are kept for the whole run, images for its last ``keep_seconds``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros.data.images import decode_rgb
from dd_ros.data.steps import StepClock
from dd_ros.evaluation.metrics import decibel

Image = NDArray[np.uint8]
T = TypeVar("T")
# Camera frames held while the predictor is still starting and its image size is unknown.
HELD_FRAMES = 64
# A prediction whose chunks or real frames have not all come this long after its last target is closed.
PATIENCE_NS = 2_000_000_000


class Piece(NamedTuple):
    """One chunk of a prediction as it was received.

    Attributes:
        stamp_ns: stamp of the last observed frame.
        step_ns: time of one model step.
        first_step: model steps from the observed frame to the first frame here (1 = next).
        chunk, chunks: number of this chunk (from 0), and of how many.
        frames: uint8 RGB [c, H, W, 3].
        late: [c], whether the time of each frame had passed at publication.
        published_ns: time of publication.
    """

    stamp_ns: int
    step_ns: int
    first_step: int
    chunk: int
    chunks: int
    frames: Image
    late: tuple[bool, ...]
    published_ns: int

    @property
    def horizon(self) -> int:
        """Frames of its whole prediction."""
        return self.chunks * len(self.frames)


class Moment(NamedTuple):
    """A prediction of K frames with what really happened: observed [H, W, 3], the others [K, H, W, 3].

    Attributes:
        missing: real frames that never came; they are grey.
        motion: difference of the last real frame to the observed one.
    """

    missing: int
    motion: float
    observed: Image
    real: Image
    predicted: Image


class Shown(NamedTuple):
    """A predicted frame [H, W, 3] for the video, and how many model steps ahead it was."""

    lead: int
    frame: Image


class Timeline(Generic[T]):
    """Values by time stamp (ns), found by the nearest stamp."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self._values: dict[int, T] = {}

    def add(self, stamp: int, value: T) -> None:
        if stamp not in self._values:
            insort(self.stamps, stamp)
        self._values[stamp] = value

    def nearest(self, stamp: int, tolerance: float) -> int | None:
        """Stamp nearest to ``stamp`` and at most ``tolerance`` ns away."""
        place = bisect_left(self.stamps, stamp)
        close = min(self.stamps[max(place - 1, 0) : place + 1], key=lambda s: abs(s - stamp), default=None)
        return None if close is None or abs(close - stamp) > tolerance else close

    def near(self, stamp: int, tolerance: float) -> T | None:
        """Value at the nearest stamp, if that is at most ``tolerance`` ns away."""
        close = self.nearest(stamp, tolerance)
        return None if close is None else self._values[close]

    def copy(self) -> Timeline[T]:
        """The same values in a timeline of its own."""
        other: Timeline[T] = Timeline()
        other.stamps, other._values = list(self.stamps), dict(self._values)
        return other

    def drop(self, stamp: int) -> None:
        """Forget the value of exactly this stamp, which is there."""
        del self._values[stamp]
        del self.stamps[bisect_left(self.stamps, stamp)]

    def drop_before(self, stamp: int) -> None:
        """Forget everything older than ``stamp``."""
        count = bisect_left(self.stamps, stamp)
        for old in self.stamps[:count]:
            del self._values[old]
        del self.stamps[:count]


@dataclass
class Recording:
    """Takes camera frames and predicted chunks; keeps scores, and images of the newest time.

    Predictions may differ in length: where time is short, the predictor leaves out far chunks.

    Args:
        keep_seconds: how much of the end is kept for the video.

    Attributes:
        horizon: frames of the longest prediction.
        lengths: how many predictions had so many frames.
    """

    keep_seconds: float = 60.0
    frames: Timeline[Image] = field(default_factory=Timeline)
    # Predicted frames by the time they are for, for each wanted lead in model steps.
    shown: dict[int, Timeline[Shown]] = field(default_factory=dict)
    first_chunk_ages: list[int] = field(default_factory=list)
    horizon_ages: list[int] = field(default_factory=list)
    late_frames: int = 0
    missed_chunks: int = 0
    chunks: int = 0
    incomplete: int = 0
    camera_frames: int = 0
    camera_steps: int = 0
    restarts: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    # PSNR in dB per scored prediction, as long as that was [K]; NaN where the real frame is missing.
    model_psnr: list[NDArray[np.float64]] = field(default_factory=list)
    copy_psnr: list[NDArray[np.float64]] = field(default_factory=list)
    best: Moment | None = None
    horizon: int = 0
    step_ns: int = 0
    size: tuple[int, int] | None = None
    began_ns: int = 0
    # Times of publication, first to last prediction.
    duration_ns: int = 0
    last_ns: int | None = None

    def __post_init__(self) -> None:
        self._held: deque[tuple[int, Any]] = deque(maxlen=HELD_FRAMES)
        self._open: dict[int, dict[int, Piece]] = {}
        self._clock: StepClock | None = None
        self._steps: deque[int] = deque()
        self._newest = 0

    @property
    def predictions(self) -> int:
        """Predictions of which at least the first chunk came."""
        return len(self.first_chunk_ages)

    @property
    def unpredicted_steps(self) -> int:
        """Model steps of the camera, between the first and the last prediction, without one."""
        return max(0, self.camera_steps - self.predictions)

    def frame(self, stamp_ns: int, message: Any) -> None:
        """Take a camera frame, an Image or CompressedImage message; InputError if it does not decode."""
        if self.size is None:
            decode_rgb(message, 1, 1)  # it will decode later, at the size that the first prediction tells
            self._held.append((stamp_ns, message))
            return
        rgb = decode_rgb(message, *self.size)
        if stamp_ns <= self._newest - PATIENCE_NS:
            self._start_anew()
        self.camera_frames += 1
        self._newest = max(self._newest, stamp_ns)
        self._step_taken(stamp_ns)
        self.frames.add(stamp_ns, rgb)
        self._score_due(stamp_ns)
        self._prune()

    def piece(self, piece: Piece) -> None:
        """Take a predicted chunk; the rest of a prediction that began before this recording is ignored."""
        if self.size is None:
            if piece.chunk:
                return
            self._begin(piece)
        if piece.horizon > self.horizon:
            self._extend(piece.horizon)
        age = piece.published_ns - piece.stamp_ns
        self.chunks += 1
        self.late_frames += sum(piece.late)
        self.missed_chunks += all(piece.late)
        if piece.chunk == 0:
            self.first_chunk_ages.append(age)
            self.lengths[piece.horizon] += 1
            self.last_ns = piece.stamp_ns
            self.duration_ns = piece.published_ns - self.began_ns
            self._count_steps()
        if piece.chunk == piece.chunks - 1:
            self.horizon_ages.append(age)
        self._open.setdefault(piece.stamp_ns, {})[piece.chunk] = piece
        self._keep_for_video(piece)

    def copy(self) -> Recording:
        """What was recorded so far, apart from what comes; images are shared."""
        other = copy(self)
        other.frames = self.frames.copy()
        other.shown = {lead: timeline.copy() for lead, timeline in self.shown.items()}
        other.first_chunk_ages, other.horizon_ages = list(self.first_chunk_ages), list(self.horizon_ages)
        other.lengths = Counter(self.lengths)
        other.model_psnr, other.copy_psnr = list(self.model_psnr), list(self.copy_psnr)
        other._open = {stamp: dict(pieces) for stamp, pieces in self._open.items()}
        return other

    def finish(self) -> None:
        """Score what can still be scored; a prediction still under way is left out."""
        newest = self._open.get(self.last_ns or 0, {})
        if newest and len(newest) < next(iter(newest.values())).chunks:
            del self._open[self.last_ns or 0]
        for stamp in sorted(self._open):
            self._score(stamp)

    def leads(self) -> tuple[int, int, int]:
        """Model steps of 1/4, 1/2 and the full horizon."""
        return max(1, self.horizon // 4), max(1, self.horizon // 2), self.horizon

    def _begin(self, piece: Piece) -> None:
        """The first chunk tells size and step; frames that waited for that come in now."""
        self.step_ns = piece.step_ns
        self._extend(piece.horizon)
        self.size = (piece.frames.shape[2], piece.frames.shape[1])
        self.began_ns = piece.published_ns
        self._clock = StepClock(1e9 / self.step_ns)
        while self._held:
            stamp, message = self._held.popleft()
            if stamp >= piece.stamp_ns:
                self.frame(stamp, message)

    def _extend(self, horizon: int) -> None:
        """A longer prediction than all before: its leads are shown from now on; what was shown keeps its own lead."""
        self.horizon = horizon
        self.shown = {lead: self.shown.get(lead, Timeline()) for lead in self.leads()}

    def _start_anew(self) -> None:
        """The camera's clock went back: what is open will never be complete."""
        self.restarts += 1
        self._open.clear()
        self._steps.clear()
        self.frames, self.shown = Timeline(), {lead: Timeline() for lead in self.leads()}
        self._newest = 0

    def _step_taken(self, stamp: int) -> None:
        assert self._clock is not None
        if self._clock.step_of(stamp) is not None:
            self._steps.append(stamp)

    def _count_steps(self) -> None:
        """Count the camera's model steps up to the newest prediction; later ones may yet get theirs."""
        assert self.last_ns is not None
        while self._steps and self._steps[0] <= self.last_ns:
            self.camera_steps += 1
            self._steps.popleft()

    def _keep_for_video(self, piece: Piece) -> None:
        """Keep for each time the frame whose lead is nearest to the wanted one, within a quarter horizon.

        Where the predictor skips steps, a time may have no prediction of exactly the wanted lead.
        """
        for index, frame in enumerate(piece.frames):
            lead = piece.first_step + index
            target = piece.stamp_ns + lead * piece.step_ns
            for wanted, timeline in self.shown.items():
                if abs(lead - wanted) >= self.horizon / 4 and lead != wanted:
                    continue
                before = timeline.near(target, piece.step_ns / 4)
                if before is None or abs(lead - wanted) <= abs(before.lead - wanted):
                    place = timeline.nearest(target, piece.step_ns / 4)
                    timeline.add(
                        target if place is None else place, Shown(lead, frame.copy())
                    )  # a view would keep the whole message

    def _score_due(self, now_ns: int) -> None:
        """Score predictions whose whole future is past."""
        for stamp, pieces in sorted(self._open.items()):
            any_piece = next(iter(pieces.values()))
            end = stamp + any_piece.horizon * self.step_ns
            complete = len(pieces) == any_piece.chunks
            if now_ns >= end + (self.step_ns // 4 if complete else PATIENCE_NS):
                self._score(stamp)

    def _score(self, stamp: int) -> None:
        pieces = self._open.pop(stamp)
        if len(pieces) < next(iter(pieces.values())).chunks:
            self.incomplete += 1
            return
        predicted = np.concatenate([pieces[number].frames for number in sorted(pieces)])
        observed = self.frames.near(stamp, self.step_ns / 4)
        if observed is None:
            return
        targets = [stamp + (k + 1) * self.step_ns for k in range(len(predicted))]
        real = [self.frames.near(target, self.step_ns / 4) for target in targets]
        if all(image is None for image in real):
            return
        self.model_psnr.append(np.array([_psnr(a, b) for a, b in zip(real, predicted, strict=True)]))
        self.copy_psnr.append(np.array([_psnr(a, observed) for a in real]))
        self._keep_moment(observed, real, predicted)

    def _keep_moment(self, observed: Image, real: list[Image | None], predicted: Image) -> None:
        """Remember the prediction with the largest motion, but rather a long one of which every frame came."""
        known = [image for image in real if image is not None]
        motion = float(cv2.norm(known[-1], observed, cv2.NORM_L2SQR))
        missing, best = len(real) - len(known), self.best
        rank = (len(real), -missing, motion)
        if best is None or rank > (len(best.real), -best.missing, best.motion):
            grey = np.full_like(observed, 128)
            shown = np.stack([grey if image is None else image for image in real])
            self.best = Moment(missing, motion, observed, shown, predicted)

    def _prune(self) -> None:
        kept = int(self.keep_seconds * 1e9) + self.horizon * self.step_ns + 2 * PATIENCE_NS
        self.frames.drop_before(self._newest - kept)
        for timeline in self.shown.values():
            timeline.drop_before(self._newest - kept)


def _psnr(real: Image | None, predicted: Image) -> float:
    """PSNR in dB as ``evaluation.metrics.psnr`` has it, faster; NaN without a real image."""
    if real is None:
        return float("nan")
    error = cv2.norm(real, predicted, cv2.NORM_L2SQR) / (real.size * 255.0**2)
    return float(decibel(np.array(error)))
