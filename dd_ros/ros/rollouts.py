# SPDX-License-Identifier: Apache-2.0
"""The service predict_rollouts: several candidate action sequences, one shared context."""

from __future__ import annotations

import numpy as np
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from dd_ros.data.commands import Commands
from dd_ros.data.images import image_to_rgb
from dd_ros.data.steps import resize
from dd_ros.errors import InputError
from dd_ros.predictor import Chunk, Predictor
from dd_ros.ros.messages import predicted_video, sequence_actions, sequence_stamps


def answer(
    request: PredictRollouts.Request, predictor: Predictor, *, frame_id: str, now_ns: int, max_candidates: int
) -> PredictRollouts.Response:
    """Response to a request; a bad one gets ``success`` False and the reason."""
    try:
        return _rollouts(request, predictor, frame_id=frame_id, now_ns=now_ns, max_candidates=max_candidates)
    except InputError as error:
        return PredictRollouts.Response(success=False, message=str(error))


def _rollouts(
    request: PredictRollouts.Request, predictor: Predictor, *, frame_id: str, now_ns: int, max_candidates: int
) -> PredictRollouts.Response:
    count = len(request.candidates)
    if not 1 <= count <= max_candidates:
        raise InputError(f"candidates: expected 1 to {max_candidates} action sequences, got {count}")
    stamp = predictor.stamp_ns
    if stamp is None:
        raise InputError("predict_rollouts: expected an observed image with its action first, got none yet")
    goal = _goal(request.goal, predictor)
    actions = np.stack(
        [candidate_actions(c, predictor, f"candidates[{i}]") for i, c in enumerate(request.candidates)]
    )
    chunks = list(predictor.predict_chunks(actions))
    frames = np.concatenate([chunk.frames for chunk in chunks], axis=1)
    response = PredictRollouts.Response(success=True)
    if goal is not None:
        response.costs = [float(np.mean(np.square(last / 255.0 - goal))) for last in frames[:, -1]]
    if request.return_frames:
        uncertainty = np.concatenate(
            [np.broadcast_to(c.uncertainty, c.frames.shape[:2]) for c in chunks], axis=1
        )
        response.futures = [
            predicted_video(
                Chunk(0, 1, 1, frames[i], uncertainty[i]), actions[i], stamp_ns=stamp, step_ns=predictor.step_ns,
                now_ns=now_ns, frame_id=frame_id, checkpoint=predictor.config.name,
            )
            for i in range(count)
        ]  # fmt: skip
    return response


def candidate_actions(candidate: ActionSequence, predictor: Predictor, name: str) -> NDArray[np.float32]:
    """Action at each model step of the horizon, float32 [horizon, A]; the last one is held.

    Raises:
        InputError: wrong actions, or a sequence that begins after the first model step.
    """
    values = sequence_actions(candidate, predictor.action_dim, name)
    stamp = predictor.stamp_ns or 0
    commands = Commands((predictor.action_dim,), predictor.config.streams.action_mode)
    commands.set_plan(sequence_stamps(candidate, stamp + predictor.step_ns, predictor.step_ns), values)
    actions = commands.ahead(stamp, predictor.step_ns, predictor.horizon, hold=False)
    if actions is None:
        raise InputError(
            f"{name}: expected actions from one model step after the last image (stamp {stamp / 1e9:.3f} s) on, "
            "got a sequence that begins later or is over"
        )
    return actions


def _goal(image: Image, predictor: Predictor) -> NDArray[np.float64] | None:
    """Goal image at the model's size, 0 to 1; None for an empty one."""
    if image.height == 0 and image.width == 0 and not image.data:
        return None
    try:
        pixels = image_to_rgb(image)
    except InputError as error:
        raise InputError(f"goal: {error}") from error
    return resize(pixels, predictor.width, predictor.height) / 255.0
