# SPDX-License-Identifier: Apache-2.0
"""Whether camera images arrive: the transport that is set, shared memory, and images that are really sent."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from dd_ros.doctor.finding import Finding, Level
from dd_ros.processes import Process, free_domain, started
from dd_ros.resources import shared_file

COUNT = 20  # images that are sent
POLL = 0.1  # s
PATIENCE = 60.0  # s for both programs to start and send all
SHARED_MEMORY = Path("/dev/shm")
SEGMENT = 64 << 20  # bytes that our profile takes of it for each program
ENOUGH = 4 * SEGMENT  # a camera, the node, a viewer, and one more
XML = {"": "http://www.eprosima.com"}


def profile(environment: Mapping[str, str]) -> Finding:
    """Which Fast DDS profile programs started from this shell use."""
    from dd_ros.ros.transport import VARIABLES, profile_variable

    variable = profile_variable()
    given = environment.get(variable)
    others = [name for name in VARIABLES if name != variable and environment.get(name)]
    if not given and others:
        text = f"{others[0]} is set, which this ROS does not read"
        return Finding("transport", Level.WARN, text, f"set {variable} instead")
    if not given:
        text = "no profile in this shell; launch files and dd_ros demo give config/fastdds.xml to what they start"
        built_in = environment.get("FASTDDS_BUILTIN_TRANSPORTS")
        return Finding("transport", Level.OK, f"{built_in} (built in)" if built_in else text)
    try:
        segments = [int(size.text or 0) for size in ElementTree.parse(given).iterfind(".//segment_size", XML)]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        return Finding("transport", Level.FAIL, f"{variable}={given}: not a profile ({error})", export())
    if max(segments, default=0) < SEGMENT // 4:
        text = f"{given} gives a program {max(segments, default=0) / 2**20:.1f} MiB of shared memory"
        return Finding("transport", Level.WARN, text, f"large images need more; {export()}")
    return Finding(
        "transport", Level.OK, f"{given}, {max(segments) >> 20} MiB of shared memory for each program"
    )


def export() -> str:
    """The line that gives our profile to what is started from this shell."""
    from dd_ros.ros.transport import profile_variable

    return f"export {profile_variable()}={shared_file('config/fastdds.xml')}"


def shared_memory(folder: Path = SHARED_MEMORY) -> Finding:
    """Whether programs get the shared memory that our profile asks for."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return Finding("shared memory", Level.WARN, f"{folder}: {error.strerror}", "mount a tmpfs there")
    return judged_memory(found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail, folder)


def judged_memory(size: int, free: int, folder: Path = SHARED_MEMORY) -> Finding:
    """What ``free`` bytes of ``size`` are good for."""
    text = f"{free / 2**20:.0f} MiB of {size / 2**20:.0f} free in {folder}"
    if free >= ENOUGH:
        return Finding("shared memory", Level.OK, text)
    cure = (
        f"each program takes {SEGMENT >> 20} MiB with our profile; in a container --shm-size=1g or --ipc=host"
    )
    if size >= ENOUGH:
        cure = "end programs that use it, or remove what killed ones left: start any of our nodes once"
    return Finding("shared memory", Level.WARN if free >= 2 * SEGMENT else Level.FAIL, text, cure)


def images(size: tuple[int, int], environment: Mapping[str, str]) -> Finding:
    """Whether images of ``size`` (width, height) reach our node from a camera started in this ``environment``.

    Really sent from one process to another, in a ROS domain of their own; where some are lost, again with our profile.
    """
    from dd_ros.ros.transport import profile_environment

    what = "{}x{} rgb8, {:.1f} MB".format(*size, 3 * size[0] * size[1] / 1e6)
    found = sent(size, environment)
    if isinstance(found, str):
        return Finding("images", Level.FAIL, f"{what}: {found}", cure_of(found))
    if found == COUNT:
        return Finding("images", Level.OK, f"{what}: all {COUNT} arrived from another process")
    text = f"{what}: {found} of {COUNT} arrived from another process"
    ours = profile_environment()
    again = sent(size, {**environment, **ours}) if ours else found
    if again == COUNT:
        cure = f"all arrive with our profile; give it to the camera driver: {export()}"
        return Finding("images", Level.WARN, text, cure)
    cure = (
        "also with our profile; send them compressed, or smaller, and see what else keeps this machine busy"
    )
    return Finding("images", Level.FAIL, text, cure)


NOT_FOUND = "two processes on this machine do not find each other"


def cure_of(problem: str) -> str:
    """What to do about images that cannot be sent at all."""
    if problem == NOT_FOUND:
        return (
            "check ROS_AUTOMATIC_DISCOVERY_RANGE, ROS_LOCALHOST_ONLY and a firewall that stops UDP multicast"
        )
    return "see what ROS says there"


def sent(size: tuple[int, int], camera: Mapping[str, str]) -> int | str:
    """How many of COUNT images arrived, or why none could be sent.

    Args:
        size: width and height.
        camera: environment of the program that sends; the one that listens has our profile, as our node has.
    """
    from dd_ros.ros.transport import node_environment

    domain, module = free_domain(), [sys.executable, "-m", "dd_ros.ros.sent_images"]
    listener = node_environment(domain)
    sender = {**camera, "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"}
    width, height = map(str, size)
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with (
            started({"listener": [*module, "receive", str(COUNT)]}, logs, listener) as listening,
            started({"camera": [*module, "send", width, height, str(COUNT)]}, logs, sender) as sending,
        ):
            return counted(listening["listener"], sending["camera"])


def counted(listener: Process, camera: Process) -> int | str:
    """What the listener counted, or what went wrong."""
    end = time.monotonic() + PATIENCE
    while listener.status is None and camera.status is None and time.monotonic() < end:
        time.sleep(POLL)
    if camera.status is not None:
        return f"the program that sends ended with status {camera.status}: {camera.last_words()}"
    if listener.status != 0:
        return f"the program that listens ended with status {listener.status}: {listener.last_words()}"
    try:
        found = json.loads(listener.last_words())
    except ValueError:
        return f"the program that listens said: {listener.last_words()}"
    return int(found["arrived"]) if found["met"] else NOT_FOUND
