# SPDX-License-Identifier: Apache-2.0
"""What would happen if: predictions of several command sequences from one start, beside the simulator's own outcomes.

Example:
    python -m dd_ros.demo.counterfactuals --checkpoint pusht --json out/counterfactuals.json --image out/counterfactuals.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from dd_ros.console import Command
from dd_ros.demo.pusht import CENTRE, IMAGE_SIZE, OUTLINE, RATE_HZ, WORLD, Robot, Vector, to_world
from dd_ros.errors import InputError
from dd_ros.json_files import write_json
from dd_ros.predictor import Predictor

TURNS = np.radians([-50.0, -25.0, 0.0, 25.0, 50.0])  # of the way to the block; a sixth sequence stands still
SPEED = 14.0  # units per step
MOVED = 10.0  # units of its centre, from which on a block counts as pushed
NUDGE = np.array([1.0, 0.0])  # units, for how much a start that is not known exactly matters
NEAR = 110.0  # units between pusher and block at the start
TABLE, BLOCK = np.array((255.0, 255.0, 255.0)), np.array((119.0, 136.0, 153.0))  # colours
OTHER = (
    0.25  # share of a colour beside those two, from which on it is something else's: green goal, blue pusher
)
WALL = 2  # pixels along the edges that belong to the walls
FEWEST_PIXELS = 40.0  # of the block, of some 330
SHIFT_BITS = 4  # fractions of pixels, for cv2.fillPoly

Images = NDArray[np.uint8]


class Outcome(NamedTuple):
    """What one sequence of commands from a start leads to.

    Attributes:
        commands: [K, 2].
        images: what the simulator shows, uint8 [K, H, W, 3].
        blocks: pose of the block after each command: x, y, angle in rad, [K, 3].
        nudged: the same if it had stood NUDGE elsewhere at the start.
    """

    commands: Vector
    images: Images
    blocks: Vector
    nudged: Vector


class Start(NamedTuple):
    """A table about to be pushed on.

    Attributes:
        images: observed frames, uint8 [C, H, W, 3].
        commands: in force at them, [C, 2].
        block: pose of the block.
        outcomes: what several sequences of commands lead to.
    """

    images: Images
    commands: Vector
    block: Vector
    outcomes: list[Outcome]


def start(seed: int, context: int, horizon: int) -> Start:
    """Let the robot work until it is near the block; then branch."""
    steps = 0
    robot = Robot(seed)
    while steps < context or np.linalg.norm(robot.world.pusher - to_world(CENTRE, robot.world.block)) > NEAR:
        robot.step()
        steps += 1
    robot, images, commands = replayed(seed, steps)
    pusher, way = robot.world.pusher, to_world(CENTRE, robot.world.block) - robot.world.pusher
    ahead = np.arctan2(way[1], way[0])
    lengths = SPEED * np.arange(1, horizon + 1)[:, None]
    sequences = [pusher + lengths * [np.cos(ahead + turn), np.sin(ahead + turn)] for turn in TURNS]
    sequences.append(np.tile(pusher, (horizon, 1)))
    block = robot.world.block
    outcomes = [branch(seed, steps, np.clip(sequence, 0.0, WORLD)) for sequence in sequences]
    return Start(np.stack(images[-context:]), np.stack(commands[-context:]), block, outcomes)


def replayed(seed: int, steps: int) -> tuple[Robot, list[Images], list[Vector]]:
    """The robot after ``steps`` steps, always the same, with the images and the commands that led to them."""
    robot = Robot(seed)
    images, commands = [robot.world.image()], [robot.world.pusher]
    for _ in range(steps):
        commands.append(robot.step())
        images.append(robot.world.image())
    return robot, images, commands


def branch(seed: int, steps: int, commands: Vector) -> Outcome:
    """The simulator's outcome of ``commands`` [K, 2]."""
    world, twin = (replayed(seed, steps)[0].world for _ in range(2))
    twin.nudge(NUDGE)
    images, blocks, nudged = [], [], []
    for command in commands:
        world.step(command)
        twin.step(command)
        images.append(world.image())
        blocks.append(world.block)
        nudged.append(twin.block)
    return Outcome(commands, np.stack(images), np.stack(blocks), np.stack(nudged))


def block_pose(image: Images) -> Vector | None:
    """Pose of the block in an image, uint8 [96, 96, 3]: the outline that covers it best; None if it is gone."""
    seen = likeness(image)
    if seen.sum() < FEWEST_PIXELS:
        return None
    rows, columns = np.indices(seen.shape)
    middle = (np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum() + 0.5) * WORLD / IMAGE_SIZE
    best = max(
        (posed(middle, angle) for angle in np.radians(np.arange(0, 360, 10))),
        key=lambda pose: overlap(seen, pose),
    )
    for turn, move in ((5.0, 8.0), (2.5, 4.0), (1.0, 2.0)):
        moves = [
            np.array([x, y, np.radians(a)])
            for x in (-move, 0, move)
            for y in (-move, 0, move)
            for a in (-turn, 0, turn)
        ]
        best = max((best + part for part in moves), key=lambda pose: overlap(seen, pose))
    return best


def likeness(image: Images) -> Vector:
    """How much of each pixel is the block, 0 to 1, [96, 96]: a blurred one counts as far as it is there."""
    colours, towards = TABLE - image, TABLE - BLOCK
    share = colours @ towards / (towards @ towards)
    beside = np.linalg.norm(colours - share[..., None] * towards, axis=-1)
    share[beside > OTHER * np.linalg.norm(colours, axis=-1)] = 0.0
    share = np.clip(share, 0.0, 1.0)
    inside = np.zeros_like(share)
    inside[WALL:-WALL, WALL:-WALL] = share[WALL:-WALL, WALL:-WALL]
    return inside


def posed(middle: Vector, angle: float) -> Vector:
    """The pose at ``angle`` whose area is centred on ``middle``."""
    pose = np.array([0.0, 0.0, angle])
    pose[:2] = middle - to_world(CENTRE, pose)
    return pose


def overlap(seen: Vector, pose: Vector) -> float:
    """How much of what is ``seen`` of the block, 0 to 1 per pixel, lies within the block at ``pose``."""
    corners = to_world(OUTLINE, pose) * IMAGE_SIZE / WORLD - 0.5
    drawn = np.zeros(seen.shape, np.uint8)
    cv2.fillPoly(drawn, [(corners * 2**SHIFT_BITS).round().astype(np.int32)], 1, shift=SHIFT_BITS)
    return float((seen * drawn).sum())


def error(pose: Vector | None, true: Vector) -> tuple[float, float]:
    """(distance of the centres in units, angle in degrees) between poses; the table's side and 180 where there is none."""
    if pose is None:
        return WORLD, 180.0
    turn = (pose[2] - true[2] + np.pi) % (2 * np.pi) - np.pi
    return float(np.linalg.norm(to_world(CENTRE, pose) - to_world(CENTRE, true))), float(
        np.degrees(abs(turn))
    )


def predict(predictor: Predictor, table: Start) -> Images:
    """Predicted frames of all rollouts from ``table``, uint8 [N, K, H, W, 3]."""
    predictor.reset()
    for step, (image, command) in enumerate(zip(table.images, table.commands, strict=True)):
        predictor.observe(image, step * predictor.step_ns, command)
    return predictor.predict(np.stack([outcome.commands for outcome in table.outcomes]))


def compare(tables: Sequence[Start], predictions: Sequence[Images], step: int) -> dict[str, Any]:
    """Errors of the block's pose after ``step`` commands: as predicted, and of what it compares with.

    That is: the pose if the block had not moved, the pose read off the true image, and where the block comes to
    from a start that is NUDGE off.
    """
    names = ("predicted", "unmoved", "read_off_true_image", "nudged_start")
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    moved, index = [], step - 1
    for table, images in zip(tables, predictions, strict=True):
        for outcome, predicted in zip(table.outcomes, images, strict=True):
            true = outcome.blocks[index]
            rows["predicted"].append(error(block_pose(predicted[index]), true))
            rows["unmoved"].append(error(table.block, true))
            rows["read_off_true_image"].append(error(block_pose(outcome.images[index]), true))
            rows["nudged_start"].append(error(outcome.nudged[index], true))
            moved.append(rows["unmoved"][-1][0] > MOVED)
    pushed = np.array(moved)
    better = np.array([a[0] < b[0] for a, b in zip(rows["predicted"], rows["unmoved"], strict=True)])
    return {
        "seconds_ahead": round(step / RATE_HZ, 2),
        "starts": len(tables),
        "sequences": len(pushed),
        "pushed": int(pushed.sum()),
        "nearer_than_unmoved_where_pushed": round(float(better[pushed].mean()), 3) if pushed.any() else None,
        **{name: summary(np.array(values), pushed) for name, values in rows.items()},
    }


def summary(values: Vector, pushed: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Medians of the centre's error in units (of 512) and of the angle's in degrees."""
    parts = {"pushed": values[pushed], "left_alone": values[~pushed]}
    return {
        name: {
            "centre": round(float(np.median(part[:, 0])), 1),
            "degrees": round(float(np.median(part[:, 1])), 1),
        }
        for name, part in parts.items()
        if len(part)
    }


def image(table: Start, images: Images) -> Images:
    """Last frames of a start: the simulator's above the predicted ones, the start to the left, enlarged."""
    true = [table.images[-1], *(outcome.images[-1] for outcome in table.outcomes)]
    predicted = [np.full_like(table.images[-1], 255), *images[:, -1]]
    rows = np.concatenate([np.concatenate(row, axis=1) for row in (true, predicted)])
    return np.asarray(cv2.resize(rows, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST), np.uint8)


@click.command(cls=Command)
@click.option("--checkpoint", default="pusht", show_default=True, help="Checkpoint folder or shipped name.")
@click.option("--starts", default=20, show_default=True, help="Tables, each with six sequences of commands.")
@click.option("--seed", default=10_000, show_default=True, help="Seed of the first table.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), required=True, help="Where the figures go."
)
@click.option(
    "--image", "image_path", type=click.Path(path_type=Path), help="Last frames of the first tables."
)
def main(checkpoint: str, starts: int, seed: int, json_path: Path, image_path: Path | None) -> None:
    """Compare predicted and simulated outcomes of several command sequences from one start."""
    predictor = Predictor.load(checkpoint)
    if predictor.action_dim != 2 or (predictor.width, predictor.height) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InputError(f"{checkpoint}: expected a checkpoint of the simulated pusher, such as pusht")
    tables = [start(seed + n, predictor.config.context_frames, predictor.horizon) for n in range(starts)]
    predictions = [predict(predictor, table) for table in tables]
    horizon = predictor.horizon
    result = compare(tables, predictions, horizon)
    on_the_way = [compare(tables, predictions, step) for step in (horizon // 2, horizon * 3 // 4)]
    write_json(json_path, {"checkpoint": predictor.config.name, **result, "on_the_way": on_the_way})
    if image_path:
        shown = [image(table, images) for table, images in zip(tables[:4], predictions[:4], strict=True)]
        cv2.imwrite(str(image_path), np.concatenate(shown)[..., ::-1])
    print(
        f"{result['sequences']} sequences, {result['pushed']} move the block: its centre is predicted to "
        f"{result['predicted'].get('pushed', {}).get('centre')} units (unmoved: {result['unmoved'].get('pushed', {}).get('centre')})"
    )


if __name__ == "__main__":
    main()
