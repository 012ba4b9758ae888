# SPDX-License-Identifier: Apache-2.0
"""The service ~/predict_rollouts: a bad request is refused at once, a good one answered by its deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from dd_ros_msgs.srv import PredictRollouts
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.task import Future
from rclpy.timer import Timer

from dd_ros.data.plans import to_ns
from dd_ros.errors import InputError
from dd_ros.live.requests import Allowance, Job, Piece
from dd_ros.live.worker import Worker
from dd_ros.predictor import Predictor
from dd_ros.ros.guard import Guard, reason_of
from dd_ros.ros.rollouts import Answer, answer, checked, refusal

# Requests and answers that ROS keeps; the default of 10 loses the rest without a word.
REQUESTS = 256
# After a refusal, which takes no time: a client of ROS's default depth keeps 10 answers, and loses those of a burst.
REFUSAL_PAUSE = 0.001  # s
# What is done is sent so long before the deadline, or so much of the time there was: it has to get there.
LAST_MOMENT, LAST_PART = 0.01, 0.1  # s


class RolloutService:
    """Takes requests of a node to its worker, and answers back; the executor goes on meanwhile.

    Args:
        node: owner.
        guard: stands around the work.
        active: the worker and its predictor; InputError where the node is not active.
        max_candidates: of a request.

    Attributes:
        begin: what the service does with a request: gives the response to come, a refusal where it is bad. Whoever lives in
            the same process may call it, from any thread.
    """

    def __init__(
        self, node: LifecycleNode, *, guard: Guard, active: Callable[[], tuple[Worker, Predictor]], max_candidates: int
    ):  # fmt: skip
        self._node, self._active, self._max_candidates = node, active, max_candidates
        self._responding = node.create_guard_condition(self._tidy)
        self._timers: dict[Future[PredictRollouts.Response], Timer] = {}
        self.begin = guard("prediction service", self._have_worker_answer, refused=refused)
        node.create_service(
            PredictRollouts, "~/predict_rollouts", self._predict_rollouts, qos_profile=QoSProfile(depth=REQUESTS),
            callback_group=ReentrantCallbackGroup(),
        )  # fmt: skip

    async def _predict_rollouts(
        self, request: PredictRollouts.Request, response: PredictRollouts.Response
    ) -> PredictRollouts.Response:
        """Answer, always."""
        answered: PredictRollouts.Response = await self.begin(request)
        if not answered.success:
            time.sleep(REFUSAL_PAUSE)
        return answered

    def _tidy(self) -> None:
        """Let go of the timers of what has been answered; on the executor's thread."""
        for future in [future for future in list(self._timers) if future.done()]:
            self._node.destroy_timer(self._timers.pop(future))

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _have_worker_answer(self, request: PredictRollouts.Request) -> Future[PredictRollouts.Response]:
        """The answer to come.

        Raises:
            InputError: what is wrong with the request, or what its deadline would have to be.
        """
        worker, predictor = self._active()
        due_ns = to_ns(request.deadline)
        allowance = Allowance(worker.requests, worker.rungs(), now_ns=self._now_ns, due_ns=due_ns)
        asked = checked(request, predictor, max_candidates=self._max_candidates, camera=worker.camera)
        plan = allowance.plan(len(asked.actions), asked.frames)
        future: Future[PredictRollouts.Response] = Future()

        def deliver(response: PredictRollouts.Response) -> None:
            future.set_result(response)
            self._responding.trigger()

        result = Answer(deliver)

        def work() -> Generator[Piece, None, None]:
            try:
                yield from answer(
                    request, predictor, allowance=allowance, asked=asked, result=result, frame_id=worker.frame_id,
                    now_ns=self._now_ns(),
                )  # fmt: skip
            except InputError as error:
                result.refuse(str(error))
            except Exception as error:  # a client waits: it is always answered
                result.refuse(reason_of(error))
                raise
            else:
                result.give()

        def cancelled() -> None:
            result.refuse("the node was deactivated")

        allowance.job = Job(work(), cancelled, due_ns, result.give, left_ms=plan.work_ms)
        worker.begin(allowance.job)
        if due_ns:
            self._timers[future] = self._send_by(due_ns, result)
        return future

    def _send_by(self, due_ns: int, result: Answer) -> Timer:
        """A timer that sends what is done just before a deadline, while the worker may be at work."""
        left = (due_ns - self._now_ns()) / 1e9
        wait = max(left - min(LAST_MOMENT, LAST_PART * left), 0.0)

        def send() -> None:
            timer.cancel()
            result.give()

        timer: Timer = self._node.create_timer(wait, send)
        return timer


def refused(error: Exception) -> Future[PredictRollouts.Response]:
    """The answer to a request that did not get as far as the worker."""
    future: Future[PredictRollouts.Response] = Future()
    future.set_result(refusal(reason_of(error)))
    return future
