# SPDX-License-Identifier: Apache-2.0
"""The way from bytes to pixels and actions stands on its own: anybody may import it, and it needs nobody above."""

from __future__ import annotations

import json
import subprocess
import sys

LOOK = """
import importlib, json, pkgutil, sys
import dd_ros.data
for module in pkgutil.walk_packages(dd_ros.data.__path__, "dd_ros.data."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""
BELOW = {"dd_ros", "dd_ros.errors", "dd_ros.upgrades", "dd_ros.config", "dd_ros.report"}


def test_data_imports_no_ros_no_torch_and_nothing_above_it() -> None:
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    modules = set(json.loads(found.stdout))
    assert "dd_ros.data.lerobot.episodes" in modules
    ours = {name for name in modules if name.split(".")[0] == "dd_ros"}
    assert {name for name in ours if not name.startswith("dd_ros.data")} <= BELOW
    heavy = {"torch", "rclpy", "lightning", "rich", "click", "matplotlib", "pyarrow", "av", "dd_ros_training"}
    assert not modules & heavy
