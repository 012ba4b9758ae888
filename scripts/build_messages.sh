#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build dd_ros_msgs with rosidl straight into a virtual environment that holds the ROS 2 wheels.
# Usage: scripts/build_messages.sh VENV
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "$1" && pwd)
python=$venv/bin/python
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
numpy=$("$python" -c 'import numpy; print(numpy.get_include())')
base=$("$python" -c 'import sys; print(sys.base_prefix)')

# The wheels' exported CMake targets name folders of the machine that built them.
grep -rlE --include='*.cmake' '/opt/python/cp[0-9]+' "$venv/share" | while read -r file; do
  sed -E -i \
    -e "s#/opt/python/cp[0-9]+-cp[0-9]+/lib/python[0-9.]+/site-packages/numpy/_core/include#$numpy#g" \
    -e "s#/opt/python/cp[0-9]+-cp[0-9]+/include/python[0-9.]+#$include#g" "$file"
done || true

libraries=$venv/lib
for folder in "$site"/ros_*.libs; do libraries=$libraries:$folder; done
export ROS_DISTRO=kilted ROS_VERSION=2 ROS_PYTHON_VERSION=3 _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv LD_LIBRARY_PATH=$libraries
export PATH=$venv/bin:$PATH

mkdir -p "$root/build"
build=$root/build/dd_ros_msgs_venv
cmake -S "$root/dd_ros_msgs" -B "$build" -GNinja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
  -DCMAKE_INSTALL_PREFIX="$venv" -DPython3_EXECUTABLE="$python" -DPython3_ROOT_DIR="$base" \
  -DPython3_FIND_STRATEGY=LOCATION -Wno-dev >"$build.log" 2>&1 || { tail -30 "$build.log" >&2; exit 1; }
cmake --build "$build" >>"$build.log" 2>&1 || { tail -30 "$build.log" >&2; exit 1; }
cmake --install "$build" >>"$build.log" 2>&1
