# SPDX-License-Identifier: Apache-2.0
"""The table beside the original: equal physics to the bit, equal pictures to the last pixel."""

from __future__ import annotations

import numpy as np
import pytest
from gym_pusht.envs.pusht import PushTEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from dd_ros.demo.camera import Camera
from dd_ros.demo.pusht import World
from dd_ros.demo.table import REACH, WORLD, Table, Vector, pusher_of, targets

SIZE = 96
STEPS = 150


def original(seed: int) -> PushTEnv:
    env = PushTEnv(obs_type="state", observation_width=SIZE, observation_height=SIZE)
    env.reset(seed=seed)
    return env


def state_of(env: PushTEnv) -> Vector:
    return np.array([*env.agent.position, *env.block.position, env.block.angle, *env.agent.velocity])


def pushes(env: PushTEnv, rng: np.random.Generator) -> Vector:
    """A command that goes for the block, and now and then for a wall."""
    if rng.random() < 0.1:
        return rng.uniform(-20, WORLD + 20, 2)
    return np.array(env.block.position) + rng.normal(0, 60, 2)


@pytest.mark.parametrize("seed", range(4))
def test_every_step_and_every_pixel_is_as_in_the_original(seed: int) -> None:
    env, table, camera = original(seed), Table(seed), Camera(SIZE)
    rng = np.random.default_rng(seed)
    contacts = near_walls = 0
    for step in range(STEPS):
        np.testing.assert_array_equal(table.state, state_of(env))
        if step % 3 == 0:
            np.testing.assert_array_equal(camera.image(table), env._render())
        contacts += bool(table.contacts())
        near_walls += np.abs(np.array(table.corners()) - WORLD / 2).max() > 245
        command = pushes(env, rng)
        env.step(command)
        table.step(command)
    assert contacts > 20
    assert near_walls > 0


def test_pictures_are_as_in_the_original_wherever_pusher_and_block_are() -> None:
    env, table, camera = original(0), Table(0), Camera(SIZE)
    rng = np.random.default_rng(0)
    for _ in range(100):
        state = np.concatenate([rng.uniform(0, WORLD, 4), [rng.uniform(-7, 7)]])
        env._setup()
        env.block.angle, env.block.position = state[4], tuple(state[2:4])
        env.agent.position = tuple(state[:2])
        env.space.step(env.dt)  # which also finds out what overlaps
        table.place(state)
        table.settle()
        np.testing.assert_array_equal(camera.image(table), env._render())


def test_a_seed_gives_the_table_that_it_always_gave() -> None:
    env, world = original(5), World(5)
    start = world.state
    env.block.angle, env.block.position = start[4], tuple(start[2:4])
    env.agent.position = tuple(start[:2])
    env.space.step(env.dt)
    rng = np.random.default_rng(5)
    for _ in range(60):
        command = pushes(env, rng)
        env.step(command)
        world.step(command)
        np.testing.assert_allclose(world.state, state_of(env), atol=1e-6)


place = st.floats(30, WORLD - 30)
states = st.tuples(
    place, place, place, place, st.floats(-7, 7), st.floats(-300, 300), st.floats(-300, 300)
).map(np.array)


@settings(max_examples=50, deadline=None)
@given(state=states, past=states, commands=st.lists(st.tuples(place, place), min_size=3, max_size=8))
def test_a_state_that_is_set_is_the_state_and_decides_the_future(
    state: Vector, past: Vector, commands: list[tuple[float, float]]
) -> None:
    fresh, used = Table(), Table(1)
    used.place(past)
    for command in commands[::-1]:
        used.step(np.array(command))
    for table in (fresh, used):
        table.place(state)
        np.testing.assert_allclose(table.state, state, atol=1e-9)
    for command in commands:
        fresh.step(np.array(command))
        used.step(np.array(command))
        np.testing.assert_array_equal(fresh.state, used.state)


def test_five_numbers_are_a_pusher_at_rest() -> None:
    table = Table()
    table.step(np.array([10.0, 10.0]))
    table.place(np.array([100.0, 110.0, 300.0, 310.0, 1.0]))
    np.testing.assert_allclose(table.state, [100, 110, 300, 310, 1, 0, 0], atol=1e-9)


def test_rollouts_are_what_the_steps_would_have_done() -> None:
    rng, table, touched, far = np.random.default_rng(2), Table(2), 0, 0
    for _ in range(5):
        table.step(rng.uniform(100, 400, 2))
    start = table.state
    commands = start[2:4] + rng.normal(0, 90, (40, 25, 2))
    found = Table().rollouts(start, commands)
    assert found.shape == (40, 25, 7)
    apart = []
    for sequence, expected in zip(commands, found, strict=True):
        table.place(start)
        for command, state in zip(sequence, expected, strict=True):
            table.step(command)
            touched += bool(table.contacts())
            far += np.linalg.norm(state[:2] - state[2:4]) > 150
        apart.append(np.abs(table.state - expected[-1]).max())
    assert min(touched, far) > 50
    assert np.quantile(apart, 0.8) < 1e-9
    assert max(apart) < 3.0


def test_a_rollout_from_the_middle_of_a_push_is_close_to_what_happens() -> None:
    """What the solver remembers of contacts is no part of the state: without it futures differ a little."""
    rng, errors = np.random.default_rng(3), []
    for seed in range(12):
        world, twin = World(seed), Table()
        while not world.touched:
            world.step(world.pusher + np.clip(world.block[:2] - world.pusher, -60, 60))
        commands = world.block[:2] + rng.normal(0, 40, (10, 2))
        (found,) = twin.rollouts(world.state, commands[None])
        for command in commands:
            world.step(command)
        errors.append(np.linalg.norm(world.state[:4] - found[-1, :4]))
    assert np.median(errors) < 2.0


@settings(max_examples=50, deadline=None)
@given(state=states, seed=st.integers(0, 1000))
def test_relative_actions_are_relative_to_where_the_pusher_will_be(state: Vector, seed: int) -> None:
    actions = np.random.default_rng(seed).uniform(-1.3, 1.3, (6, 2))
    commands = targets(pusher_of(state), actions)
    assert commands.shape == (6, 2)
    table = Table()
    table.place(state)
    for action, command in zip(np.clip(actions, -1, 1), commands, strict=True):
        expected = np.clip(table.state[:2] + REACH * action, 0, WORLD)
        np.testing.assert_allclose(command, expected, atol=1e-6)
        table.step(command)


def test_many_sequences_of_relative_actions_are_converted_at_once() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 7, 2))
    state = Table().state
    together = targets(pusher_of(state), actions)
    assert together.shape == actions.shape
    np.testing.assert_array_equal(together[2, 1], targets(pusher_of(state), actions[2, 1]))
