# SPDX-License-Identifier: Apache-2.0
"""Without the extra ``view`` whoever wants to look is told what to install, and nothing else needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bag_writer import robot_messages, write_bag
from click.testing import CliRunner

from dd_ros.cli import main

CURE = "rerun: not installed, the view needs it; run 'make setup' in the checkout of dd_ros, or pip install '.[view]' there"


@pytest.mark.parametrize(
    "command",
    [
        "view --bag BAG --checkpoint CKPT",
        "predict --bag BAG --checkpoint CKPT --save X.rrd",
        "view",
        "demo --view",
    ],
)
def test_the_cure_is_named_in_one_line(
    command: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    monkeypatch.chdir(tmp_path)
    bag = write_bag(tmp_path / "bag", robot_messages(10))
    words = command.replace("BAG", str(bag)).replace("CKPT", str(tiny_checkpoint)).split()
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert CURE in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_video_needs_no_rerun(tmp_path: Path) -> None:
    code = "import sys, dd_ros.commands.predicting, dd_ros.view.log, dd_ros.view.offline, dd_ros.ros.demo.launcher; print('rerun' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
