# SPDX-License-Identifier: Apache-2.0
"""Plan by asking a running predictor: which actions bring the camera to see what a goal image shows?

    ros2 launch dd_ros demo.launch.py            # or any robot with its predictor, in another shell
    python examples/cem_client.py --goal goal.png --low 28 --high 484

It prints the best action sequence found from what the camera sees now, and does not move the robot.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np

from dd_ros.planning.solvers import ICEM, solve
from dd_ros.ros import PredictionClient

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--predictor", default="/predictor", help="full name of the node")
parser.add_argument("--goal", help="image of the goal; default: what is seen now, that is, to stay")
parser.add_argument("--cost", default="latents", help="see docs/planning.md")
parser.add_argument("--low", type=float, required=True, help="least action value")
parser.add_argument("--high", type=float, required=True, help="greatest action value")
parser.add_argument("--iterations", type=int, default=3)
args = parser.parse_args()

with PredictionClient(args.predictor) as client:
    seen = client.wait(timeout=60.0)  # a whole horizon: stamps, frames, and the actions it assumes
    goal = seen.frames[0] if args.goal is None else cv2.imread(args.goal)[..., ::-1].copy()
    found = solve(
        cost=lambda actions: client.rollouts(actions, cost=args.cost, goal_image=goal).costs,
        horizon=len(seen.actions), low=[args.low] * seen.actions.shape[1], high=[args.high] * seen.actions.shape[1],
        mean=np.clip(seen.actions, args.low, args.high), rng=np.random.default_rng(0),
        settings=type(ICEM)(samples=16, elites=4, iterations=args.iterations, repeat=4, colour=2.0),
    )  # fmt: skip
    print(f"cost {found.cost:.4g} after {found.evaluated} rollouts; actions, one per step:")
    print(np.array2string(found.actions, precision=1, suppress_small=True))
