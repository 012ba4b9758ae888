# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of one's own network size: train recipe.yaml on bags, all three stages, and predict with what came out.

python examples/own_size/train.py --out small               # 20 minutes, on bags of the simulated robot
python examples/own_size/train.py --out small --steps 20    # a few steps, to see that all fits

``python -m dd_ros_training.train recipe.yaml --bags DIR --out OUT`` does the same from the command line.
"""

import argparse
from pathlib import Path

from dd_ros import Predictor, show  # before torch: idle threads shall rest
from dd_ros.data.bags import find_bags, read_episodes
from dd_ros.demo.pusht import Robot
from dd_ros.demo.simulate import write_episode
from dd_ros.settings import read_yaml
from dd_ros_training.recipe import Recipe
from dd_ros_training.run import Run
from dd_ros_training.run_stage import STAGES


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with at most so many optimiser steps in each stage."""
    stages = {name: getattr(recipe, name).model_copy(update={"steps": steps}) for name in STAGES}
    return recipe.model_copy(update=stages)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipe.yaml"))
    options.add_argument(
        "--bags", type=Path, help="folder of bags; default: OUT.bags, recorded if it is not there"
    )
    options.add_argument("--episodes", type=int, default=24, help="bags that are recorded")
    options.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    options.add_argument("--steps", type=int, help="optimiser steps of each stage at most")
    given = options.parse_args()

    bags = given.bags or given.out.with_name(f"{given.out.name}.bags")
    if not bags.exists():
        for number in range(given.episodes):
            write_episode(bags / f"episode_{number:06d}", Robot(seed=number), steps=60)
    recipe = read_yaml(given.recipe, Recipe)
    if given.steps:
        recipe = shortened(recipe, given.steps)
    found = find_bags([bags])
    run = Run(recipe, found, work=given.out.with_name(f"{given.out.name}.work"))
    run.save(given.out, run.train(list(STAGES)), made_by="`examples/own_size/train.py`")

    predictor = Predictor.load(given.out)
    weights = sum(parameter.numel() for parameter in predictor.model.parameters())
    print(f"{weights:,} weights: {predictor}")
    episode = read_episodes(found[-1], predictor.config.streams)[0]
    seen = predictor.config.context_frames
    for step in range(seen):
        predictor.observe(episode.frames[step], step * predictor.step_ns, episode.actions[step])
    frames = predictor.predict(episode.actions[seen : seen + predictor.horizon])
    print(show(frames, step_s=predictor.step_ns / 1e9).save(given.out.with_name(f"{given.out.name}.png")))


if __name__ == "__main__":
    main()
