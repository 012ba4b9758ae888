# SPDX-License-Identifier: Apache-2.0
"""Requests answered by a real predictor that has nothing else to do, by a clock that only their work moves."""

from __future__ import annotations

from collections.abc import Callable

from dd_ros_msgs.srv import PredictRollouts

from dd_ros import Predictor
from dd_ros.data.plans import to_ns
from dd_ros.errors import InputError
from dd_ros.live.ladder import Speed, rungs
from dd_ros.live.requests import Allowance, Requests
from dd_ros.ros.rollouts import Answer, answer, checked, refusal

PASS = 5.0  # ms, of one rollout


def answered(
    request: PredictRollouts.Request, predictor: Predictor, *, now_ns: int, max_candidates: int = 8,
    between: Callable[[], object] = lambda: None, speed: Speed | None = None,
) -> PredictRollouts.Response:  # fmt: skip
    """The answer to a request.

    Args:
        request, predictor, max_candidates: as of the node.
        now_ns: when it comes.
        between: called between two pieces.
        speed: what is known of the device; its passes take PASS.
    """
    now = now_ns
    sent: list[PredictRollouts.Response] = []
    result = Answer(sent.append)
    allowance = Allowance(
        Requests(speed or Speed(), predictor.part_sizes), rungs(predictor.schedule, predictor.horizon),
        now_ns=lambda: now, due_ns=to_ns(request.deadline),
    )  # fmt: skip
    try:
        asked = checked(request, predictor, max_candidates=max_candidates, camera=None)
        pieces = answer(
            request, predictor, allowance=allowance, asked=asked, result=result, frame_id="camera", now_ns=now_ns
        )  # fmt: skip
        for index, piece in enumerate(pieces):
            now += round(1e6 * PASS * piece.rows * piece.units)
            if index:
                between()
    except InputError as error:
        return refusal(str(error))
    result.give()
    return sent[0]
