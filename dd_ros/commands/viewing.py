# SPDX-License-Identifier: Apache-2.0
"""What ``dd_ros view`` does: what a camera sees beside what was predicted for it, live or from a bag."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dd_ros.commands.predicting import load
from dd_ros.progress import progress
from dd_ros.view.log import ViewLog
from dd_ros.view.offline import written
from dd_ros.view.sinks import Sink, opened


def view_bag(
    checkpoint: str, bag: Path, sink: Sink, *, leads: Sequence[float] = (), candidates: int = 0,
    image_topic: str | None = None, action_topics: Sequence[str] = (), device: str = "auto",
) -> None:  # fmt: skip
    """Show a bag and what a checkpoint predicts of it; a page for browsers is there until Ctrl-C.

    Args:
        checkpoint: folder or shipped name.
        bag: a bag, a folder of them, or a LeRobot data set.
        sink: where it is shown.
        leads: seconds ahead; empty: a quarter, a half and the whole horizon.
        candidates: action sequences to compare every half horizon; 0 compares none.
        image_topic, action_topics: instead of those the checkpoint names.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        InputError: unusable checkpoint, bag, topics or leads, or nothing to show it with.
    """
    with opened(sink) as recording:
        predictor, episodes = load(
            checkpoint, bag, image_topic=image_topic, action_topics=action_topics, device=device
        )
        log = ViewLog(recording, leads=leads, candidates=bool(candidates))
        runs = written(predictor, episodes, log, candidates=candidates)
        for _ in progress(chain.from_iterable(runs), "predicting", sum(map(len, episodes))):
            pass
        if sink.is_page:
            recording.flush()
            print("all is there; Ctrl-C ends", flush=True)
            while True:
                time.sleep(1.0)


def view_live(
    sink: Sink, *, node: str, checkpoint: str | None = None, leads: Sequence[float] = (), image_topic: str | None = None,
    action_topics: Sequence[str] = (), seconds: float = 0.0, use_sim_time: bool = False,
) -> int:  # fmt: skip
    """Look at a running predictor until Ctrl-C, or for ``seconds`` (0: no end).

    Args:
        sink: where it is shown.
        node: name of the predictor.
        checkpoint: tells which fields of the topics are commands.
        leads: seconds ahead; empty: a quarter, a half and the whole horizon.
        image_topic, action_topics: instead of those that the predictor says it listens to.
        seconds: how long to look on.
        use_sim_time: whether the time comes from /clock.

    Returns:
        Exit status of the node ``viewer``.
    """
    from dd_ros.ros.viewer import main

    parameters: dict[str, Any] = {
        "node": node, "checkpoint": checkpoint or "", "image_topic": image_topic or "",
        "action_topic": " ".join(action_topics), "leads": " ".join(map(str, leads)), "web": sink.web,
        "save": str(sink.save.absolute()) if sink.save else "", "memory_limit": sink.memory_limit, "port": sink.port,
        "seconds": float(seconds), "use_sim_time": use_sim_time,
    }  # fmt: skip
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={in_yaml(value)}"]
    return main(arguments)


def in_yaml(value: str | bool | float) -> str:
    """A value as ROS arguments take it: text in quotes, lest ``0.5`` becomes a number."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value).lower()
