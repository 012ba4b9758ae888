# SPDX-License-Identifier: Apache-2.0
"""The verdict names the cause that there is evidence for."""

from __future__ import annotations

from typing import Any

import pytest
from short_run import short_recipe
from tiny import tiny_config

from dd_ros_training.card import Evidence, Facts, card, rising, verdict
from dd_ros_training.probe import Probe

LAGS = (-0.1, 0.0, 0.1)
SPEAKS = Probe(seconds=100.0, lags=LAGS, shares=(0.1, 0.3, 0.2), chance=0.02)
SILENT = Probe(seconds=100.0, lags=LAGS, shares=(0.0, 0.01, 0.0), chance=0.02)
LATE = Probe(seconds=100.0, lags=LAGS, shares=(0.0, 0.1, 0.4), chance=0.02, suggested=0.1)
FLAT, RISING = (1.0, 2.0, 2.5, 2.5, 2.5, 2.5), (1.0, 2.0, 2.5, 2.6, 2.8, 3.0)


def figures(best: float) -> dict[str, Any]:
    return {
        "fps": 10.0, "skill_psnr": [-0.1, 0.2], "steps": [1, 2], "actions": {"true_best_fraction": best},
        "uncertainty": {"rank_correlation": [None]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (None, "ignores actions: most often too little training or data; after an hour of training"),
        (
            Evidence(20.0, FLAT, Probe(seconds=9.0, constant=True)),
            "ignores actions: the commands are constant",
        ),
        (Evidence(20.0, FLAT, Probe(seconds=9.0, still=True)), "ignores actions: nothing moves in the bags"),
        (
            Evidence(20.0, FLAT, SILENT),
            "ignores actions: no link is seen between the commands and the motion, at no lag",
        ),
        (
            Evidence(20.0, FLAT, LATE),
            "a shift in time: the commands explain 40% of the motion at a lag of 0.1 s, and 10% at the one of 0 s",
        ),
        (Evidence(20.0, RISING, SPEAKS), "ignores actions: too little training: it was still getting better"),
        (Evidence(1.4, FLAT, SPEAKS), "ignores actions: few data: 1.4 minutes of bags, 5 or more are wanted"),
        (Evidence(1.4, RISING, SPEAKS), "at the end (--max-minutes); few data: 1.4 minutes"),
        (
            Evidence(20.0, FLAT, SPEAKS),
            "ignores actions: the commands explain 30% of the motion that the past",
        ),
        (Evidence(20.0, FLAT, Probe(seconds=9.0)), "ignores actions: most often too little training or data"),
    ],
)
def test_the_cause_is_named(evidence: Evidence | None, cause: str) -> None:
    assert cause in verdict(figures(0.4), evidence)
    assert cause.removeprefix("ignores actions: ") in verdict(figures(0.7), evidence)
    assert "actions matter, but less than they should: " in verdict(figures(0.7), evidence)


def test_what_matters_needs_no_cause() -> None:
    said = verdict(figures(0.95), Evidence(1.0, RISING, SILENT))
    assert said == (
        "Beats copy-last from 0.20 s on; true actions are the best of true, zero and shuffled in 95.0% of the windows: "
        "actions matter."
    )


def test_what_rises() -> None:
    assert rising(RISING)
    assert not rising(FLAT)
    assert not rising([3.0, 2.0, 1.0, 0.0])
    assert not rising([0.0, 1.0, 2.0]), "too few to tell"
    assert not rising([])


def test_the_card_has_what_was_seen() -> None:
    streams = tiny_config().streams.model_copy(update={"action_lag_s": -0.1})
    facts = Facts(
        "hand", "2 bags", "1 bag", "CPU", problems=["bag: cut off"], remarks=["the images are dark"]
    )
    text = card(tiny_config(streams=streams), short_recipe(1, 2, 1), facts=facts)
    assert "Left out:\n\n- bag: cut off\n" in text
    assert "Seen in the data:\n\n- the images are dark\n" in text
    assert "`/action.position[0:2]`, commands in force 0.1 s before their stamps\n" in text
    assert "Seen in the data" not in card(
        tiny_config(), short_recipe(1, 2, 1), facts=Facts("hand", "2 bags", "1 bag", "CPU")
    )
