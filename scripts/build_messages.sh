#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build dd_ros_msgs with rosidl straight into a virtual environment, with the ROS 2 wheels in it or
# with the ROS 2 sourced in this shell. Usage: scripts/build_messages.sh VENV wheels|sourced
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "$1" && pwd)
python=$venv/bin/python
build=$venv/.dd_ros/dd_ros_msgs
log=$build.log
ask() { "$python" -c "$1"; }

if [ "$2" = wheels ]; then
  site=$(ask 'import sysconfig; print(sysconfig.get_path("purelib"))')
  include=$(ask 'import sysconfig; print(sysconfig.get_path("include"))')
  numpy=$(ask 'import numpy; print(numpy.get_include())')
  # The wheels' exported CMake targets name folders of the machine that built them.
  { grep -rlE --include='*.cmake' '/opt/python/cp[0-9]+' "$venv/share" || true; } | while read -r file; do
    sed -E -i \
      -e "s#/opt/python/cp[0-9]+-cp[0-9]+/lib/python[0-9.]+/site-packages/numpy/_core/include#$numpy#g" \
      -e "s#/opt/python/cp[0-9]+-cp[0-9]+/include/python[0-9.]+#$include#g" "$file"
  done
  libraries=$venv/lib
  for folder in "$site"/ros_*.libs; do libraries=$libraries:$folder; done
  export ROS_DISTRO=kilted ROS_VERSION=2 ROS_PYTHON_VERSION=3 _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv LD_LIBRARY_PATH=$libraries
fi
if [ "$2" = sourced ] && [ -z "${ROS_DISTRO:-}" ]; then # the environment's Python remembers that ROS
  exec "$python" -c 'import os, sys; os.execv(sys.argv[1], sys.argv[1:])' "$0" "$@"
fi
export PATH=$venv/bin:$PATH
if [ ! -f "$(ask 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then
  echo "dd_ros_msgs needs Python's headers to build: install python3-dev (Debian, Ubuntu)" >&2
  exit 1
fi
# Bindings name this Python and this library folder, also on distributions that patch both.
settings=(-DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX="$venv"
  -DPython3_EXECUTABLE="$python" -DPython3_FIND_STRATEGY=LOCATION
  -DPython3_ROOT_DIR="$(ask 'import sys; print(sys.base_prefix)')" -Wno-dev)
if command -v ninja >/dev/null; then settings+=(-GNinja); fi

# A build that began elsewhere (a repository that was moved or copied) is begun anew.
if [ -f "$build/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root/dd_ros_msgs" "$build/CMakeCache.txt"; then
  rm -rf "$build"
fi
mkdir -p "$build"
{
  cmake -S "$root/dd_ros_msgs" -B "$build" "${settings[@]}" &&
    cmake --build "$build" --parallel "$(nproc)" &&
    cmake --install "$build"
} >"$log" 2>&1 || { tail -30 "$log" >&2; echo "dd_ros_msgs did not build; the whole log: $log" >&2; exit 1; }
