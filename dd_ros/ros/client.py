# SPDX-License-Identifier: Apache-2.0
"""For programs that use predictions: whole horizons as arrays, and futures of candidate actions, in a few lines."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import rclpy
from dd_ros_msgs.msg import ActionSequence, PredictedVideo
from dd_ros_msgs.srv import PredictRollouts
from numpy.typing import ArrayLike, NDArray
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from dd_ros.data.images import check_image
from dd_ros.data.plans import NANOSECONDS, to_ns
from dd_ros.errors import InputError
from dd_ros.ros.messages import header_at, to_time, video_frames

WHOLE = QoSProfile(
    depth=64, reliability=ReliabilityPolicy.RELIABLE
)  # a horizon comes in as many messages as chunks
SERVICE_WAIT = 5.0  # s


class Prediction(NamedTuple):
    """A whole horizon of K frames, from the next model step to its end; with ``drop_late`` from the first that was in time.

    Attributes:
        stamp_ns: stamp of the observed image that it rests on.
        target_ns: int64 [K], the time each frame is for.
        frames: uint8 RGB [K, H, W, 3].
        late: bool [K], whether that time had passed at publication: such a frame is no prediction.
        uncertainty: float32 [K], expected error, see PredictedVideo.
        actions: float32 [K, A], assumed, in the robot's units.
        checkpoint: name of the weights.
    """

    stamp_ns: int
    target_ns: NDArray[np.int64]
    frames: NDArray[np.uint8]
    late: NDArray[np.bool_]
    uncertainty: NDArray[np.float32]
    actions: NDArray[np.float32]
    checkpoint: str


class RolloutAnswer(NamedTuple):
    """What came of N candidates over K steps; N and K may be less than was asked for, see ``reduced``.

    Attributes:
        stamp_ns: stamp of the observed image that the rollouts start from.
        target_ns: int64 [K], the time each frame is for.
        costs: float32 [N]; empty without a cost.
        uncertainty: float32 [N, K].
        readout_names: D names.
        readouts: float32 [N, K, D].
        frames: uint8 RGB [N, K, H, W, 3]; None where they were not asked for.
        schedule: denoising steps per chunk, such as ``4-3-2-2``.
        reduced: whether denoising steps, horizon or candidates were cut to keep the deadline.
        message: what is odd about the request; empty if nothing.
    """

    stamp_ns: int
    target_ns: NDArray[np.int64]
    costs: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    readout_names: tuple[str, ...]
    readouts: NDArray[np.float32]
    frames: NDArray[np.uint8] | None
    schedule: str
    reduced: bool
    message: str


class RolloutAsker:
    """Asks for the futures of candidates, wherever the predictor is. Thread safe.

    Args:
        name: of the predictor, for messages.
        call: takes a request to it, and gives the response to come.
        there: whether it can be asked within so many seconds.
        now_ns: its clock.
    """

    def __init__(
        self, name: str, *, call: Callable[[PredictRollouts.Request], Any], there: Callable[[float], bool],
        now_ns: Callable[[], int],
    ):  # fmt: skip
        self.name, self._call, self._there, self._now_ns = name, call, there, now_ns

    def close(self) -> None:
        """Let go of what this holds; nothing here."""

    def rollouts(self, actions: ArrayLike, *, timeout: float = 60.0, **request: Any) -> RolloutAnswer:
        """Ask for the futures of candidates and wait for the answer; arguments as of ``rollouts_async``.

        Raises:
            InputError: the node refused, with its reason; or it is not there, or gone, or takes longer than ``timeout``.
        """
        if not self._there(min(timeout, SERVICE_WAIT)):
            raise InputError(
                f"{self.name}/predict_rollouts: expected such a service, got none; does the node run?"
            )
        future = self.rollouts_async(actions, **request)
        end = time.monotonic() + timeout
        while True:
            try:
                return future.result(timeout=min(0.2, max(0.0, end - time.monotonic())))
            except TimeoutError:
                late = time.monotonic() >= end
                if late or not self._there(0.0):
                    future.cancel()
                    why = f"expected an answer within {timeout:g} s" if late else "the node is gone"
                    raise InputError(f"{self.name}/predict_rollouts: {why}") from None

    def rollouts_async(
        self, actions: ArrayLike, *, frames: bool = False, cost: str = "", goal_image: NDArray[np.uint8] | None = None,
        goal_state: ArrayLike | None = None, deadline: float = 0.0, start_ns: int = 0, step: float = 0.0,
    ) -> Future[RolloutAnswer]:  # fmt: skip
        """Ask for the futures of candidates.

        Args:
            actions: [N, K, A], or [K, A] for one, in the robot's units.
            frames: whether frames are wanted back.
            cost, goal_image, goal_state: what to rate them by, as the service has it; the image uint8 RGB [H, W, 3].
            deadline: seconds from now, by the node's clock, in which the answer is of use; 0: any time.
            start_ns: time of the first action; 0: one model step after the last observed image.
            step: seconds from one action to the next; 0: one model step.

        Returns:
            The answer to come; its ``result`` raises InputError where the node refuses.
        """
        candidates = np.asarray(actions, np.float32)
        candidates = candidates[None] if candidates.ndim == 2 else candidates
        if candidates.ndim != 3:
            raise InputError(f"actions: expected shape [N, K, A] or [K, A], got {list(candidates.shape)}")
        request = PredictRollouts.Request(return_frames=frames, cost=cost)
        request.candidates = [
            ActionSequence(
                header=header_at(start_ns, ""), step=step, count=len(rows), dim=rows.shape[1],
                data=array("f", np.ascontiguousarray(rows).tobytes()),
            )
            for rows in candidates
        ]  # fmt: skip
        if goal_image is not None:
            request.goal = image_message(goal_image)
        if goal_state is not None:
            request.goal_state = array("f", np.asarray(goal_state, np.float32).tobytes())
        if deadline > 0.0:
            request.deadline = to_time(self._now_ns() + round(deadline * NANOSECONDS))
        future: Future[RolloutAnswer] = Future()
        self._call(request).add_done_callback(lambda done: settle(future, done))
        return future


class PredictionClient(RolloutAsker):
    """The other side of a node ``predictor``. Thread safe; use it with ``with``, or call ``close``.

    Args:
        name: full name of the node.
        node: node to live in, which somebody spins in another thread; None makes one with a thread of its own.
        predictions: whether to listen to the stream; without, ``latest`` stays None.
    """

    def __init__(self, name: str = "/predictor", *, node: Node | None = None, predictions: bool = True):
        self._executor: SingleThreadedExecutor | None = None
        self._changed = threading.Condition()
        self._chunks: list[PredictedVideo] = []  # of the prediction that is coming in
        self._heard_ns: int | None = None  # stamp of the last chunk
        self._newest: Prediction | None = None
        self._own = node is None
        if node is None:
            self._context = rclpy.Context()
            rclpy.init(context=self._context)
            node = rclpy.create_node("prediction_client", context=self._context)
        self.node = node
        self._rollouts: Client[Any, Any] = node.create_client(PredictRollouts, f"{name}/predict_rollouts")
        clock = node.get_clock()
        super().__init__(
            name,
            call=self._rollouts.call_async,
            there=self._service_there,
            now_ns=lambda: clock.now().nanoseconds,
        )
        self._subscription = (
            node.create_subscription(PredictedVideo, f"{name}/prediction", self._take, WHOLE)
            if predictions
            else None
        )
        if self._own:
            self._executor = SingleThreadedExecutor(context=self._context)
            self._executor.add_node(node)
            self._thread = threading.Thread(target=self._spin, name="prediction client", daemon=True)
            self._thread.start()

    def _spin(self) -> None:
        assert self._executor is not None
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def __enter__(self) -> PredictionClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave ROS, or the node that this lives in."""
        if self._executor is None:
            if self._subscription is not None:
                self.node.destroy_subscription(self._subscription)
            self.node.destroy_client(self._rollouts)
            return
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _service_there(self, seconds: float) -> bool:
        return bool(
            self._rollouts.wait_for_service(seconds) if seconds else self._rollouts.service_is_ready()
        )

    @property
    def latest(self) -> Prediction | None:
        """The newest whole horizon; None before the first."""
        with self._changed:
            return self._newest

    def wait(self, timeout: float = 10.0, *, after_ns: int = 0) -> Prediction:
        """The newest whole horizon from an image after ``after_ns``, when there is one.

        Raises:
            InputError: none came within ``timeout`` seconds.
        """

        def there() -> Prediction | None:
            newest = self._newest
            return newest if newest is not None and newest.stamp_ns > after_ns else None

        with self._changed:
            found = self._changed.wait_for(there, timeout)
        if found is None:
            raise InputError(
                f"{self.name}/prediction: expected a prediction within {timeout:g} s, got none; is the node active?"
            )
        return found

    def _take(self, message: PredictedVideo) -> None:
        """Put chunks together up to the last; what follows a gap is a horizon without its near frames.

        Nothing is made of the first prediction that is heard, unless it is heard from its beginning.
        """
        stamp = to_ns(message.header.stamp)
        begins, joins = stamp != self._heard_ns, self._heard_ns is None and message.chunk > 0
        self._heard_ns = stamp
        if joins or not (begins or self._chunks):
            return
        follows = not begins and message.chunk == self._chunks[-1].chunk + 1
        self._chunks = [*self._chunks, message] if follows else [message]
        if message.chunk + 1 < message.chunks:
            return
        with suppress(InputError):  # its data do not fit its sizes: no node of ours sends that
            whole = joined(self._chunks)
            with self._changed:
                self._newest = whole
                self._changed.notify_all()
        self._chunks = []


def joined(chunks: list[PredictedVideo]) -> Prediction:
    """A horizon from all its chunks; InputError where the lengths of a message do not fit."""
    first = chunks[0]
    targets = [to_ns(stamp) for chunk in chunks for stamp in chunk.target_stamps]
    return Prediction(
        stamp_ns=to_ns(first.header.stamp),
        target_ns=np.array(targets, np.int64),
        frames=np.concatenate([video_frames(chunk) for chunk in chunks]),
        late=np.concatenate([np.asarray(chunk.late, bool) for chunk in chunks]),
        uncertainty=np.concatenate([np.asarray(chunk.uncertainty, np.float32) for chunk in chunks]),
        actions=np.concatenate(
            [np.asarray(c.actions, np.float32).reshape(c.count, c.action_dim) for c in chunks]
        ),
        checkpoint=first.checkpoint,
    )


def settle(future: Future[RolloutAnswer], done: Any) -> None:
    """Hand a response on."""
    with suppress(InvalidStateError):  # cancelled by whoever waited
        try:
            response = done.result()
            if not response.success:
                raise InputError(response.message)
            future.set_result(answer_of(response))
        except Exception as error:
            future.set_exception(error)


def answer_of(response: PredictRollouts.Response) -> RolloutAnswer:
    """Arrays of a response."""
    targets = np.array([to_ns(stamp) for stamp in response.target_stamps], np.int64)
    count, steps, names = response.candidates, len(targets), tuple(response.readout_names)
    frames = [video_frames(video) for video in response.futures]
    return RolloutAnswer(
        stamp_ns=to_ns(response.header.stamp),
        target_ns=targets,
        costs=np.array(response.costs, np.float32),
        uncertainty=np.array(response.uncertainty, np.float32).reshape(count, steps),
        readout_names=names,
        readouts=np.array(response.readouts, np.float32).reshape(count, steps if names else 0, len(names)),
        frames=np.stack(frames) if frames else None,
        schedule=response.schedule,
        reduced=response.reduced,
        message=response.message,
    )


def image_message(rgb: NDArray[np.uint8]) -> Image:
    """An rgb8 message of uint8 [H, W, 3]; InputError for anything else."""
    check_image(rgb)
    height, width, _ = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data.frombytes(np.ascontiguousarray(rgb).data)
    return message
