# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dd_ros.data.steps import Episode
from dd_ros.errors import InputError
from dd_ros.evaluation.windows import Window, clip_of, make_windows, shuffled_actions


def episode(steps: int, name: str = "e", offset: float = 0.0) -> Episode:
    """Frames and actions that hold their own index."""
    index = np.arange(steps)
    frames = np.broadcast_to(index[:, None, None, None], (steps, 8, 8, 3)).astype(np.uint8)
    return Episode(frames, (index[:, None] + offset).astype(np.float32), index * 10**8, name)


def test_windows_start_every_stride_and_end_inside():
    windows = make_windows([episode(30), episode(9), episode(11)], context=3, horizon=8, stride=5)
    assert windows == [Window(0, 2), Window(0, 7), Window(0, 12), Window(0, 17), Window(2, 2)]
    clip = clip_of(episode(30), windows[3], context=3, horizon=8)
    assert clip.frames[:, 0, 0, 0].tolist() == clip.actions[:, 0].tolist() == list(range(15, 26))


def test_the_last_frame_of_an_episode_is_a_target():
    assert make_windows([episode(10)], context=2, horizon=8, stride=1) == [Window(0, 1)]


def test_baselines_get_two_frames_even_with_a_context_of_one():
    assert make_windows([episode(12)], context=1, horizon=8, stride=8) == [Window(0, 1)]


def test_a_limit_spreads_over_all_episodes():
    episodes = [episode(40), episode(40), episode(40)]
    windows = make_windows(episodes, context=2, horizon=8, stride=4, limit=6)
    assert len(windows) == len(set(windows)) == 6
    assert {window.episode for window in windows} == {0, 1, 2}


def test_too_short_episodes_are_named():
    with pytest.raises(InputError, match=r"needs 10 frames.*the longest episode has 9"):
        make_windows([episode(9), episode(4)], context=2, horizon=8, stride=8)


@pytest.mark.parametrize(("stride", "limit", "name"), [(0, None, "stride"), (8, 0, "max-windows")])
def test_bad_numbers_are_named(stride, limit, name):
    with pytest.raises(InputError, match=f"{name}: expected at least 1, got 0"):
        make_windows([episode(30)], context=2, horizon=8, stride=stride, limit=limit)


def test_foreign_actions_come_from_another_episode():
    episodes = [episode(30), episode(30, offset=1000.0), episode(4, offset=2000.0)]
    for seed in range(10):
        actions = shuffled_actions(episodes, Window(0, 5), horizon=8, rng=np.random.default_rng(seed))
        assert actions.shape == (8, 1)
        assert actions[0, 0] >= 1000.0
        np.testing.assert_allclose(np.diff(actions[:, 0]), 1.0)


def test_foreign_actions_of_a_single_episode_start_elsewhere():
    for seed in range(20):
        actions = shuffled_actions([episode(11)], Window(0, 1), horizon=8, rng=np.random.default_rng(seed))
        assert actions[0, 0] in (0.0, 1.0, 3.0)


def test_foreign_actions_of_a_single_window_run_backwards():
    only = episode(8)
    actions = shuffled_actions([only], Window(0, -1), horizon=8, rng=np.random.default_rng(0))
    assert actions[:, 0].tolist() == list(range(7, -1, -1))
