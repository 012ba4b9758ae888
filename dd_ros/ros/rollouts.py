# SPDX-License-Identifier: Apache-2.0
"""The service predict_rollouts: several candidate action sequences, one shared context."""

from __future__ import annotations

from collections.abc import Generator

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
from dd_ros.predictions import Chunk, Frames, Rollouts
from dd_ros.predictor import ROLLOUTS_AT_ONCE, Predictor
from dd_ros.ros.messages import predicted_video

# Rollouts at once on a CPU: the camera and stop signals wait for a chunk of them at most; more are hardly faster there.
AT_ONCE_ON_CPU = 4


def answer(
    request: PredictRollouts.Request, predictor: Predictor, *, frame_id: str, now_ns: int, max_candidates: int
) -> Generator[None, None, PredictRollouts.Response]:
    """Work at the response to a request, chunk by chunk; a bad one gets ``success`` False and the reason.

    All candidates start from what was observed when the work begins, whatever is observed between two.
    """
    try:
        return (
            yield from _rollouts(
                request, predictor, frame_id=frame_id, now_ns=now_ns, max_candidates=max_candidates
            )
        )
    except InputError as error:
        return PredictRollouts.Response(success=False, message=str(error))


def _rollouts(
    request: PredictRollouts.Request, predictor: Predictor, *, frame_id: str, now_ns: int, max_candidates: int
) -> Generator[None, None, PredictRollouts.Response]:
    count = len(request.candidates)
    if not 1 <= count <= max_candidates:
        raise InputError(f"candidates: expected 1 to {max_candidates} action sequences, got {count}")
    stamp = predictor.stamp_ns
    if stamp is None:
        raise InputError("predict_rollouts: expected an observed image with its action first, got none yet")
    goal = _goal(request.goal, predictor)
    actions = np.stack(
        [
            candidate_actions(c, predictor, stamp, name=f"candidates[{i}]")
            for i, c in enumerate(request.candidates)
        ]
    )
    warning = unlike_training(actions, predictor)
    wanted: Frames | None = "all" if request.return_frames else "last" if goal is not None else None
    pieces = predictor.rollouts_by_chunk(
        actions, frames=wanted, context=predictor.context(),
        at_once=AT_ONCE_ON_CPU if predictor.device.type == "cpu" else ROLLOUTS_AT_ONCE,
    )  # fmt: skip
    response, done = PredictRollouts.Response(success=True, message=warning), 0
    for piece in pieces:
        if piece is None:
            yield
            continue
        if goal is not None and piece.frames is not None:
            response.costs.extend(
                float(np.mean(np.square(last / 255.0 - goal))) for last in piece.frames[:, -1]
            )
        if request.return_frames:
            response.futures += [
                predicted_video(
                    whole(piece, row), actions[done + row], stamp_ns=stamp, step_ns=predictor.step_ns,
                    now_ns=now_ns, frame_id=frame_id, checkpoint=predictor.config.name,
                )
                for row in range(len(piece.uncertainty))
            ]  # fmt: skip
        done += len(piece.uncertainty)
        if done < count:
            yield
    return response


def whole(rollouts: Rollouts, row: int) -> Chunk:
    """One of ``rollouts``, its frames decoded, as a single chunk."""
    assert rollouts.frames is not None
    error = None if rollouts.error is None else rollouts.error[row]
    return Chunk(0, 1, 1, rollouts.frames[row], rollouts.uncertainty[row], error)


def candidate_actions(
    candidate: ActionSequence, predictor: Predictor, stamp_ns: int, *, name: str
) -> NDArray[np.float32]:
    """Action at each model step of the horizon after the image of ``stamp_ns``, float32 [horizon, A]; the last is held.

    Raises:
        InputError: wrong actions, or a sequence that begins after the first model step or is over before it.
    """
    values = sequence_actions(candidate, predictor.action_dim, name)
    stamps = sequence_stamps(candidate, stamp_ns + predictor.step_ns, predictor.step_ns, name=name)
    steps = stamp_ns + predictor.step_ns * np.arange(1, predictor.horizon + 1)
    late, over = stamps[0] > steps[0], stamps[-1] <= stamp_ns
    if late or over:
        last, first = stamp_ns / 1e9, (stamps[0] if late else stamps[-1]) / 1e9
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


def _goal(image: Image, predictor: Predictor) -> NDArray[np.float64] | None:
    """Goal image at the model's size, 0 to 1; None for an empty one."""
    if image.height == 0 and image.width == 0 and not image.data:
        return None
    try:
        pixels = decode_rgb(image, predictor.width, predictor.height)
    except InputError as error:
        raise InputError(f"goal: {error}") from error
    return pixels / 255.0
