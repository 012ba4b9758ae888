# SPDX-License-Identifier: Apache-2.0
"""Commands whose errors a user can read: one line on stderr."""

from __future__ import annotations

import sys
from typing import Any

import click

from dd_ros.errors import InputError


class Command(click.Command):
    """Bad usage or input ends with one line on stderr and status 2."""

    prog_name: str | None = None  # what usage calls it; found out by click where it is None

    def main(self, *args: Any, **extra: Any) -> Any:  # type: ignore[override]
        try:
            sys.exit(super().main(*args, **(extra | {"standalone_mode": False, "prog_name": self.prog_name})))
        except InputError as error:
            fail(str(error), 2)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else self.prog_name
            fail(f"{error.format_message()} (see {command} --help)", 2)
        except click.ClickException as error:
            fail(error.format_message(), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            fail("interrupted", 1)
        except ModuleNotFoundError as error:
            fail(missing_module(error), 1)
        except OSError as error:  # a full disk, a folder that may not be written
            fail(str(error), 1)


class Group(Command, click.Group):
    """The ``dd_ros`` command with its subcommands."""

    prog_name = "dd_ros"


def missing_module(error: ModuleNotFoundError) -> str:
    """What to install for a module that is not there; raises ``error`` again for one of our own."""
    name, _, part = (error.name or "").partition(".")
    cures = {
        "rclpy": "source a ROS 2 installation, or run 'make setup'",
        "dd_ros_msgs": "build it ('make setup' or 'colcon build --base-paths . dd_ros_msgs')",
        "dd_ros_training": f"training needs it; {from_checkout('train')}",
        "lightning": f"training needs it; {from_checkout('train')}",
        "av": f"LeRobot data sets and videos in bags need it; {from_checkout('lerobot')}",
        "rerun": f"the view needs it; {from_checkout('view')}",
        "pyarrow": f"LeRobot data sets need it; {from_checkout('lerobot')}",
    }
    if name == "dd_ros" or (name == "dd_ros_training" and part):
        raise error
    return f"module {name} is missing: {cures.get(name, from_checkout())}"


def from_checkout(extra: str = "") -> str:
    """How to install what is missing, of ``extra`` or of what is always needed; no package index has dd_ros."""
    what = f"'.[{extra}]'" if extra else "."
    return f"run 'make setup' in the checkout of dd_ros, or pip install {what} there"


def fail(message: str, status: int) -> None:
    """Print ``message`` on one line of stderr and leave."""
    click.echo("dd_ros: " + " ".join(message.split()), err=True)
    sys.exit(status)
