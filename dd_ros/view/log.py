# SPDX-License-Identifier: Apache-2.0
"""What is seen, predicted, commanded and said -> entities of a rerun recording.

Two timelines: on ``target_time`` everything lies at the time it is for, so that a predicted frame meets the camera frame
of its time; on ``capture_time`` at the stamp of the observed frame it rests on, so that one sees all that was expected at
a moment. Images are jpeg at the model's size, so a recording of hours stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros.evaluation.metrics import psnr
from dd_ros.view.layout import blueprint, colour, lead_name
from dd_ros.view.seen import Image, Pair, Predicted, Seen, steps_of

TARGET_TIME, CAPTURE_TIME = "target_time", "capture_time"
# Colours keep their pixels: at the size of a model there are few.
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
# Brightening of the error images, so that people see small errors.
ERROR_GAIN = 2.0
ABOUT = f"""
On **{TARGET_TIME}** everything lies at the time it is for: beside each camera frame stand the frames that had been
predicted for that very moment, and below them their errors, {ERROR_GAIN:g} times as bright.

On **{CAPTURE_TIME}** everything lies at the time of the camera frame it was predicted from: what was expected at a moment.
"""
LEVELS = ("INFO", "WARN", "ERROR")  # of diagnostics -> of the log


class ViewLog:
    """Writes into a recording; one thread calls it.

    Args:
        recording: of rerun, as ``view.sinks.opened`` gives it.
        leads: seconds ahead of the predicted frames to show; empty: a quarter, a half and the whole horizon.
        live: whether the viewer follows the newest data, instead of playing from the start.
        candidates: whether there will be candidates.

    Attributes:
        size: width and height of predicted frames; None before the first.
        newest_ns: newest stamp of a camera frame or of the one behind a prediction; 0 before the first.
    """

    def __init__(
        self, recording: Any, *, leads: Sequence[float] = (), live: bool = False, candidates: bool = False
    ):
        import rerun

        self._rerun, self._recording = rerun, recording
        self._leads, self._live, self._candidates = tuple(leads), live, candidates
        self._seen: Seen | None = None
        self._kind: tuple[int, ...] = ()
        self._names: dict[str, tuple[str, ...]] = {}
        self._said: dict[str, tuple[int, str]] = {}
        self.size: tuple[int, int] | None = None
        self.newest_ns = self._step_ns = self._horizon = 0

    def camera(self, stamp_ns: int, rgb: Image) -> None:
        """A camera frame, uint8 RGB [H, W, 3], at the model's size once that is known."""
        self._at(stamp_ns, stamp_ns)
        self._image("camera", rgb)
        self.newest_ns = stamp_ns
        if self._seen is not None:
            self._errors(self._seen.camera(stamp_ns, rgb))

    def predicted(self, chunk: Predicted) -> None:
        """Predicted frames, each at the time it is for."""
        seen = self._seen_for(chunk)
        self.newest_ns = max(self.newest_ns, chunk.stamp_ns)
        for lead in seen.leads:
            index = lead - chunk.first_step
            if not 0 <= index < len(chunk.frames):
                continue
            name = self._lead(lead)
            self._at(chunk.target_ns(index), chunk.stamp_ns)
            self._image(f"predicted/{name}", chunk.frames[index])
            self._number(f"uncertainty/{name}", chunk.uncertainty[index])
            self._numbers(f"plan/{name}", chunk.actions[index], self._names.get("commands/action", ()))
        self._errors(seen.predicted(chunk))
        self._timing(chunk)

    def commands(
        self, name: str, stamp_ns: int, values: NDArray[np.float64], *, joints: Sequence[str] = ()
    ) -> None:
        """Commands as executed, [A], of the input ``name``, such as ``action``; ``joints`` name the values."""
        self._at(stamp_ns, stamp_ns)
        self._numbers(f"commands/{name}", values, joints)

    def counts(self, values: Mapping[str, int]) -> None:
        """Totals of what was missed, by name, at the newest time."""
        if self.newest_ns:
            self._at(self.newest_ns, self.newest_ns)
            for name, value in values.items():
                self._number(f"missed/{name.replace(' ', '_')}", value)

    def words(self, part: str, level: int, text: str) -> None:
        """What a part of the node says of itself, once; ``level`` 0 is good, 1 a warning, 2 an error."""
        if self._said.get(part) == (level, text):
            return
        self._said[part] = (level, text)
        if self.newest_ns:
            self._at(self.newest_ns, self.newest_ns)
        entry = self._rerun.TextLog(f"{part}: {text}", level=LEVELS[min(level, 2)])
        self._recording.log(f"diagnostics/{part}", entry)

    def candidates(self, stamp_ns: int, picture: Image, costs: NDArray[np.float64]) -> None:
        """Candidate action sequences from the frame of ``stamp_ns``: a picture of where they lead, and their costs [N]."""
        self._at(stamp_ns, stamp_ns)
        self._image("candidates/last_frames", picture)
        self._recording.log("candidates/costs", self._rerun.BarChart(costs))

    def _seen_for(self, chunk: Predicted) -> Seen:
        """What goes with this kind of prediction; new leads and a new layout where it changes, or reaches farther."""
        height, width = chunk.frames.shape[1:3]
        kind = (chunk.step_ns, height, width)
        if self._seen is None or kind != self._kind or chunk.horizon > self._horizon:
            leads = steps_of(self._leads, step_ns=chunk.step_ns, horizon=chunk.horizon)
            self._seen = Seen(leads, step_ns=chunk.step_ns, horizon=chunk.horizon)
            self._kind, self._horizon = kind, chunk.horizon
            self._step_ns, self.size = chunk.step_ns, (width, height)
            names = [self._lead(lead) for lead in leads]
            self._paint(names)
            self._recording.send_blueprint(
                blueprint(names, timeline=TARGET_TIME, live=self._live, candidates=self._candidates)
            )
        return self._seen

    def _paint(self, names: Sequence[str]) -> None:
        """Lines of one lead have one colour; and what all of it is."""
        about = self._rerun.TextDocument(ABOUT, media_type="text/markdown")
        self._recording.log("about", about, static=True)
        for number, name in enumerate(names):
            for entity, pale in (
                ("uncertainty/{}", False),
                ("psnr/{}/predicted", False),
                ("psnr/{}/copy_last", True),
            ):
                lines = self._rerun.SeriesLines(colors=[colour(number, pale=pale)])
                self._recording.log(entity.format(name), lines, static=True)

    def _errors(self, pairs: Sequence[Pair]) -> None:
        for pair in pairs:
            name = self._lead(pair.lead)
            self._at(pair.target_ns, pair.stamp_ns)
            self._image(f"error/{name}", difference(pair.real, pair.predicted))
            self._number(f"psnr/{name}/predicted", float(psnr(pair.real, pair.predicted)))
            if pair.copied is not None:
                self._number(f"psnr/{name}/copy_last", float(psnr(pair.real, pair.copied)))

    def _timing(self, chunk: Predicted) -> None:
        self._at(chunk.stamp_ns, chunk.stamp_ns)
        last = chunk.first_step + len(chunk.frames) - 1
        for name, wanted in (
            ("first_chunk", chunk.first_step == 1),
            ("whole_horizon", last == chunk.horizon),
        ):
            if wanted and chunk.age_ns is not None:
                self._number(f"age_ms/{name}", chunk.age_ns / 1e6)
        if chunk.late:
            self._number("missed/late_frames_of_a_prediction", chunk.late)

    def _lead(self, steps: int) -> str:
        return lead_name(steps * self._step_ns / 1e9)

    def _at(self, target_ns: int, capture_ns: int) -> None:
        """What is logged next is for ``target_ns`` and rests on the frame of ``capture_ns``."""
        self._recording.set_time(TARGET_TIME, timestamp=np.datetime64(target_ns, "ns"))
        self._recording.set_time(CAPTURE_TIME, timestamp=np.datetime64(capture_ns, "ns"))

    def _image(self, entity: str, rgb: Image) -> None:
        image = self._rerun.EncodedImage(contents=jpeg(rgb), media_type="image/jpeg")
        self._recording.log(entity, image)

    def _number(self, entity: str, value: float) -> None:
        self._recording.log(entity, self._rerun.Scalars(float(value)))

    def _numbers(self, entity: str, values: NDArray[Any], names: Sequence[str]) -> None:
        """Values with a line each; their names are told once, and again when they change."""
        known = tuple(names) if len(names) == len(values) else tuple(map(str, range(len(values))))
        if self._names.get(entity) != known:
            self._names[entity] = known
            prefix = entity.partition("/")[2]
            lines = self._rerun.SeriesLines(names=[f"{prefix} {name}" for name in known])
            self._recording.log(entity, lines, static=True)
        self._recording.log(entity, self._rerun.Scalars(np.asarray(values, float)))


def jpeg(rgb: Image) -> bytes:
    """uint8 RGB [H, W, 3] -> jpeg."""
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), JPEG)
    return data.tobytes()


def difference(real: Image, predicted: Image) -> Image:
    """Absolute difference of two images, brightened."""
    return cv2.convertScaleAbs(cv2.absdiff(real, predicted), alpha=ERROR_GAIN).astype(np.uint8, copy=False)
