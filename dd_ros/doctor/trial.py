# SPDX-License-Identifier: Apache-2.0
"""A predictor in a process of its own, as the node is one: does its checkpoint load, how fast is it, does it rest when idle?

``python -m dd_ros.doctor.trial CHECKPOINT`` prints JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from dd_ros.doctor.finding import Finding, Level

RUNS = 5  # predictions that are timed
IDLE = 1.0  # s of doing nothing
PATIENCE = 600.0  # s for all of it
RESTING = 0.1  # processor seconds per second of an idle process that are no spinning
BAD_INPUT = 2


def trial(checkpoint: str | Path, environment: Mapping[str, str]) -> list[Finding]:
    """Findings of a predictor that was run in ``environment``: checkpoint, speed, threads, and its memory."""
    command = [sys.executable, "-m", "dd_ros.doctor.trial", str(checkpoint)]
    try:
        ended = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return [Finding("checkpoint", Level.FAIL, f"{checkpoint}: not one prediction in {PATIENCE:.0f} s")]
    if ended.returncode:
        words = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        told = words if ended.returncode == BAD_INPUT else f"ended with status {ended.returncode}: {words}"
        return [Finding("checkpoint", Level.FAIL, told, "copy or train it again, or name another one")]
    return findings(json.loads(ended.stdout.splitlines()[-1]))


def findings(figures: Mapping[str, Any]) -> list[Finding]:
    """What the figures of ``measured`` mean."""
    from dd_ros.doctor.machine import memory

    about = f"{figures['checkpoint']} loads and predicts, {figures['size']} at {figures['fps']:g} Hz{figures['lag']}"
    return [
        Finding("checkpoint", Level.OK, about),
        speed(figures),
        threads(figures),
        memory(figures["memory"]),
    ]


def speed(figures: Mapping[str, Any]) -> Finding:
    """Whether the device keeps up with the camera."""
    took, step = figures["prediction_ms"], 1e3 / figures["fps"]
    text = f"a horizon takes {took:.0f} ms on {figures['device']}, a model step {step:.0f} ms"
    if took <= step:
        return Finding("speed", Level.OK, text)
    cure = "only some frames are predicted from; fewer denoising steps (schedule), a GPU, or fewer other programs"
    return Finding("speed", Level.WARN, text, cure)


def threads(figures: Mapping[str, Any]) -> Finding:
    """Whether threads that have nothing to do leave the cores to others."""
    share, policy = figures["idle_share"], figures["policy"]
    text = f"OMP_WAIT_POLICY={policy}, {figures['threads']} threads, an idle predictor uses {share:.0%} of a core"
    if share <= RESTING:
        return Finding("threads", Level.OK, text)
    cure = "its idle threads spin: unset OMP_WAIT_POLICY and GOMP_SPINCOUNT, and import dd_ros before torch"
    return Finding("threads", Level.WARN, text, cure)


def measured(checkpoint: str) -> dict[str, Any]:
    """Load a checkpoint, predict with it, then do nothing for a while.

    Raises:
        InputError: the checkpoint is missing or damaged.
    """
    import numpy as np

    from dd_ros.described import lagging
    from dd_ros.predictor import Predictor

    predictor = Predictor.load(checkpoint)
    predictor.warm_up()
    mean = np.asarray(predictor.config.action.mean)
    image = np.zeros((predictor.height, predictor.width, 3), np.uint8)
    took = []
    for run in range(RUNS):
        begin = time.perf_counter()
        predictor.observe(image, run * predictor.step_ns, mean)
        predictor.predict(np.tile(mean, (predictor.horizon, 1)))
        took.append(1e3 * (time.perf_counter() - begin))
    used = time.process_time()
    time.sleep(IDLE)
    used = time.process_time() - used
    import torch

    return {
        "checkpoint": predictor.config.name,
        "size": f"{predictor.width}x{predictor.height}",
        "fps": predictor.config.streams.rate_hz,
        "lag": lagging(predictor.config.streams),
        "device": predictor.device.type,
        "prediction_ms": median(took),
        "idle_share": used / IDLE,
        "threads": torch.get_num_threads(),
        "policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }


if __name__ == "__main__":
    from dd_ros.errors import InputError

    try:
        print(json.dumps(measured(sys.argv[1])))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_INPUT)
