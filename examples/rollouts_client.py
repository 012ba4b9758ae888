# SPDX-License-Identifier: Apache-2.0
"""A planner's client, in plain rclpy: which of many candidate action sequences ends most like a goal image?

python examples/rollouts_client.py --goal goal.png --around 0.2 -0.1 --spread 0.5   # beside a running predictor

It draws candidates around a command, sends them to ``/predictor/predict_rollouts`` in one request, and prints the best.
A planner would do so again and again around the best ones.
"""

import argparse
import sys
from array import array

import cv2
import numpy as np
import rclpy
from dd_ros_msgs.msg import ActionSequence
from dd_ros_msgs.srv import PredictRollouts
from sensor_msgs.msg import Image


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--goal", required=True, help="image of what the camera shall see at the end")
    options.add_argument(
        "--around", type=float, nargs="+", required=True, help="a command, in the robot's units"
    )
    options.add_argument("--spread", type=float, default=1.0, help="deviation of the candidates from it")
    options.add_argument("--candidates", type=int, default=16)
    options.add_argument("--steps", type=int, default=16, help="commands of a candidate, one per model step")
    options.add_argument("--service", default="/predictor/predict_rollouts")
    given = options.parse_args(rclpy.utilities.remove_ros_args(sys.argv)[1:])

    shape = (given.candidates, given.steps, len(given.around))
    walk = np.random.default_rng(0).normal(0.0, given.spread / np.sqrt(given.steps), shape).cumsum(axis=1)
    candidates = (given.around + walk).astype(np.float32)  # [N, K, A]: they begin there and drift apart
    goal = cv2.imread(given.goal)
    if goal is None:
        print(f"{given.goal}: expected an image file", file=sys.stderr)
        return 2
    height, width, _ = goal.shape
    request = PredictRollouts.Request(
        candidates=[
            ActionSequence(count=len(c), dim=c.shape[1], data=array("f", c.tobytes())) for c in candidates
        ],
        goal=Image(
            height=height, width=width, encoding="bgr8", step=3 * width, data=array("B", goal.tobytes())
        ),
    )

    rclpy.init()
    node = rclpy.create_node("planner")
    client = node.create_client(PredictRollouts, given.service)
    if not client.wait_for_service(timeout_sec=30.0):
        print(f"no service {given.service}: is the predictor active, in this ROS_DOMAIN_ID?", file=sys.stderr)
        return 1
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future)
    answer = future.result()
    if not answer.success:  # such as before the first camera image
        print(f"refused: {answer.message}", file=sys.stderr)
        return 1
    best = int(np.argmin(answer.costs))
    print(
        f"best of {len(answer.costs)}: number {best}, cost {answer.costs[best]:.4f}; take {candidates[best, 0]} first"
    )
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
