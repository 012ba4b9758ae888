# SPDX-License-Identifier: Apache-2.0
"""The ``dd_ros`` command, put together of its subcommands. Each imports what it needs only when it runs."""

from __future__ import annotations

import click

from dd_ros.commands.bench import bench
from dd_ros.commands.calibrate import calibrate
from dd_ros.commands.completion import completion
from dd_ros.commands.demo import demo
from dd_ros.commands.doctor import doctor
from dd_ros.commands.evaluate import evaluate
from dd_ros.commands.finetune import finetune
from dd_ros.commands.inspect import inspect
from dd_ros.commands.models import models
from dd_ros.commands.predict import predict
from dd_ros.commands.readout import readout
from dd_ros.commands.view import view
from dd_ros.console import Group


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="dd_ros", prog_name="dd_ros")
def main() -> None:
    """Real-time video prediction for robots: camera and commands in, predicted frames out."""


for command in (
    bench, calibrate, completion, demo, doctor, evaluate, finetune, inspect, models, predict, readout, view
):  # fmt: skip
    main.add_command(command)
