# SPDX-License-Identifier: Apache-2.0
"""Shared memory that killed programs left behind: Fast DDS never takes it back, 64 MiB each time with our profile.

Each segment ``/dev/shm/fastdds_NAME`` (Fast DDS 2: ``fastrtps_NAME``) has a file ``fastdds_NAME_el`` beside it, which its
owner holds locked as long as it lives.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")
LOCK = "_el"
BIRTH = 5.0  # s; a file this young may belong to somebody who is about to lock it


def clear_dead_segments(*, owner: int | None = None, older_than: float = BIRTH) -> int:
    """Remove the segments of a user whose programs are dead; those of the living and of other users stay.

    Args:
        owner: user id; None: the user of this process.
        older_than: seconds; younger ones stay.

    Returns:
        Bytes that are free now.
    """
    user, freed = os.geteuid() if owner is None else owner, 0
    for lock in (*FOLDER.glob(f"fastdds_*{LOCK}"), *FOLDER.glob(f"fastrtps_*{LOCK}")):
        with suppress(OSError):  # gone meanwhile, or its lock is held: it lives
            found = lock.lstat()
            if (
                not stat.S_ISREG(found.st_mode)
                or found.st_uid != user
                or time.time() - found.st_mtime < older_than
            ):
                continue
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                freed += _remove(lock.with_name(lock.name.removesuffix(LOCK)))
                lock.unlink()
    return freed


def _remove(segment: Path) -> int:
    """Bytes of a file that is gone now; 0 where there was none."""
    try:
        size = segment.lstat().st_size
        segment.unlink()
    except FileNotFoundError:
        return 0
    return size
