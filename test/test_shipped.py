# SPDX-License-Identifier: Apache-2.0
"""The shipped checkpoints: they load, predict what they predicted, and predict well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shipped import NAMES, first_chunk, stored

from dd_ros import Predictor
from dd_ros.checkpoint import load_checkpoint
from dd_ros.demo.pusht import Robot
from dd_ros.demo.simulate import write_episode
from dd_ros.evaluation.evaluate import evaluate
from dd_ros.evaluation.metrics import psnr
from dd_ros.resources import find_checkpoint

# Grey levels: bfloat16 moves these frames by 2 at most and 0.05 on average, frames or actions in another order by 0.6.
LARGEST, MEAN = 6, 0.2


def test_these_are_all_that_is_shipped() -> None:
    assert sorted(folder.name for folder in find_checkpoint(NAMES[0]).parent.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_the_first_chunk_is_what_it_was(name: str, dtype: torch.dtype) -> None:
    inputs = stored(name)
    # Of the network, which weights and code decide; the gate behind it is fitted anew now and then.
    frames = first_chunk(Predictor(*load_checkpoint(name), dtype=dtype).with_gate(None), inputs)
    assert frames.shape == inputs["frames"].shape
    difference = np.abs(frames.astype(int) - inputs["frames"])
    assert difference.max() <= LARGEST
    assert difference.mean() <= MEAN
    copied = np.broadcast_to(inputs["observed"][-1], frames.shape)
    assert psnr(inputs["true"], frames).mean() > psnr(inputs["true"], copied).mean() + 5.0


def test_pusht_is_far_above_copy_last_on_an_episode_it_has_not_seen(tmp_path: Path) -> None:
    write_episode(tmp_path / "bag", Robot(20_001), steps=44)
    result = evaluate("pusht", [tmp_path / "bag"], tmp_path / "eval.json", device="cpu")
    assert result["windows"] == 4
    mean = {name: figures["psnr"] for name, figures in result["mean"].items()}
    assert mean["model"] > mean["copy_last"] + 5.0
    assert result["actions"]["true_best_fraction"] == 1.0
