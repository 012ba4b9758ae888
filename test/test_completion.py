# SPDX-License-Identifier: Apache-2.0
"""Shells complete commands, options and names of checkpoints: asked as their scripts ask, and in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dd_ros.cli import main
from dd_ros.completion import SHELLS, place
from dd_ros.resources import shipped_checkpoints

ENTRY = f"#!{sys.executable}\nfrom dd_ros.cli import main\nmain()\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as it is installed."""
    path = tmp_path_factory.mktemp("bin") / "dd_ros"
    path.write_text(ENTRY)
    path.chmod(0o755)
    return path


def asked(program: Path, shell: str, *words: str) -> str:
    """What the command answers the script of a shell for the last of ``words``."""
    line = " ".join(("dd_ros", *words)) if shell == "fish" else "\n".join(("dd_ros", *words))
    cursor = words[-1] if shell == "fish" else str(len(words))
    variables = {"_DD_ROS_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": cursor}
    result = subprocess.run(
        [program], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert not result.stderr
    return result.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_checkpoints(program: Path, shell: str) -> None:
    assert "evaluate" in asked(program, shell, "eval")
    assert "predict" not in asked(program, shell, "eval")
    assert "--max-minutes" in asked(program, shell, "finetune", "--max")
    named = asked(program, shell, "evaluate", "--checkpoint", "g1")
    assert "g1_pick" in named
    assert "pusht" not in named
    assert "dir" in named
    assert "file" in asked(program, shell, "inspect", "")
    assert "dir" in asked(program, shell, "models", "")


def test_all_shipped_checkpoints_are_offered(program: Path) -> None:
    offered = asked(program, "bash", "finetune", "--init", "").split()
    assert {f"plain,{name}" for name in shipped_checkpoints()} <= set(offered)


def test_a_real_bash_completes_a_checkpoint(program: Path) -> None:
    script = (
        "source <(dd_ros completion bash)\nCOMP_WORDS=(dd_ros bench --checkpoint dro)\nCOMP_CWORD=3\n"
        '_dd_ros_completion dd_ros dro --checkpoint\necho "${COMPREPLY[@]}"\n'
    )
    env = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert result.stdout == "droid_scene\n", result.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_written_where_the_shell_looks(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    result = CliRunner().invoke(main, ["completion", shell, "--install"])
    assert result.exit_code == 0, result.output
    path = place(shell)
    assert path.is_relative_to(tmp_path)
    assert str(path) in result.stdout
    assert path.read_text() == CliRunner().invoke(main, ["completion", shell]).stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n", path], check=True)  # it parses


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    result = CliRunner().invoke(main, ["completion", "bash", "--install"])
    assert result.exit_code == 2
    assert "print the script instead" in result.stderr
