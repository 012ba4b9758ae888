# SPDX-License-Identifier: Apache-2.0
"""The service predict_rollouts: several candidate action sequences, one shared context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from dd_ros.data.commands import actions_at
from dd_ros.data.images import decode_rgb
from dd_ros.data.plans import sequence_actions, sequence_stamps
from dd_ros.data.trained import TrainedRange
from dd_ros.errors import InputError
from dd_ros.live.requests import Allowance, Piece, decoded
from dd_ros.planning.costs import Cost, Goal, candidates_of, make_cost
from dd_ros.predictions import Chunk, Frames, Rollouts
from dd_ros.predictor import Predictor
from dd_ros.ros.messages import header_at, predicted_video, to_time

SAME_SHAPE = 0.02  # by which width to height may differ, since sides are rounded


class Asked(NamedTuple):
    """A request that was found good.

    Attributes:
        stamp_ns: stamp of the observed image that its actions are taken from.
        actions: float32 [N, K, A], one for each model step after that image.
        cost: what to rate them by, or None.
        frames: which predicted frames have to be decoded.
        odd: what is odd about it, or empty.
    """

    stamp_ns: int
    actions: NDArray[np.float32]
    cost: Cost | None
    frames: Frames | None
    odd: str


class Answer:
    """The response to a request, as far as it is done; sent once, by the thread that is first.

    Args:
        deliver: sends it.
    """

    def __init__(self, deliver: Callable[[PredictRollouts.Response], None]):
        self._response, self._deliver = PredictRollouts.Response(), deliver
        self._sent, self._lock = False, threading.Lock()

    def begin(self, **fields: Any) -> None:
        """Set what is said of all candidates."""
        with self._lock:
            for name, value in fields.items():
                setattr(self._response, name, value)

    def add(self, candidates: int, *, reduced: bool, **values: Sequence[Any]) -> None:
        """Append values of so many more candidates, by the names of their fields; nothing once it was sent.

        Args:
            candidates: how many.
            reduced: whether the answer as it is now is less than was asked for.
            values: field -> what to append.
        """
        with self._lock:
            if self._sent:
                return
            for name, more in values.items():
                getattr(self._response, name).extend(more)
            self._response.candidates += candidates
            self._response.success, self._response.reduced = True, reduced

    def give(self) -> None:
        """Send what there is."""
        late = "deadline: expected time for at least one candidate, got none before it came"
        self._send(lambda: self._response if self._response.candidates else refusal(late))

    def refuse(self, why: str) -> None:
        """Send a refusal."""
        self._send(lambda: refusal(why))

    def _send(self, response: Callable[[], PredictRollouts.Response]) -> None:
        with self._lock:
            if self._sent:
                return
            self._sent = True
        self._deliver(response())


def refusal(why: str) -> PredictRollouts.Response:
    return PredictRollouts.Response(success=False, message=why)


def checked(
    request: PredictRollouts.Request, predictor: Predictor, *, max_candidates: int, camera: tuple[int, int] | None
) -> Asked:  # fmt: skip
    """What a request asks for, from the newest observed image on; runs no network.

    Args:
        request, predictor: as they are.
        max_candidates: more are refused.
        camera: width and height of the newest image, if known.

    Raises:
        InputError: what is wrong with it, or that nothing has been observed yet.
    """
    count = len(request.candidates)
    if not 1 <= count <= max_candidates:
        raise InputError(f"candidates: expected 1 to {max_candidates} action sequences, got {count}")
    stamp = predictor.stamp_ns
    if stamp is None:
        raise InputError("predict_rollouts: expected an observed image with its action first, got none yet")
    cost = _cost(request, predictor, camera)
    actions = _actions(request, predictor, stamp)
    wanted: Frames | None = "all" if request.return_frames else cost.frames if cost else None
    return Asked(stamp, actions, cost, wanted, unlike_training(actions, predictor))


def answer(
    request: PredictRollouts.Request, predictor: Predictor, *, allowance: Allowance, asked: Asked,
    result: Answer, frame_id: str, now_ns: int,
) -> Generator[Piece, None, None]:  # fmt: skip
    """Work at the response to a request, chunk by chunk; yields what is next. Other work may come between, and observations.

    All candidates start from what was observed when the work begins.

    Args:
        request, predictor: as they are.
        allowance: what it may take.
        asked: what ``checked`` made of the request.
        result: is filled in, part by part; sending it is the caller's.
        frame_id: the camera's.
        now_ns: frames for times before this one are marked late.

    Raises:
        InputError: the request is no longer good, or its deadline cannot be kept; ``success`` is False then.
    """
    stamp, actions = predictor.stamp_ns, asked.actions
    if stamp is None:
        raise InputError("predict_rollouts: expected an observed image with its action first, got none yet")
    if stamp != asked.stamp_ns:
        actions = _actions(request, predictor, stamp)
    plan = allowance.plan(len(actions), asked.frames)
    rung, rows = plan.rung, allowance.rows(plan, len(actions), asked.frames) or 1
    readouts, latents = predictor.config.readouts, asked.cost is not None and asked.cost.latents
    targets = [to_time(stamp + step * predictor.step_ns) for step in range(1, rung.frames + 1)]
    result.begin(
        message=asked.odd, header=header_at(stamp, frame_id), schedule=rung.steps, target_stamps=targets,
        readout_names=list(readouts.names) if readouts else [],
    )  # fmt: skip
    pieces = predictor.rollouts_by_chunk(
        actions, frames=asked.frames, latents=latents, context=predictor.context(), at_once=lambda: rows,
        schedule=rung.schedule, horizon=rung.frames,
    )  # fmt: skip
    chunk = done = 0
    while True:
        yield Piece(rows, rung.units(chunk, decoded(rung, chunk, asked.frames)), begins=chunk == 0)
        part = next(pieces)
        if part is None:
            chunk += 1
            continue
        own = actions[done : done + len(part.uncertainty), : rung.frames]
        futures = [
            predicted_video(
                whole(part, row), own[row], stamp_ns=stamp, step_ns=predictor.step_ns, now_ns=now_ns, frame_id=frame_id,
                checkpoint=predictor.config.name,
            )
            for row in range(len(own) if request.return_frames else 0)
        ]  # fmt: skip
        chunk, done = 0, done + len(own)
        result.add(
            len(own), reduced=allowance.reduced(plan, done, len(actions)), futures=futures,
            costs=asked.cost(candidates_of(own, part, predictor)).tolist() if asked.cost else [],
            uncertainty=part.uncertainty.ravel().tolist(),
            readouts=[] if part.readouts is None else part.readouts.ravel().tolist(),
        )  # fmt: skip
        rows = allowance.rows(plan, len(actions) - done, asked.frames)
        if not rows:
            return


def _actions(
    request: PredictRollouts.Request, predictor: Predictor, stamp_ns: int
) -> NDArray[np.float32]:  # fmt: skip
    """Actions of all candidates, float32 [N, K, A], as ``candidate_actions``."""
    return np.stack(
        [
            candidate_actions(candidate, predictor, stamp_ns, name=f"candidates[{index}]")
            for index, candidate in enumerate(request.candidates)
        ]
    )


def whole(rollouts: Rollouts, row: int) -> Chunk:
    """One of ``rollouts``, its frames decoded, as a single chunk."""
    assert rollouts.frames is not None
    error = None if rollouts.error is None else rollouts.error[row]
    return Chunk(0, 1, 1, rollouts.frames[row], rollouts.uncertainty[row], error=error)


def candidate_actions(
    candidate: ActionSequence, predictor: Predictor, stamp_ns: int, *, name: str
) -> NDArray[np.float32]:
    """Action at each model step of the horizon after the image of ``stamp_ns``, float32 [horizon, A]; the last is held.

    Its times are those of commands, which act the checkpoint's lag later; without a time it begins with the first step.

    Raises:
        InputError: wrong actions, or a sequence that begins after the first model step or is over before it.
    """
    values = sequence_actions(candidate, predictor.action_dim, name)
    sent_ns = stamp_ns - predictor.config.streams.action_lag_ns  # of the command in force at the image
    stamps = sequence_stamps(candidate, sent_ns + predictor.step_ns, predictor.step_ns, name=name)
    steps = sent_ns + predictor.step_ns * np.arange(1, predictor.horizon + 1)
    late, over = stamps[0] > steps[0], stamps[-1] <= sent_ns
    if late or over:
        last, first = sent_ns / 1e9, (stamps[0] if late else stamps[-1]) / 1e9
        raise InputError(
            f"{name}: expected actions from one model step after the last image (stamp {last:.3f} s) on, "
            + (
                f"got a sequence that begins later ({first:.3f} s)"
                if late
                else f"got one that is over ({first:.3f} s)"
            )
        )
    return actions_at(stamps, values, steps, mode=predictor.config.streams.action_mode)


def unlike_training(actions: NDArray[np.float32], predictor: Predictor) -> str:
    """What candidates [N, K, A] ask for that the checkpoint does not know, in words; empty if it knows all.

    Raises:
        InputError: a candidate that float32 cannot hold once normalised.
    """
    config = predictor.config
    known = TrainedRange.of(config.action, config.streams.actions)
    texts = {f"candidates[{i}]": known.far(rows, f"candidates[{i}]") for i, rows in enumerate(actions)}
    far = [f"{name}: {text}" for name, text in texts.items() if text]
    more = f" (and {len(far) - 1} candidates more)" if len(far) > 1 else ""
    return far[0] + more if far else ""


def _cost(
    request: PredictRollouts.Request, predictor: Predictor, camera: tuple[int, int] | None
) -> Cost | None:  # fmt: skip
    """What a request wants its candidates rated by; None where it does not."""
    image = _goal_image(request.goal, predictor, camera)
    text = request.cost or ("pixels" if image is not None else "")
    if not text:
        if len(request.goal_state):
            raise InputError("goal state: expected a cost that reads it, such as readouts, got none")
        return None
    state = np.asarray(request.goal_state, np.float64) if len(request.goal_state) else None
    return make_cost(text, goal=Goal(image, state), predictor=predictor)


def _goal_image(
    image: Image, predictor: Predictor, camera: tuple[int, int] | None
) -> NDArray[np.uint8] | None:  # fmt: skip
    """Goal image at the model's size; None for an empty one.

    Raises:
        InputError: it does not decode, or has neither the camera's shape nor the model's: it would not show the same place.
    """
    if image.height == 0 and image.width == 0 and not image.data:
        return None
    try:
        pixels = decode_rgb(image, predictor.width, predictor.height)
    except InputError as error:
        raise InputError(f"goal: {error}") from error
    shapes = [(predictor.width, predictor.height), *([camera] if camera else [])]
    if all(abs(image.width * height / (image.height * width) - 1.0) > SAME_SHAPE for width, height in shapes):
        wanted = " or ".join(f"{width}x{height}" for width, height in dict.fromkeys(shapes))
        raise InputError(
            f"goal: expected an image of the camera's shape ({wanted}), got {image.width}x{image.height}"
        )
    return pixels
