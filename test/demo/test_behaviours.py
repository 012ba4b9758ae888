# SPDX-License-Identifier: Apache-2.0
"""Those who push: that they keep to what their data is for."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from dd_ros.demo.behaviours import BEHAVIOURS, FAR, REPLAYS, Expert, Replay, Weak, experts, mixed
from dd_ros.demo.goals import pose_cost
from dd_ros.demo.pusht import CENTRE, MARGIN, OUTLINE, HardPusher, Robot, World, to_world
from dd_ros.demo.table import REACH, WORLD
from dd_ros.planning.solvers import Settings


class QuickExpert(Expert):
    SETTINGS = Settings(samples=24, iterations=4, elites=5, repeat=5)


def test_the_weak_policy_stays_near_the_block_and_moves_it() -> None:
    paths = []
    for seed in range(6):
        player, places = Weak(seed), []
        for step in range(60):
            pusher, centre = player.world.pusher, to_world(CENTRE, player.world.block)
            command = player.step()
            assert np.abs(command - pusher).max() <= REACH
            if np.linalg.norm(pusher - centre) < FAR and step > 20:
                assert np.linalg.norm(command - centre) < FAR
            places.append(player.world.block[:2])
            if player.over:
                break
        paths.append(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())
    assert np.median(paths) > 30


def test_the_experts_goals_lie_on_the_table_and_mostly_ask_for_a_push() -> None:
    moved = []
    for seed in range(20):
        expert = Expert(seed)
        block = expert.world.block
        corners = to_world(OUTLINE, expert.goal[2:])
        assert 0 < corners.min() < corners.max() < WORLD
        assert MARGIN <= expert.goal[:2].min() <= expert.goal[:2].max() <= WORLD - MARGIN
        moved.append(np.linalg.norm(expert.goal[2:4] - block[:2]) > 15)
    assert 0.4 < np.mean(moved) < 1.0


def test_the_expert_comes_closer_to_its_goals_than_it_was() -> None:
    before, after = [], []
    for seed in range(4):
        expert = QuickExpert(seed)
        goal = expert.goal
        before.append(pose_cost(goal)(expert.world._table))
        for _ in range(expert.HORIZON):
            expert.step()
            if expert.goal is not goal:
                break
        after.append(pose_cost(goal)(expert.world._table))
    assert np.mean(after) < 0.5 * np.mean(before)


def test_a_replay_does_about_what_the_expert_did_but_not_the_same() -> None:
    expert = QuickExpert(3)
    places = [expert.step() * 0 + expert.world.pusher for _ in range(30)]
    first, again, other = Replay(expert, 0), Replay(expert, 0), Replay(expert, 1)
    apart = []
    for place in places:
        assert not first.over
        command = first.step()
        np.testing.assert_array_equal(command, again.step())
        assert not np.array_equal(command, other.step())
        apart.append(np.linalg.norm(first.world.pusher - place))
    assert first.over
    assert 1 < np.mean(apart) < 40


def test_experts_are_followed_by_their_replays_and_all_take_turns() -> None:
    kinds = [type(player) for player in islice(experts(5), 2 * (REPLAYS + 1))]
    assert kinds == 2 * ([Expert] + REPLAYS * [Replay])
    kinds = [type(player) for player in islice(mixed(5), 12)]
    assert kinds[1::2] == 2 * [Robot, HardPusher, Weak]
    assert kinds[::2] == [Expert, Replay, Replay, Replay, Expert, Replay]


@pytest.mark.parametrize("behaviour", ["robot", "hard-pushes", "weak"])
def test_each_seed_is_an_episode_of_its_own(behaviour: str) -> None:
    first, second = islice(BEHAVIOURS[behaviour](7), 2)
    np.testing.assert_array_equal(first.world.block, World(7).block)
    np.testing.assert_array_equal(second.world.block, World(8).block)
