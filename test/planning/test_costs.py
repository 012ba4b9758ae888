# SPDX-License-Identifier: Apache-2.0
"""Costs against slow, obvious sums; their names; what a wrong goal gets."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from dd_ros import Predictor
from dd_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from dd_ros.config import ReadoutSpec
from dd_ros.errors import InputError
from dd_ros.planning import costs
from dd_ros.planning.costs import Candidates, Goal, StepCost, make_cost
from dd_ros.streams import ActionSource

RNG = np.random.default_rng(0)
GOAL = RNG.integers(0, 256, (32, 48, 3), np.uint8)
ACTIONS = RNG.normal(size=(3, 8, 2)).astype(np.float32)
SPEC = ReadoutSpec(
    sources=(ActionSource(topic="/pose", fields=("position[0:3]",), dim=3),), names=("x", "y", "z"),
    mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 0.5),
)  # fmt: skip


@pytest.fixture(scope="module")
def reading(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with a head of random weights that reads three numbers."""
    config, model = load_checkpoint(tiny_checkpoint)
    config = config.model_copy(update={"readouts": SPEC})
    with_head = Model(config)
    with_head.load_state_dict(model.state_dict(), strict=False)
    folder = tmp_path_factory.mktemp("reading") / "tiny"
    save_checkpoint(folder, config, with_head, card="")
    return folder


@pytest.fixture(scope="module")
def predictor(reading: Path) -> Predictor:
    predictor = Predictor.load(reading, device="cpu")
    for step in range(2):
        predictor.observe(RNG.integers(0, 256, (32, 48, 3), np.uint8), step * 100_000_000, [0.1, 0.2])
    return predictor


@pytest.fixture(scope="module")
def candidates(predictor: Predictor) -> Candidates:
    (rollouts,) = predictor.rollouts(ACTIONS, frames="all", latents=True)
    return Candidates(ACTIONS, rollouts)


def test_pixels(predictor: Predictor, candidates: Candidates) -> None:
    cost = make_cost("pixels", goal=Goal(image=GOAL), predictor=predictor)
    assert candidates.rollouts.frames is not None
    slow = [np.mean((frames[-1].astype(float) - GOAL) ** 2) / 255**2 for frames in candidates.rollouts.frames]
    assert np.allclose(cost(candidates), slow)
    assert (cost.frames, cost.latents) == ("last", False)


@pytest.mark.parametrize("over", ["last", "mean", "least"])
def test_steps_count_as_the_text_says(predictor: Predictor, candidates: Candidates, over: str) -> None:
    cost = make_cost(f"latents:{over}", goal=Goal(image=GOAL), predictor=predictor)
    (wanted,), _ = predictor.encode(GOAL[None])
    assert candidates.rollouts.latents is not None
    slow = [
        [np.mean((step.astype(float) - wanted) ** 2) for step in rollout]
        for rollout in candidates.rollouts.latents
    ]
    whole = {"last": lambda row: row[-1], "mean": np.mean, "least": min}[over]
    assert np.allclose(cost(candidates), [whole(row) for row in slow])
    assert (cost.frames, cost.latents) == (None, True)


def test_readouts_by_state_leave_out_what_may_be_anything(
    predictor: Predictor, candidates: Candidates
) -> None:
    cost = make_cost("readouts", goal=Goal(state=np.array([1.5, np.nan, 2.0])), predictor=predictor)
    found = candidates.rollouts.readouts
    assert found is not None
    slow = [(((row[-1, 0] - 1.5) / 2.0) ** 2 + ((row[-1, 2] - 2.0) / 0.5) ** 2) / 2 for row in found]
    assert np.allclose(cost(candidates), slow)
    assert (cost.frames, cost.latents) == (None, False)


def test_readouts_by_image_are_those_of_the_state_read_off_it(
    predictor: Predictor, candidates: Candidates
) -> None:
    _, read = predictor.encode(GOAL[None])
    assert read is not None
    by_image = make_cost("readouts", goal=Goal(image=GOAL), predictor=predictor)
    by_state = make_cost("readouts", goal=Goal(state=read[0]), predictor=predictor)
    assert np.allclose(by_image(candidates), by_state(candidates))


def test_a_sum_weighs_its_terms(predictor: Predictor, candidates: Candidates) -> None:
    goal = Goal(image=GOAL)
    cost = make_cost("2*pixels:mean + 1e-1*smoothness+magnitude", goal=goal, predictor=predictor)
    slow = []
    assert candidates.rollouts.frames is not None
    for frames, actions in zip(candidates.rollouts.frames, ACTIONS.astype(float), strict=True):
        pixels = np.mean((frames.astype(float) / 255 - GOAL / 255) ** 2)
        jerks = [0.0, *(np.mean((b - a) ** 2) for a, b in itertools.pairwise(actions))]
        slow.append(2 * pixels + 0.1 * np.mean(jerks) + np.mean(actions**2))
    assert np.allclose(cost(candidates), slow)
    assert cost.frames == "all"


def test_no_number_is_the_worst(candidates: Candidates) -> None:
    step = StepCost(lambda c: np.array([[1.0], [np.nan], [np.inf]]))
    assert costs.Cost([costs.Term(1.0, "last", step)])(candidates).tolist() == [1.0, np.inf, np.inf]


def test_nothing_is_decoded_for_costs_that_read_no_frames(predictor: Predictor) -> None:
    cost = make_cost("readouts + 0.1*uncertainty", goal=Goal(state=np.zeros(3)), predictor=predictor)
    (rollouts,) = predictor.rollouts(ACTIONS, frames=cost.frames, latents=cost.latents)
    assert rollouts.frames is None
    assert rollouts.latents is None
    assert np.isfinite(cost(Candidates(ACTIONS, rollouts))).all()


@pytest.mark.parametrize(
    ("text", "goal", "said"),
    [
        ("nearness", Goal(), "cost: expected pixels, latents"),
        ("", Goal(), "cost: expected terms such as readouts"),
        ("pixels +", Goal(image=GOAL), "cost: expected terms"),
        ("x*pixels", Goal(image=GOAL), "cost: expected"),
        ("1e999*pixels", Goal(image=GOAL), "cost: expected a number before \\*"),
        ("pixels:first", Goal(image=GOAL), "cost pixels: expected :last, :mean or :least"),
        ("pixels", Goal(state=np.zeros(3)), "cost pixels: expected a goal image, got none"),
        ("latents", Goal(image=GOAL[..., 0]), "image: expected uint8"),
        ("readouts", Goal(), "cost readouts: expected a goal state or a goal image"),
        ("readouts", Goal(state=np.zeros(2)), "goal state: expected 3 values \\(x, y, z\\), got 2"),
        ("readouts", Goal(state=np.array([0, 0, np.inf])), "goal state: expected finite numbers"),
        ("readouts", Goal(state=np.full(3, np.nan)), "goal state: expected finite numbers"),
    ],
)
def test_what_is_wrong_is_said(predictor: Predictor, text: str, goal: Goal, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_cost(text, goal=goal, predictor=predictor)


def test_a_checkpoint_without_read_outs_says_so(tiny_checkpoint: Path) -> None:
    predictor = Predictor.load(tiny_checkpoint, device="cpu")
    with pytest.raises(InputError, match="reads nothing off its frames; see dd_ros readout"):
        make_cost("readouts", goal=Goal(state=np.zeros(3)), predictor=predictor)


def test_ones_own_cost_comes_by_entry_point(
    predictor: Predictor, candidates: Candidates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_costs.py").write_text(
        "from dd_ros.planning.costs import StepCost\n"
        "def low(goal, predictor):\n"
        "    return StepCost(lambda c: c.rollouts.readouts[..., 1], over='least')\n"
    )
    info = tmp_path / "my_costs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_costs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dd_ros.costs]\nlow = my_costs:low\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = make_cost("low", goal=Goal(), predictor=predictor)(candidates)
    assert candidates.rollouts.readouts is not None
    assert np.allclose(found, candidates.rollouts.readouts[..., 1].min(axis=1))
