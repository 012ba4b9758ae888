# SPDX-License-Identifier: Apache-2.0
"""What the shipped checkpoints predict from a few stored frames, ``checkpoints/<name>_first_chunk.npz``.

Each file holds ``observed`` frames with their ``commands``, the ``actions`` of the horizon, the ``true`` frames of the first
chunk, and the ``frames`` that were predicted for it, all uint8 RGB or float32. After a checkpoint was trained on:

    python test/shipped.py

predicts ``frames`` anew from the stored inputs. Those come from moments with motion in a simulated episode of pusht, and in
validation episodes of the others (their cards, checkpoints/<name>/README.md, name data and licence):

    python -m dd_ros.demo.simulate --out bags --episodes 1 --steps 100 --seed 20000
    python test/shipped.py pusht bags/episode_000000 60
    python test/shipped.py g1_pick g1_pick/episode_000004 80
    python test/shipped.py car car/drive_010 128
    python test/shipped.py droid_scene droid/fixed_scene/towel_fold_val_0004 92

``base`` sees what g1_pick sees, with these commands in their place among those of the other robots.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dd_ros import Predictor
from dd_ros.data.bags import read_episodes

NAMES = ("base", "car", "droid_scene", "g1_pick", "pusht")
Stored = dict[str, NDArray[np.generic]]


def file_of(name: str) -> Path:
    return Path(__file__).parent / "checkpoints" / f"{name}_first_chunk.npz"


def stored(name: str) -> Stored:
    with np.load(file_of(name)) as found:
        return dict(found)


def first_chunk(predictor: Predictor, inputs: Stored) -> NDArray[np.uint8]:
    """The frames of the first chunk, uint8 [c, H, W, 3], with the sampling noise of seed 0."""
    predictor.reset()
    predictor.seed(0)
    for step, (frame, command) in enumerate(zip(inputs["observed"], inputs["commands"], strict=True)):
        predictor.observe(frame, step * predictor.step_ns, command)
    return next(iter(predictor.predict_chunks(inputs["actions"]))).frames


def inputs_of(name: str, bag: Path, start: int) -> Stored:
    """Frames before step ``start`` of the only episode of ``bag``, commands, and the frames that came."""
    predictor = Predictor.load(name, "cpu")
    (episode,) = read_episodes(bag, predictor.config.streams)
    seen = slice(start - predictor.config.context_frames, start)
    return {
        "observed": episode.frames[seen],
        "commands": episode.actions[seen],
        "actions": episode.actions[start : start + predictor.horizon],
        "true": episode.frames[start : start + predictor.chunk_frames],
    }


def among_others(inputs: Stored, predictor: Predictor) -> Stored:
    """The inputs of g1_pick for ``base``, where its values come first; at the places of the others their means."""
    mean = np.asarray(predictor.config.action.mean, np.float32)
    placed = {}
    for name in ("commands", "actions"):
        own = inputs[name]
        placed[name] = np.concatenate((own, np.tile(mean[own.shape[1] :], (len(own), 1))), axis=1)
    return inputs | placed


def main(name: str = "", bag: str = "", start: str = "") -> None:
    for one in [name] if name else NAMES:
        predictor = Predictor.load(one, "cpu").with_gate(None)  # as the test has it
        if one == "base":
            inputs = among_others(stored("g1_pick"), predictor)
        else:
            inputs = inputs_of(one, Path(bag), int(start)) if bag else stored(one)
        frames = first_chunk(predictor, inputs)
        np.savez_compressed(file_of(one), **inputs | {"frames": frames})


if __name__ == "__main__":
    main(*sys.argv[1:])
