#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fine-tuning with a recipe of one's own: look at the bags, train, read the card, and a video of a bag.
#
# examples/finetune/finetune.sh my_robot logs /camera/image_raw /cmd_vel.linear.x,angular.z
# examples/finetune/finetune.sh my_robot     # without bags: of the simulated robot, which it records first
#
# RECIPE=other.yaml takes another recipe, INIT=g1_pick another checkpoint to begin from.
set -euo pipefail
out=$1 bags=${2:-$1.bags} image=${3:-/camera/image_raw} action=${4:-/pusher/command.position[0:2]}
recipe=${RECIPE:-$(dirname "$0")/recipe.yaml}

if [ ! -e "$bags" ]; then python -m dd_ros.demo.simulate --out "$bags" --episodes 12 --steps 150; fi
topics=(--image-topic "$image" --action-topic "$action")
dd_ros inspect "$bags" "${topics[@]}"
dd_ros finetune --bags "$bags" "${topics[@]}" --init "${INIT:-pusht}" --config "$recipe" --out "$out" --json "$out.json"
dd_ros inspect "$out" # its card: what was used, and the figures on the bags that were held back
recording=$bags # or one of those in it
for each in "$bags"/*/; do if [ -d "$each" ]; then recording=$each; fi; done
dd_ros predict --checkpoint "$out" --bag "$recording" --out "$out.mp4"
