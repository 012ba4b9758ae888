# SPDX-License-Identifier: Apache-2.0
"""Named denoising schedules: the diagonal one and those it is compared with.

Levels are those of the paper's release after its shift of 5 (1000, 750, 500, 100 of 1000 become
1, 0.9375, 0.8333, 0.3571): the last step starts at 0.3571, and that is the noise at which a chunk's
keys and values stay in the cache (Diagonal Forcing).
"""

from __future__ import annotations

from dd_ros.config import Schedule
from dd_ros.diffusion.path import shift
from dd_ros.errors import InputError

LAST = 0.3571
CLEAN = "_clean_context"
STEPS = {
    1: (1.0,),
    2: (1.0, LAST),
    3: (1.0, 0.9375, LAST),
    4: (1.0, 0.9375, 0.8333, LAST),
}


def diagonal(steps: tuple[int, ...], chunk_frames: int) -> Schedule:
    """Schedule with ``steps[k]`` denoising steps for chunk k, the last entry for all later ones."""
    return Schedule(chunk_frames=chunk_frames, levels=tuple(STEPS[count] for count in steps))


def teacher(frames: int, steps: int = 50, guidance: float = 1.0) -> Schedule:
    """The undistilled many-step sampler: all frames at once, seeing each other, with guidance."""
    levels = tuple(round(float(shift(1.0 - i / steps)), 4) for i in range(steps))
    return Schedule(chunk_frames=frames, levels=(levels,), guidance=guidance)


def uniform4_clean_context(chunk_frames: int) -> Schedule:
    """The Self-Forcing recipe: four steps for every chunk, then a clean pass for the cache."""
    levels = tuple(round(float(shift(1.0 - i / 4)), 4) for i in range(4))
    return Schedule(chunk_frames=chunk_frames, levels=(levels,), clean_context=True)


def preset(name: str, chunk_frames: int, horizon: int) -> Schedule:
    """Schedule by name: step counts such as ``4-3-2-2``, or a rival's name.

    Step counts followed by ``_clean_context`` get a clean pass for the cache after every chunk.

    Raises:
        InputError: the name is neither.
    """
    if name == "teacher":
        return teacher(horizon)
    if name == "uniform4_clean_context":
        return uniform4_clean_context(chunk_frames)
    if name in ("one_step", "uniform2", "uniform4"):
        return diagonal(({"one_step": 1, "uniform2": 2, "uniform4": 4}[name],), chunk_frames)
    counts, clean = name.removesuffix(CLEAN), name.endswith(CLEAN)
    try:
        schedule = diagonal(tuple(int(count) for count in counts.split("-")), chunk_frames)
        return schedule.model_copy(update={"clean_context": clean})
    except (ValueError, KeyError) as error:
        raise InputError(
            f"schedule {name!r}: expected step counts from 1 to 4 such as 4-3-2-2, or one_step, "
            "uniform2, uniform4, uniform4_clean_context, teacher"
        ) from error
