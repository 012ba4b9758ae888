# SPDX-License-Identifier: Apache-2.0
"""Python without ROS: show a predictor the first frames of an episode, and ask it what comes.

python examples/predict_without_ros.py --out strip.png                                  # the simulated robot
python examples/predict_without_ros.py --checkpoint g1_pick --bag BAG --out strip.png   # a recorded one

The picture has what came above what had been predicted. In a notebook, ``strip`` as the last line of a cell shows it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from dd_ros import Predictor, show  # before torch: idle threads shall rest
from dd_ros.data.bags import find_bags, read_episodes


def simulated(folder: str) -> Path:
    """A bag of the simulated robot of ``dd_ros demo``; needs the extra ``demo``."""
    from dd_ros.demo.pusht import Robot
    from dd_ros.demo.simulate import write_episode

    bag = Path(folder) / "simulated"
    write_episode(bag, Robot(seed=7), steps=60)
    return bag


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--checkpoint", default="pusht", help="folder, or the name of a shipped one")
    options.add_argument(
        "--bag", type=Path, help="a rosbag2 bag or a LeRobot data set; default: a simulated one"
    )
    options.add_argument("--seen", type=int, default=8, help="frames that the predictor is shown")
    options.add_argument("--out", type=Path, default=Path("strip.png"), help="the picture")
    given = options.parse_args()

    predictor = Predictor.load(given.checkpoint)
    print(predictor)
    with tempfile.TemporaryDirectory() as folder:
        (bag, *_) = find_bags([given.bag or simulated(folder)])
        episode = read_episodes(bag, predictor.config.streams)[0]

    for step in range(given.seen):  # action: the command in force when the frame was taken
        predictor.observe(episode.frames[step], step * predictor.step_ns, episode.actions[step])
    ahead = slice(given.seen, given.seen + predictor.horizon)
    predicted = predictor.predict(episode.actions[ahead])  # uint8 RGB [horizon, height, width, 3]
    came = episode.frames[ahead]

    error = np.abs(predicted.astype(float) - came).mean()
    copied = np.abs(episode.frames[given.seen - 1].astype(float) - came).mean()
    print(f"mean error {error:.2f} grey levels; of the last frame, repeated: {copied:.2f}")
    strip = show(np.stack([came, predicted]), step_s=predictor.step_ns / 1e9)
    print(f"what came above what was predicted: {strip.save(given.out)}")


if __name__ == "__main__":
    main()
