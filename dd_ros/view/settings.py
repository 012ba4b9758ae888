# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node ``viewer``, each written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dd_ros.errors import InputError
from dd_ros.live.settings import parameter
from dd_ros.view.sinks import MEMORY_LIMIT, PORT, Sink


@dataclass(frozen=True)
class ViewerParameters:
    """Values of all parameters; none changes while the node runs."""

    node: str = parameter("predictor", "Name of the predictor to look at.", read_only=True)
    image_topic: str = parameter(
        "", "Camera topic; empty takes the one that the predictor says it listens to.", read_only=True
    )
    action_topic: str = parameter(
        "", "Topics of the commands, with spaces between, each with its fields or without; empty takes those that the "
        "predictor says it listens to.", read_only=True,
    )  # fmt: skip
    checkpoint: str = parameter(
        "", "Checkpoint folder or name of a shipped one: which fields of the topics are commands; empty takes all.",
        read_only=True,
    )  # fmt: skip
    leads: str = parameter(
        "", "Lead times in seconds to show, with spaces between; empty: a quarter, a half and the whole horizon.",
        read_only=True,
    )  # fmt: skip
    web: bool = parameter(False, "Show a page for browsers, as where there is no screen.", read_only=True)
    save: str = parameter("", "Write this file (.rrd) instead of showing anything.", read_only=True)
    memory_limit: str = parameter(
        MEMORY_LIMIT, "Memory for what is shown; the oldest is dropped beyond it.", read_only=True
    )
    port: int = parameter(
        PORT, "Port of the page; the data take the next one.", read_only=True, limits=(1024, 65534)
    )
    seconds: float = parameter(
        0.0, "Time to look on; 0: until the node is stopped.", read_only=True, limits=(0.0, 1e6)
    )

    @property
    def sink(self) -> Sink:
        """Where the recording goes."""
        return Sink(
            web=self.web,
            save=Path(self.save) if self.save else None,
            memory_limit=self.memory_limit,
            port=self.port,
        )

    @property
    def lead_seconds(self) -> tuple[float, ...]:
        """``leads`` as numbers; InputError where it holds anything else."""
        try:
            return tuple(float(word) for word in self.leads.replace(",", " ").split())
        except ValueError as error:
            raise InputError(f"leads: expected seconds with spaces between, got {self.leads!r}") from error
