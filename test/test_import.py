# SPDX-License-Identifier: Apache-2.0
"""What ``import dd_ros`` does to the process of whoever imports it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dd_ros.cli import main

SHOW = "import os; print(os.environ['OMP_WAIT_POLICY'])"


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """This Python with ``code``, and of OMP_WAIT_POLICY only what ``variables`` say."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=120
    )


def test_torch_before_dd_ros_is_warned_of_once_with_the_cure() -> None:
    result = run(f"import torch\nimport dd_ros\nfrom dd_ros import Predictor\n{SHOW}")
    assert result.stderr.count("RuntimeWarning") == 1
    assert "import dd_ros first, or set OMP_WAIT_POLICY=PASSIVE in the environment" in result.stderr
    assert "<string>:2" in result.stderr  # the line that imports it
    assert result.stdout == "PASSIVE\n"  # for processes that are started from here


def test_nothing_is_said_where_the_user_chose() -> None:
    result = run(f"import torch, dd_ros\n{SHOW}", OMP_WAIT_POLICY="ACTIVE")
    assert (result.stderr, result.stdout) == ("", "ACTIVE\n")


def test_nothing_is_said_where_dd_ros_comes_first_and_a_checkpoint_loads_without_torchs_compiler(
    tiny_checkpoint: Path,
) -> None:
    load = f"from dd_ros import Predictor\nPredictor.load({str(tiny_checkpoint)!r}, 'cpu')"
    result = run(f"{load}\n{SHOW}\nimport sys\nprint('sympy' in sys.modules)")
    assert (result.stderr, result.stdout) == ("", "PASSIVE\nFalse\n")


def test_importing_dd_ros_loads_no_torch() -> None:
    assert run("import dd_ros, sys; print('torch' in sys.modules)").stdout == "False\n"


def test_help_and_completion_import_no_more_than_they_need() -> None:
    unwanted = ("torch", "numpy", "pydantic", "rclpy", "dd_ros.data", "dd_ros_training")
    ask = "from click.testing import CliRunner\nfrom dd_ros.cli import main"
    asked = [["--help"], ["completion", "bash"], *([name, "--help"] for name in main.commands)]
    code = (
        f"import sys\n{ask}\nfor words in {asked!r}:\n    assert CliRunner().invoke(main, words).exit_code == 0\n"
        f"print([name for name in {unwanted} if name in sys.modules])"
    )
    assert run(code).stdout == "[]\n"
